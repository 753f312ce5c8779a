/**
 * Memory of the reference device: one ArrayBuffer a block. Addresses are never used twice, so that freeing twice
 * and using after freeing are always noticed; fresh memory holds NaN (or -1), never zeros to rely on.
 */
import { KraitError } from '../../core/index.ts';
import type { Allocation } from '../allocation.ts';
import type { MemoryStats } from '../backend.ts';

const ALIGNMENT = 64;
const POISON = 0xff;

export class BlockMemory {
  private readonly buffers = new Map<number, ArrayBuffer>();
  private nextAddress = ALIGNMENT;
  private bytesInUse = 0;
  private peakBytes = 0;

  alloc(bytes: number): Allocation {
    if (!Number.isSafeInteger(bytes) || bytes < 0) {
      throw new KraitError(`[alloc] bytes: expected a whole number from 0, got ${bytes}`);
    }
    const address = this.nextAddress;
    this.nextAddress += Math.max(1, Math.ceil(bytes / ALIGNMENT)) * ALIGNMENT;
    const buffer = new ArrayBuffer(bytes);
    new Uint8Array(buffer).fill(POISON);
    this.buffers.set(address, buffer);
    this.bytesInUse += bytes;
    this.peakBytes = Math.max(this.peakBytes, this.bytesInUse);
    return { address, bytes };
  }

  /** The memory of a block that is in use; `use` says for what, in the error. */
  bufferOf(block: Allocation, use: string): ArrayBuffer {
    const buffer = this.buffers.get(block.address);
    if (!buffer)
      throw new KraitError(`[${use}] block ${block.address} of ${block.bytes} bytes is not in use: freed before?`);
    return buffer;
  }

  free(block: Allocation): void {
    this.bytesInUse -= this.bufferOf(block, 'free').byteLength;
    this.buffers.delete(block.address);
  }

  /** A range of bytes of a block. */
  range(block: Allocation, byteOffset: number, bytes: number, use: string): Uint8Array {
    const buffer = this.bufferOf(block, use);
    const isInside = Number.isSafeInteger(byteOffset) && byteOffset >= 0 && bytes >= 0;
    if (!isInside || byteOffset + bytes > buffer.byteLength) {
      throw new KraitError(`[${use}] range: expected within ${buffer.byteLength} bytes, got ${bytes} at ${byteOffset}`);
    }
    return new Uint8Array(buffer, byteOffset, bytes);
  }

  stats(): MemoryStats {
    const { bytesInUse, peakBytes } = this;
    return { bytesInUse, peakBytes, bytesReserved: bytesInUse, blocks: this.buffers.size };
  }

  resetPeak(): void {
    this.peakBytes = this.bytesInUse;
  }

  clear(): void {
    this.buffers.clear();
    this.bytesInUse = 0;
  }
}
