/**
 * Batched matrix product: c[i] = alpha op(a[i]) op(b[i]) + beta c[i] + bias, op = transpose or identity.
 * op(a) is m x k, op(b) k x n, c m x n; a scale multiplies the columns of the product; batches lie strideA, strideB, strideC elements apart (0 shares).
 */
import type { MatrixView, Numbers, Tensors } from './view.ts';

/** The rows x cols matrix at element `start` of a view, dense in f64; the view holds its transpose if `isTransposed`. */
function read(x: MatrixView, start: number, rows: number, cols: number, isTransposed: boolean): Float64Array {
  const values = new Float64Array(rows * cols);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) values[r * cols + c] = isTransposed ? x.get(c, start + r) : x.get(r, start + c);
  }
  return values;
}

export function matmul(
  { a, b, bias, c, scale }: Tensors<'a' | 'b' | 'c', 'bias' | 'scale'>,
  { batch, m, n, k, transA, transB, strideA, strideB, strideC }: Numbers,
  { alpha, beta }: Numbers,
): void {
  for (let i = 0; i < batch; i++) {
    const left = read(a, i * strideA, m, k, transA !== 0);
    const right = read(b, i * strideB, k, n, transB !== 0);
    for (let row = 0; row < m; row++) {
      for (let col = 0; col < n; col++) {
        let sum = 0;
        for (let j = 0; j < k; j++) sum += left[row * k + j] * right[j * n + col];
        const old = beta === 0 ? 0 : beta * c.get(row, i * strideC + col);
        c.set(row, i * strideC + col, alpha * sum * (scale?.get(0, col) ?? 1) + old + (bias?.get(0, col) ?? 0));
      }
    }
  }
}
