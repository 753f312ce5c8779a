/**
 * The WASM device: the C++ kernels in WebAssembly, for Node without a compiler and for browsers. With shared memory
 * (always in Node; in browsers on pages that are cross-origin isolated) they run on threads and the calling thread stays
 * free; without it they run on the calling thread in slices of a few milliseconds.
 */
import { EnvironmentError, KraitError } from '../../core/index.ts';
import { WasmBackend } from './backend.ts';
import { instantiate } from './instance.ts';
import { LocalQueue } from './local-queue.ts';
import { WasmMemory } from './memory.ts';
import { hasSimd, loadModule, type WasmSource } from './module.ts';
import { canShareMemory, coreCount, environmentVariable } from './platform.ts';
import { ThreadQueue } from './thread-queue.ts';

export type { WasmBackend } from './backend.ts';
export type { WasmFile, WasmSource } from './module.ts';

export interface WasmOptions {
  /**
   * Threads that share a kernel; default KRAIT_THREADS, else the cores of the machine. 0 runs kernels on the calling
   * thread without shared memory, which is also what happens where memory cannot be shared.
   */
  threads?: number;
  /** The binary, where it is not where the build left it. */
  wasmModule?: WasmSource;
  /** Most memory in bytes; default 4 GiB, or what the system grants. */
  maxBytes?: number;
  /** Fused multiply-add in the matrix product; default: where the engine has it. False gives the same bits everywhere. */
  relaxed?: boolean;
  /** Whether a full queue may put the calling thread to sleep, where it can sleep; default true. */
  mayBlock?: boolean;
}

export interface WasmAvailability {
  readonly available: boolean;
  /** One line: what will run, or why it cannot and what to do. */
  readonly reason: string;
  readonly variant: string | undefined;
  /** Whether kernels can run on threads. */
  readonly isThreaded: boolean;
}

const MOST_THREADS = 128; // native/wasm/queue.h

async function threadCount(wanted: number | undefined): Promise<number> {
  const fromEnvironment = environmentVariable('KRAIT_THREADS');
  const least = wanted === undefined ? 1 : 0;
  const threads = wanted ?? (fromEnvironment ? Number(fromEnvironment) : Math.min(MOST_THREADS, await coreCount()));
  if (Number.isInteger(threads) && threads >= least && threads <= MOST_THREADS) return threads;
  const name = wanted === undefined ? 'KRAIT_THREADS' : 'threads';
  const value = wanted ?? fromEnvironment;
  throw new KraitError(`${name}=${value}: expected a whole number from ${least} to ${MOST_THREADS}`);
}

const variantOf = (relaxed: boolean): string => (relaxed ? 'simd128-relaxed' : 'simd128');

/** Whether the WASM device can be used here, or why not. Never throws. */
export async function wasmAvailability(): Promise<WasmAvailability> {
  const isThreaded = canShareMemory();
  const absent = (reason: string) => ({ available: false, reason, variant: undefined, isThreaded });
  if (!hasSimd()) return absent('this engine has no WebAssembly SIMD; use a newer Node or browser');
  try {
    const { file, relaxed } = await loadModule(isThreaded);
    const how = isThreaded ? 'threads' : 'one thread, because memory cannot be shared here';
    return { available: true, reason: `${file}, ${how}`, variant: variantOf(relaxed), isThreaded };
  } catch (error) {
    return absent((error as Error).message);
  }
}

/**
 * A new WASM device with its own queue, threads and memory.
 * @throws EnvironmentError when the engine, the binary or a thread is missing, KraitError for bad `threads`.
 */
export async function createWasmBackend(options: WasmOptions = {}): Promise<WasmBackend> {
  const threads = await threadCount(options.threads);
  if (!hasSimd()) {
    throw new EnvironmentError('wasm device: this engine has no WebAssembly SIMD', ['use a newer Node or browser']);
  }
  const isThreaded = threads > 0 && canShareMemory();
  const { module, file, relaxed } = await loadModule(isThreaded, options.relaxed, options.wasmModule);
  const memory = new WasmMemory(isThreaded, options.maxBytes);
  const instance = await instantiate(module, memory).catch((error: Error) => {
    throw new EnvironmentError(`wasm device: ${error.message}`, [`give ${file} as wasmModule`]);
  });
  const queue = isThreaded
    ? await ThreadQueue.start(instance, module, threads, options.mayBlock)
    : new LocalQueue(instance);
  return new WasmBackend(variantOf(relaxed), isThreaded, instance, queue);
}
