/**
 * Compares the outputs of a device with the reference. The error allowed for an element is
 *   rel * max(|expected|, floor)  for arithmetic in f32, plus half a unit in the last place of the stored dtype.
 */
import { fail } from 'node:assert/strict';
import type { DType } from '../../core/index.ts';
import { type Operand, rounded } from './operands.ts';

export interface Tolerance {
  /** Relative error of the arithmetic; 0 asks for the correctly rounded value. */
  readonly rel: number;
  /** Magnitude that `rel` is relative to at least: a number, or the largest of the output. */
  readonly floor: number | 'largest';
}

/** Each element by itself: for functions that lose nothing to cancellation. */
export const ELEMENT: Tolerance = { rel: 2e-6, floor: 1e-30 };
/** Sums: relative to the largest element of the output. */
export const SUM: Tolerance = { rel: 1e-5, floor: 'largest' };
/** Copies and selections. */
export const EXACT: Tolerance = { rel: 0, floor: 0 };

/** Half a unit in the last place, relative and for the smallest numbers. */
const ROUNDING: Record<DType, { relative: number; smallest: number }> = {
  f32: { relative: 2 ** -24, smallest: 2 ** -126 }, // subnormals may be flushed
  bf16: { relative: 2 ** -8, smallest: 2 ** -126 },
  f16: { relative: 2 ** -11, smallest: 2 ** -25 },
  f64: { relative: 2 ** -53, smallest: 2 ** -1022 },
  i32: { relative: 0, smallest: 0 },
  i8: { relative: 0, smallest: 0 },
};

function largestOf(values: Float64Array): number {
  let largest = 0;
  for (const value of values) if (Number.isFinite(value)) largest = Math.max(largest, Math.abs(value));
  return largest;
}

/** Fails at the first element of `got` that differs from `expected` by more than the tolerance allows. */
export function assertClose(
  name: string,
  shape: Operand,
  got: Float64Array,
  expected: Float64Array,
  tolerance: Tolerance,
) {
  const { relative, smallest } = ROUNDING[shape.dtype];
  const floor = tolerance.floor === 'largest' ? largestOf(expected) : tolerance.floor;
  const nearest = rounded(shape.dtype, expected);
  for (let i = 0; i < expected.length; i++) {
    const x = expected[i];
    // With its sign of zero; any NaN is as good as another.
    if (Object.is(got[i], nearest[i])) continue;
    const computed = tolerance.rel * Math.max(Math.abs(x), floor);
    const allowed = computed + relative * (Math.abs(x) + computed) + smallest;
    if (tolerance.rel > 0 && Math.abs(got[i] - x) <= allowed) continue;
    const at = `${name}[${Math.floor(i / shape.cols)}, ${i % shape.cols}] of [${shape.rows}, ${shape.cols}] ${shape.dtype}`;
    fail(
      `${at}: expected ${x}, got ${got[i]}, off by ${Math.abs(got[i] - x)} where ${tolerance.rel > 0 ? allowed : 'rounding alone'} is allowed`,
    );
  }
}
