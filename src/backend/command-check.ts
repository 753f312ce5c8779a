/** Sizes of a command that kernels would take for addresses: they are checked here, because kernels check nothing. */
import { KraitError } from '../core/index.ts';
import type { Allocation } from './allocation.ts';
import { sizeClass } from './block-pool.ts';
import type { Command } from './command.ts';
import { argumentName, KERNEL_NAMES, KERNELS } from './kernels.ts';

/** Dims that may be negative: steps and marks, not sizes. */
const isStep = (name: string): boolean => /^(s\d|stride[A-Z]?|ignore)$/.test(name);

const IS_SIZE = new Map(KERNEL_NAMES.map((kernel) => [kernel, KERNELS[kernel].dims.map((name) => !isStep(name))]));

/** @throws KraitError naming kernel, argument and value, unless all sizes are whole numbers from 0. */
export function checkSizes(cmd: Command): void {
  const isSize = IS_SIZE.get(cmd.kernel)!;
  for (let i = 0; i < cmd.dims.length; i++) {
    if (Number.isSafeInteger(cmd.dims[i]) && (cmd.dims[i] >= 0 || !isSize[i])) continue;
    const name = KERNELS[cmd.kernel].dims[i];
    throw new KraitError(`[${cmd.kernel}] ${name}: expected a whole number from 0, got ${cmd.dims[i]}`);
  }
  for (let i = 0; i < cmd.tensors.length; i++) {
    const t = cmd.tensors[i];
    if (!t || (Number.isSafeInteger(t.ld) && t.ld >= 0 && Number.isSafeInteger(t.offset) && t.offset >= 0)) continue;
    const name = argumentName(KERNELS[cmd.kernel].tensors[i]);
    throw new KraitError(`[${cmd.kernel}] ${name}: expected offset and ld from 0, got ${t.offset} and ${t.ld}`);
  }
}

/** Address of a range of a block. @throws KraitError if it is not inside. */
export function addressOf(what: string, block: Allocation, byteOffset: number, bytes: number): number {
  const inside = Number.isSafeInteger(byteOffset) && Number.isSafeInteger(bytes) && byteOffset >= 0 && bytes >= 0;
  if (inside && byteOffset + bytes <= sizeClass(block.bytes)) return block.address + byteOffset;
  throw new KraitError(`[${what}] range: expected within ${block.bytes} bytes, got ${bytes} at ${byteOffset}`);
}
