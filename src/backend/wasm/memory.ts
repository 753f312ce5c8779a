/**
 * Linear memory that only grows, up to 4 GiB, and views of it that stay valid when it does.
 * What it is not: it takes nothing back; `BlockPool` above it keeps freed blocks for reuse.
 */
import { EnvironmentError } from '../../core/index.ts';

const PAGE = 65_536;
const INITIAL_PAGES = 128; // as scripts/build-wasm.mjs tells the linker
const MOST_BYTES = 65_536 * PAGE;
/** Addresses are 32 bits and differences of them signed: the compiler takes no object to be larger. */
const MOST_BLOCK = 2 ** 31 - PAGE;
const SMALLEST_LIMIT = 2 ** 28;
const STEP = 2 ** 24; // grown at least by so much, so that small blocks do not ask every time

const mebibytes = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`;

/** Memory for at most `limit` bytes; where so much address space is refused, for half, and so on. */
function open(shared: boolean, limit: number): { memory: WebAssembly.Memory; limit: number } {
  for (let most = limit; ; most = Math.floor(most / 2)) {
    try {
      const maximum = Math.max(INITIAL_PAGES, Math.floor(most / PAGE));
      return { memory: new WebAssembly.Memory({ initial: INITIAL_PAGES, maximum, shared }), limit: maximum * PAGE };
    } catch (error) {
      if (most / 2 >= SMALLEST_LIMIT) continue;
      throw new EnvironmentError(`wasm device: no memory to start with (${(error as Error).message})`, [
        'close other programs or pages',
      ]);
    }
  }
}

export class WasmMemory {
  readonly memory: WebAssembly.Memory;
  /** Bytes that it can have at most. */
  readonly limit: number;
  private top = 0;
  private buffer: ArrayBufferLike | undefined;
  private views!: { bytes: Uint8Array; words: Uint32Array; doubles: Float64Array };

  /** @throws EnvironmentError if the system refuses even a small one */
  constructor(shared: boolean, limit: number = MOST_BYTES) {
    const opened = open(shared, Math.min(limit, MOST_BYTES));
    this.memory = opened.memory;
    this.limit = opened.limit;
  }

  private fresh(): { bytes: Uint8Array; words: Uint32Array; doubles: Float64Array } {
    const buffer: ArrayBufferLike = this.memory.buffer;
    if (buffer !== this.buffer) {
      this.buffer = buffer;
      this.views = { bytes: new Uint8Array(buffer), words: new Uint32Array(buffer), doubles: new Float64Array(buffer) };
    }
    return this.views;
  }

  /** All of it as bytes, 32-bit words, doubles; take them anew after anything that may have grown it. */
  get bytes(): Uint8Array {
    return this.fresh().bytes;
  }
  get words(): Uint32Array {
    return this.fresh().words;
  }
  get doubles(): Float64Array {
    return this.fresh().doubles;
  }

  /** Memory below `address` belongs to the module. */
  startAt(address: number): void {
    this.top = Math.ceil(address / 64) * 64;
  }

  /**
   * Address of fresh memory, 64-byte aligned.
   * @throws EnvironmentError with what was asked, what is held and what to do
   */
  reserve(bytes: number): number {
    const address = this.top;
    const end = address + Math.ceil(bytes / 64) * 64;
    if (bytes > MOST_BLOCK) {
      const problem = `a tensor of ${mebibytes(bytes)} is too large for the wasm device, which takes ${mebibytes(MOST_BLOCK)}`;
      throw new EnvironmentError(problem, ['use the native device', 'a smaller batch or sequence']);
    }
    if (!this.growTo(end)) {
      const held = `wasm holds ${mebibytes(address)} of ${mebibytes(this.limit)}`;
      const remedies = ['use a smaller batch or sequence', 'the native device'];
      throw new EnvironmentError(`out of memory: ${mebibytes(bytes)} were asked for while ${held}`, remedies);
    }
    this.top = end;
    return address;
  }

  private growTo(end: number): boolean {
    const size = this.memory.buffer.byteLength;
    if (end <= size) return true;
    if (end > this.limit) return false;
    const generous = Math.min(this.limit, Math.max(end, size + STEP));
    for (const target of [generous, end]) {
      try {
        this.memory.grow(Math.ceil((target - size) / PAGE));
        return true;
      } catch {
        // refused by the system: with less, or not at all
      }
    }
    return false;
  }
}
