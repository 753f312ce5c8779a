/** The WASM device: its memory, its kernels, and one of the two queues. */
import { type DType, KraitError, UnsupportedOpError } from '../../core/index.ts';
import type { Allocation } from '../allocation.ts';
import type { Backend, CommandList, MemoryStats } from '../backend.ts';
import { BlockPool } from '../block-pool.ts';
import { COMMAND, type Command, packCommand } from '../command.ts';
import { addressOf, checkSizes } from '../command-check.ts';
import { argumentName, KERNELS } from '../kernels.ts';
import { Profiler } from '../profile.ts';
import { measureFma } from '../profile-roofline.ts';
import type { Instance } from './instance.ts';
import type { Queue } from './queue.ts';

export class WasmBackend implements Backend {
  readonly name = 'wasm';
  readonly threads: number;
  readonly profiler: Profiler;
  private readonly index: Map<string, number>;
  private readonly pool: BlockPool;
  private closed = false;

  /** Use `createWasmBackend`. `isThreaded`: whether kernels run on threads of their own. */
  constructor(
    readonly variant: string,
    readonly isThreaded: boolean,
    private readonly instance: Instance,
    private readonly queue: Queue,
  ) {
    this.threads = queue.threads;
    this.index = new Map(instance.kernels.map((name, i) => [name, i]));
    this.pool = new BlockPool((bytes) => instance.memory.reserve(bytes));
    const source = {
      setTiming: (on: boolean) => {
        if (on) this.checkOpen();
        queue.setTiming(on);
      },
      takeTimes: () => queue.takeTimes(),
      sync: () => this.sync(),
    };
    const local = 'on the calling thread, which runs the kernels in slices; the time between slices is left out';
    this.profiler = new Profiler(source, isThreaded ? 'on the thread that leads the others' : local);
  }

  /** Names of the kernels that the module holds. */
  get kernels(): readonly string[] {
    return this.instance.kernels;
  }

  private checkOpen(): void {
    if (this.closed) throw new KraitError('the wasm device is closed; create another one');
  }

  alloc(bytes: number): Allocation {
    this.checkOpen();
    return this.pool.alloc(bytes);
  }

  free(block: Allocation): void {
    if (!this.closed) this.pool.free(block);
  }

  upload(block: Allocation, byteOffset: number, data: Uint8Array): void {
    this.checkOpen();
    this.queue.write(addressOf('upload', block, byteOffset, data.byteLength), data);
  }

  async download(block: Allocation, byteOffset: number, bytes: number): Promise<Uint8Array> {
    this.checkOpen();
    return this.queue.read(addressOf('download', block, byteOffset, bytes), bytes);
  }

  async sync(): Promise<void> {
    this.checkOpen();
    await this.queue.read(0, 0);
  }

  launch(cmd: Command): void {
    this.checkOpen();
    this.submit(cmd, this.indexOf(cmd));
    if (this.profiler.isOn) this.profiler.add(cmd);
  }

  list(commands: readonly Command[]): CommandList {
    this.checkOpen();
    const { layout } = this.instance;
    const needs: number[] = [];
    // Entries wait in JavaScript: whatever the pool gives may still be written by what is queued.
    const entries = commands.map((cmd) => {
      needs.push(this.plan(cmd, this.indexOf(cmd)));
      return this.draft.slice();
    });
    const scratch = this.pool.alloc(Math.max(0, ...needs)); // one for all: they run one after another
    for (const entry of entries) new Uint32Array(entry.buffer)[layout.scratchAt / 4] = scratch.address;
    let isClosed = false;
    const launch = () => {
      this.checkOpen();
      if (isClosed) throw new KraitError('this list of commands is closed; make another one');
      for (const entry of entries) this.queue.launch(entry);
      if (this.profiler.isOn) for (const cmd of commands) this.profiler.add(cmd);
    };
    const close = () => {
      if (!isClosed) this.free(scratch);
      isClosed = true;
    };
    return { length: commands.length, launch, close };
  }

  /** The entry in which commands are planned. */
  private get draft(): Uint8Array {
    const { layout, memory } = this.instance;
    return memory.bytes.subarray(layout.draft, layout.draft + layout.entryBytes);
  }

  private indexOf(cmd: Command): number {
    const index = this.index.get(cmd.kernel);
    if (index === undefined) throw new UnsupportedOpError(cmd.kernel, 'this kernel', `wasm ${this.variant}`);
    checkSizes(cmd);
    return index;
  }

  /** Plans a command in the draft entry; returns the bytes of scratch memory that it needs. */
  private plan(cmd: Command, index: number): number {
    const { exports, layout, memory } = this.instance;
    packCommand(cmd, index, memory.doubles.subarray(layout.draft / 8, layout.draft / 8 + COMMAND.slots));
    const refused = exports.plan(layout.draft, this.threads);
    if (refused !== 0) {
      const name = argumentName(KERNELS[cmd.kernel].tensors[refused - 1]);
      throw new UnsupportedOpError(cmd.kernel, `${name} of ${cmd.tensors[refused - 1]?.dtype}`, `wasm ${this.variant}`);
    }
    return memory.doubles[(layout.draft + layout.scratchBytesAt) / 8];
  }

  private submit(cmd: Command, index: number): void {
    const { layout, memory } = this.instance;
    // Freed before the kernel runs: whoever gets it next comes after this kernel in the queue.
    const scratch = this.pool.alloc(this.plan(cmd, index));
    memory.words[(layout.draft + layout.scratchAt) / 4] = scratch.address;
    this.pool.free(scratch);
    this.queue.launch(this.draft);
  }

  supports(dtype: DType): boolean {
    return dtype !== 'f64';
  }

  memory(): MemoryStats {
    return this.pool.memory();
  }

  resetPeak(): void {
    this.pool.resetPeak();
  }

  /** As that of the native device. */
  measurePeak(rounds = 5): Promise<number> {
    return measureFma(this, (probe) => this.submit(probe, this.index.get('fma_peak')!), rounds);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.queue.close();
  }
}
