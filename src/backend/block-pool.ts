/**
 * Keeps freed blocks of device memory for reuse, so that a training step asks the system for nothing after the
 * first one. Safe without waiting because a device runs its queue in order.
 *
 * Sizes are rounded up to a class (eighths of a power of two, at least 256 bytes); a request takes the smallest
 * free block of its class or of the next few, at most a quarter larger.
 */
import { KraitError } from '../core/index.ts';
import type { Allocation } from './allocation.ts';
import type { MemoryStats } from './backend.ts';

const SMALLEST = 256;
const NEXT_CLASSES = 2;

/** Bytes that a request of `bytes` really takes. */
export function sizeClass(bytes: number): number {
  if (bytes <= SMALLEST) return SMALLEST;
  const step = Math.max(SMALLEST, 2 ** (Math.floor(Math.log2(bytes)) - 3));
  return Math.ceil(bytes / step) * step;
}

export class BlockPool {
  private readonly free_ = new Map<number, number[]>();
  private readonly sizes = new Map<number, number>();
  private stats: MemoryStats = { bytesInUse: 0, peakBytes: 0, bytesReserved: 0, blocks: 0 };

  /** `grow` returns the 64-byte aligned address of fresh memory, or throws. */
  constructor(private readonly grow: (bytes: number) => number) {}

  /** @throws KraitError unless `bytes` is a whole number from 0; what `grow` throws if there is no more memory */
  alloc(bytes: number): Allocation {
    if (!Number.isSafeInteger(bytes) || bytes < 0) {
      throw new KraitError(`[alloc] bytes: expected a whole number from 0, got ${bytes}`);
    }
    const wanted = sizeClass(bytes);
    let size = wanted;
    let address: number | undefined;
    for (let i = 0; i <= NEXT_CLASSES && address === undefined; i++) {
      address = this.free_.get(size)?.pop();
      if (address === undefined) size = sizeClass(size + 1);
    }
    if (address === undefined) {
      size = wanted;
      address = this.grow(size);
      this.stats.bytesReserved += size;
    }
    this.sizes.set(address, size);
    this.stats.blocks++;
    this.stats.bytesInUse += size;
    this.stats.peakBytes = Math.max(this.stats.peakBytes, this.stats.bytesInUse);
    return { address, bytes };
  }

  free(block: Allocation): void {
    const size = this.sizes.get(block.address);
    if (size === undefined) throw new Error(`block ${block.address} is not in use: freed twice?`);
    this.sizes.delete(block.address);
    let list = this.free_.get(size);
    if (!list) {
      list = [];
      this.free_.set(size, list);
    }
    list.push(block.address);
    this.stats.blocks--;
    this.stats.bytesInUse -= size;
  }

  memory(): MemoryStats {
    return { ...this.stats };
  }

  resetPeak(): void {
    this.stats.peakBytes = this.stats.bytesInUse;
  }
}
