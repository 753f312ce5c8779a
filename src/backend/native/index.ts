/**
 * The native device: C++ kernels on a pool of CPU threads, behind one queue that runs off the JavaScript
 * thread. Uploads are copied, launches return at once, only `download` and `sync` wait, and they wait as
 * promises. A full queue (4096 commands) makes `launch` wait until one has run.
 */
import { availableParallelism } from 'node:os';
import { type DType, EnvironmentError, KraitError, UnsupportedOpError } from '../../core/index.ts';
import type { Allocation, Backend, MemoryStats } from '../backend.ts';
import { BlockPool } from '../block-pool.ts';
import { addressOf, checkSizes } from '../command-check.ts';
import { argumentName, type Command, KERNELS, type KernelName, packCommand, type TensorArg } from '../kernels.ts';
import { type Addon, type Handle, loadAddon, nativeAvailability } from './addon.ts';

export { type NativeAvailability, nativeAvailability } from './addon.ts';

export interface NativeOptions {
  /** Threads that share a kernel; default KRAIT_THREADS, else the cores of the machine. */
  threads?: number;
}

/** Time that one kernel took since profiling was switched on. */
export interface KernelTime {
  readonly kernel: KernelName;
  readonly calls: number;
  readonly seconds: number;
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
    const index = this.index.get(cmd.kernel);
    const device = `native ${this.variant}`;
    if (index === undefined) throw new UnsupportedOpError(cmd.kernel, 'this kernel', device);
    checkSizes(cmd);
    packCommand(cmd, index, this.slots);
    const refused = this.addon.launch(this.handle);
    if (refused === 0) return;
    const name = argumentName(KERNELS[cmd.kernel].tensors[refused - 1]);
    throw new UnsupportedOpError(cmd.kernel, `${name} of ${cmd.tensors[refused - 1]?.dtype}`, device);
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

  /** Counts calls and time of every kernel from now on; `kernelTimes` reads them. */
  setProfiling(on: boolean): void {
    this.checkOpen();
    this.addon.setProfiling(this.handle, on);
  }

  /** Kernels that ran while profiling was on, the longest first. */
  kernelTimes(): KernelTime[] {
    this.checkOpen();
    const counters = this.addon.counters(this.handle);
    const times = [...this.index].map(([kernel, i]) => ({
      kernel: kernel as KernelName,
      calls: counters[2 * i],
      seconds: counters[2 * i + 1] * 1e-9,
    }));
    return times.filter((t) => t.calls > 0).sort((a, b) => b.seconds - a.seconds);
  }

  /**
   * What the vector units of all threads can do at most, in floating-point operations a second: the best of
   * `rounds` short runs of multiply-adds that touch no memory. The yardstick for `matmul`.
   */
  async measurePeak(rounds = 5): Promise<number> {
    const [units, iterations] = [this.threads, 2_000_000];
    const block = this.alloc(4 * units);
    const y: TensorArg = { block, offset: 0, ld: 1, dtype: 'f32' };
    // Not a row of the kernel table, so it is packed by hand.
    const probe = { kernel: 'fma_peak' as KernelName, tensors: [y], dims: [units, iterations], scalars: [] };
    let best = Number.POSITIVE_INFINITY;
    for (let round = 0; round < rounds; round++) {
      await this.sync();
      const started = performance.now();
      packCommand(probe, this.index.get('fma_peak')!, this.slots);
      this.addon.launch(this.handle);
      await this.sync();
      best = Math.min(best, performance.now() - started);
    }
    const flopsPerIteration = new Float32Array((await this.download(block, 0, 4)).buffer)[0];
    this.free(block);
    return (flopsPerIteration * units * iterations) / (best / 1000);
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
