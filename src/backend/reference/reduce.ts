/**
 * Reductions, and softmax with its gradient.
 *   softmax: y = e^(x - m) / sum e^(x - m), m the row's maximum; its logarithm: y = x - m - log sum e^(x - m)
 *   gradient from y: dx = y (dy - sum y dy); of the logarithm: dx = dy - e^y sum dy
 */
import { REDUCE_OPS, type ReduceOp } from '../kernels.ts';
import type { Numbers, Tensors } from './view.ts';

const REDUCE: Record<ReduceOp, { start: number; step: (sum: number, x: number) => number }> = {
  sum: { start: 0, step: (sum, x) => sum + x },
  max: { start: Number.NEGATIVE_INFINITY, step: (best, x) => Math.max(best, x) },
  min: { start: Number.POSITIVE_INFINITY, step: (best, x) => Math.min(best, x) },
  sum_squares: { start: 0, step: (sum, x) => sum + x * x },
};

/** x dense [outer, n, inner] to y dense [outer, inner]. */
export function reduce({ x, y }: Tensors<'x' | 'y'>, { outer, n, inner, op }: Numbers): void {
  const { start, step } = REDUCE[REDUCE_OPS[op]];
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < inner; i++) {
      let value = start;
      for (let j = 0; j < n; j++) value = step(value, x.get(0, (o * n + j) * inner + i));
      y.set(0, o * inner + i, value);
    }
  }
}

/** First column of the largest value, into the dense y [rows]; 0 for a row without one (no columns, or NaN throughout). */
export function argmax({ x, y }: Tensors<'x' | 'y'>, { rows, cols }: Numbers): void {
  for (let r = 0; r < rows; r++) {
    let best = 0;
    let largest = Number.NEGATIVE_INFINITY;
    for (let c = 0; c < cols; c++) {
      if (x.get(r, c) > largest) {
        largest = x.get(r, c);
        best = c;
      }
    }
    y.set(0, r, best);
  }
}

export function softmax({ x, y }: Tensors<'x' | 'y'>, { rows, cols, log }: Numbers): void {
  for (let r = 0; r < rows; r++) {
    let largest = Number.NEGATIVE_INFINITY;
    for (let c = 0; c < cols; c++) largest = Math.max(largest, x.get(r, c));
    let sum = 0;
    for (let c = 0; c < cols; c++) sum += Math.exp(x.get(r, c) - largest);
    for (let c = 0; c < cols; c++) {
      const shifted = x.get(r, c) - largest;
      y.set(r, c, log ? shifted - Math.log(sum) : Math.exp(shifted) / sum);
    }
  }
}

export function softmaxBwd({ y, dy, dx }: Tensors<'y' | 'dy' | 'dx'>, { rows, cols, log }: Numbers): void {
  for (let r = 0; r < rows; r++) {
    let sum = 0;
    for (let c = 0; c < cols; c++) sum += log ? dy.get(r, c) : y.get(r, c) * dy.get(r, c);
    for (let c = 0; c < cols; c++) {
      const value = y.get(r, c);
      dx.set(r, c, log ? dy.get(r, c) - Math.exp(value) * sum : value * (dy.get(r, c) - sum));
    }
  }
}

export function sumSquares({ x, acc }: Tensors<'x' | 'acc'>, { rows, cols }: Numbers): void {
  let sum = 0;
  for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) sum += x.get(r, c) ** 2;
  acc.add(0, 0, sum);
}
