/**
 * What a device is: memory, a queue of kernel launches, and reads that wait. What it is not: it knows
 * nothing of tensors, gradients or shapes beyond the command it is given, and it never decides lifetimes.
 *
 * Order is guaranteed: uploads, launches and downloads take effect in the order in which they were called, so
 * memory that was freed may be handed out again at once, and nothing but `download` and `sync` waits.
 */
import type { DType } from '../core/index.ts';
import type { Allocation } from './allocation.ts';
import type { Command } from './command.ts';
import type { Profiler } from './profile.ts';

export type DeviceName = 'reference' | 'native' | 'wasm';

export interface MemoryStats {
  /** Bytes in blocks that are handed out now. */
  bytesInUse: number;
  /** Largest `bytesInUse` since the last `resetPeak`. */
  peakBytes: number;
  /** Bytes held from the system, in use or kept for reuse. */
  bytesReserved: number;
  /** Blocks that are handed out now: back to its old value after work that leaks nothing. */
  blocks: number;
}

/** Commands that were checked and planned once, to be queued again and again. */
export interface CommandList {
  readonly length: number;
  /** Queues all of them, in order. */
  launch(): void;
  /** Forgets the list; what is queued of it still runs. Safe to call twice. */
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
  /** Copies `data` out before it returns; the write itself takes its turn in the queue. */
  upload(block: Allocation, byteOffset: number, data: Uint8Array): void;
  /** The bytes as they are after everything that was queued before. */
  download(block: Allocation, byteOffset: number, bytes: number): Promise<Uint8Array>;
  /**
   * Where a device can: fills memory from an open file of the operating system (its descriptor) without passing through
   * JavaScript. In its turn in the queue; the file stays open until then. Rejects if the file has fewer bytes.
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
  /** The yardstick for `matmul` in floating-point operations a second, best of `rounds`, where the device has one. */
  measurePeak?(rounds?: number): Promise<number>;
  /** Stops threads and gives memory back. Later calls throw. */
  close(): void;
}
