/**
 * A device: memory, a queue of kernel launches, and reads that wait. It knows its commands, but no tensors and no gradients,
 * and it does not decide lifetimes.
 *
 * Order is guaranteed: uploads, launches and downloads take effect in the order of the calls. Freed memory may therefore be
 * reused at once, and only `download` and `sync` wait.
 */
import type { DType } from '../core/index.ts';
import type { Allocation } from './allocation.ts';
import type { Command } from './command.ts';
import type { Profiler } from './profile.ts';

export type DeviceName = 'reference' | 'native' | 'wasm';

export interface MemoryStats {
  /** Bytes in blocks that are in use. */
  bytesInUse: number;
  /** Largest `bytesInUse` since the last `resetPeak`. */
  peakBytes: number;
  /** Bytes held from the system, in use or kept for reuse. */
  bytesReserved: number;
  /** Number of blocks in use. Work without leaks leaves it unchanged. */
  blocks: number;
}

/** Commands that are checked and planned once and can be queued many times. */
export interface CommandList {
  readonly length: number;
  /** Queues all of them, in order. */
  launch(): void;
  /** Frees the list. Commands already queued still run. Safe to call twice. */
  close(): void;
}

export interface Backend {
  readonly name: DeviceName;
  /** Instruction set or engine that runs the kernels, such as `avx2` or `simd128`. */
  readonly variant: string;
  /** Threads that work on one kernel. */
  readonly threads: number;
  /** Uninitialised memory; `bytes` may be 0. */
  alloc(bytes: number): Allocation;
  free(block: Allocation): void;
  /** Copies `data` before it returns. The write itself takes its turn in the queue. */
  upload(block: Allocation, byteOffset: number, data: Uint8Array): void;
  /** Reads bytes after all earlier commands of the queue. */
  download(block: Allocation, byteOffset: number, bytes: number): Promise<Uint8Array>;
  /**
   * Fills memory from an open file (by its descriptor) without JavaScript; absent if the device cannot. It takes its turn in
   * the queue, and the file must stay open until then. Rejects if the file has fewer bytes.
   */
  loadFile?(block: Allocation, byteOffset: number, bytes: number, file: number, fileOffset: number): Promise<void>;
  /** Queues one kernel. Throws `UnsupportedOpError` at once if this device lacks the kernel or a dtype. */
  launch(command: Command): void;
  /**
   * A list of commands that costs one call to queue; their blocks must not be freed before it is closed.
   * Throws as `launch` does.
   */
  list(commands: readonly Command[]): CommandList;
  supports(dtype: DType): boolean;
  /** Resolves when everything queued before has run. */
  sync(): Promise<void>;
  memory(): MemoryStats;
  resetPeak(): void;
  /** Times single launches while it is on. */
  readonly profiler: Profiler;
  /** Peak of `matmul` in floating-point operations a second, best of `rounds`, if the device can measure it. */
  measurePeak?(rounds?: number): Promise<number>;
  /** Stops threads and frees memory. Later calls throw. */
  close(): void;
}
