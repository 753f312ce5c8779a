/**
 * The native device: C++ kernels on a pool of CPU threads, behind one queue that runs off the JavaScript
 * thread. Uploads are copied, launches return at once, only `download` and `sync` wait, and they wait as
 * promises. A full queue (4096 commands) makes `launch` wait until one has run.
 */
import { availableParallelism } from 'node:os';
import { type DType, EnvironmentError, KraitError, UnsupportedOpError } from '../../core/index.ts';
import type { Allocation } from '../allocation.ts';
import type { Backend, CommandList, MemoryStats } from '../backend.ts';
import { BlockPool } from '../block-pool.ts';
import { COMMAND, type Command, packCommand } from '../command.ts';
import { addressOf, checkSizes } from '../command-check.ts';
import { argumentName, KERNELS } from '../kernels.ts';
import { Profiler } from '../profile.ts';
import { measureFma } from '../profile-roofline.ts';
import { type Addon, type Handle, loadAddon, nativeAvailability } from './addon.ts';

export { type NativeAvailability, nativeAvailability } from './addon.ts';

export interface NativeOptions {
  /** Threads that share a kernel; default KRAIT_THREADS, else the cores of the machine. */
  threads?: number;
}

const MOST_THREADS = 1024;

function threadCount(wanted: number | undefined): number {
  const fromEnvironment = process.env.KRAIT_THREADS;
  const threads = wanted ?? (fromEnvironment ? Number(fromEnvironment) : availableParallelism());
  if (Number.isInteger(threads) && threads >= 1 && threads <= MOST_THREADS) return threads;
  const name = wanted === undefined ? 'KRAIT_THREADS' : 'threads';
  throw new KraitError(`${name}=${wanted ?? fromEnvironment}: expected a whole number from 1 to ${MOST_THREADS}`);
}

export class NativeBackend implements Backend {
  readonly name = 'native';
  readonly threads: number;
  /** Names of the kernels that the addon holds. */
  readonly kernels: readonly string[];
  readonly profiler: Profiler;
  private readonly handle: Handle;
  private readonly slots: Float64Array;
  private readonly index: Map<string, number>;
  private readonly pool: BlockPool;
  private closed = false;

  constructor(
    private readonly addon: Addon,
    readonly variant: string,
    threads: number,
  ) {
    this.handle = addon.open(variant, threads);
    this.threads = addon.threads(this.handle);
    this.slots = addon.commandBuffer(this.handle);
    this.kernels = addon.kernels(variant);
    this.index = new Map(this.kernels.map((name, i) => [name, i]));
    this.pool = new BlockPool((bytes) => this.grow(bytes));
    const source = {
      setTiming: (on: boolean) => {
        if (on) this.checkOpen();
        if (!this.closed) addon.setTiming(this.handle, on);
      },
      takeTimes: () => addon.takeTimes(this.handle),
      sync: () => this.sync(),
    };
    this.profiler = new Profiler(source, "on the queue's own thread");
  }

  private grow(bytes: number): number {
    const address = this.addon.alloc(this.handle, bytes);
    if (address !== 0) return address;
    const megabytes = Math.ceil(bytes / 2 ** 20);
    throw new EnvironmentError(`out of memory: the system refused ${megabytes} MiB for a tensor`, [
      'use a smaller batch or sequence',
      'close other programs',
    ]);
  }

  private checkOpen(): void {
    if (this.closed) throw new KraitError('the native device is closed; create another one');
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
    this.addon.write(this.handle, addressOf('upload', block, byteOffset, data.byteLength), data);
  }

  async download(block: Allocation, byteOffset: number, bytes: number): Promise<Uint8Array> {
    this.checkOpen();
    const address = addressOf('download', block, byteOffset, bytes);
    return this.settled(this.addon.read(this.handle, address, bytes));
  }

  async loadFile(
    block: Allocation,
    byteOffset: number,
    bytes: number,
    file: number,
    fileOffset: number,
  ): Promise<void> {
    this.checkOpen();
    const address = addressOf('loadFile', block, byteOffset, bytes);
    return this.settled(this.addon.load(this.handle, address, file, fileOffset, bytes));
  }

  async sync(): Promise<void> {
    this.checkOpen();
    return this.settled(this.addon.sync(this.handle));
  }

  private async settled<T>(promise: Promise<T>): Promise<T> {
    try {
      return await promise;
    } catch (error) {
      throw new KraitError((error as Error).message, { cause: error });
    }
  }

  launch(cmd: Command): void {
    this.checkOpen();
    this.pack(cmd, this.slots, 0);
    const refused = this.addon.launch(this.handle);
    if (refused !== 0) throw this.refusal(cmd, refused - 1);
    if (this.profiler.isOn) this.profiler.add(cmd);
  }

  list(commands: readonly Command[]): CommandList {
    this.checkOpen();
    const { addon, handle } = this;
    const slots = new Float64Array(commands.length * COMMAND.slots);
    commands.forEach((cmd, i) => void this.pack(cmd, slots, i * COMMAND.slots));
    const list = addon.makeList(handle, slots);
    if (list < 0) throw this.refusal(commands[Math.floor((-list - 1) / 32)], (-list - 1) % 32);
    let isClosed = false;
    return {
      length: commands.length,
      launch: () => {
        this.checkOpen();
        if (isClosed) throw new KraitError('this list of commands is closed; make another one');
        if (this.profiler.isOn) for (const cmd of commands) this.launch(cmd);
        else addon.launchList(handle, list);
      },
      close: () => {
        if (!isClosed && !this.closed) addon.dropList(handle, list);
        isClosed = true;
      },
    };
  }

  private pack(cmd: Command, slots: Float64Array, at: number): void {
    const index = this.index.get(cmd.kernel);
    if (index === undefined) throw new UnsupportedOpError(cmd.kernel, 'this kernel', `native ${this.variant}`);
    checkSizes(cmd);
    packCommand(cmd, index, slots, at);
  }

  private refusal(cmd: Command, tensor: number): UnsupportedOpError {
    const name = argumentName(KERNELS[cmd.kernel].tensors[tensor]);
    return new UnsupportedOpError(cmd.kernel, `${name} of ${cmd.tensors[tensor]?.dtype}`, `native ${this.variant}`);
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

  /**
   * What the vector units of all threads can do at most, in floating-point operations a second: the best of
   * `rounds` short runs of multiply-adds that touch no memory. The yardstick for `matmul`.
   */
  measurePeak(rounds = 5): Promise<number> {
    const launch = (probe: Command) => {
      packCommand(probe, this.index.get('fma_peak')!, this.slots);
      this.addon.launch(this.handle);
    };
    return measureFma(this, launch, rounds);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.addon.close(this.handle);
  }
}

/**
 * A new native device with its own queue, threads and memory.
 * @throws EnvironmentError when the addon is missing or `KRAIT_ISA` cannot run here, KraitError for bad `threads`.
 */
export function createNativeBackend(options: NativeOptions = {}): NativeBackend {
  const { available, reason, variant } = nativeAvailability();
  const { addon } = loadAddon();
  if (!available || !addon || !variant) {
    throw new EnvironmentError(`native device: ${reason}`, ['choose the wasm device']);
  }
  return new NativeBackend(addon, variant, threadCount(options.threads));
}
