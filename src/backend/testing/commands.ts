/** Small commands on rows of numbers, to watch a queue with. */
import { type DType, encode } from '../../core/index.ts';
import type { Allocation } from '../allocation.ts';
import { type Command, command, type TensorArg } from '../command.ts';

export const f32 = (...values: number[]): Uint8Array => new Uint8Array(encode('f32', values).buffer);
export const floatsOf = (bytes: Uint8Array): number[] => [
  ...new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4),
];

export const row = (block: Allocation, cols: number, dtype: DType = 'f32'): TensorArg => ({
  block,
  offset: 0,
  ld: cols,
  dtype,
});

export const filling = (block: Allocation, cols: number, value: number, dtype: DType = 'f32'): Command =>
  command('fill', { y: row(block, cols, dtype) }, { rows: 1, cols }, { value });

export const copying = (x: Allocation, y: Allocation, cols: number): Command =>
  command('copy', { x: row(x, cols), y: row(y, cols) }, { rows: 1, cols });

export const adding = (x: Allocation, y: Allocation, cols: number): Command =>
  command('accumulate', { x: row(x, cols), y: row(y, cols) }, { rows: 1, cols }, { alpha: 1 });
