/**
 * Batched matrix product: c[i] = alpha op(a[i]) op(b[i]) + beta c[i] + bias, op = transpose or identity.
 * op(a) is m x k, op(b) k x n, c m x n; batches lie strideA, strideB, strideC elements apart (0 shares).
 */
import type { Numbers, Tensors } from './view.ts';

export function matmul(
  { a, b, bias, c }: Tensors<'a' | 'b' | 'c', 'bias'>,
  { batch, m, n, k, transA, transB, strideA, strideB, strideC }: Numbers,
  { alpha, beta }: Numbers,
): void {
  for (let i = 0; i < batch; i++) {
    const opA = (row: number, col: number) => (transA ? a.get(col, i * strideA + row) : a.get(row, i * strideA + col));
    const opB = (row: number, col: number) => (transB ? b.get(col, i * strideB + row) : b.get(row, i * strideB + col));
    for (let row = 0; row < m; row++) {
      for (let col = 0; col < n; col++) {
        let sum = 0;
        for (let j = 0; j < k; j++) sum += opA(row, j) * opB(j, col);
        const old = beta === 0 ? 0 : beta * c.get(row, i * strideC + col);
        c.set(row, i * strideC + col, alpha * sum + old + (bias?.get(0, col) ?? 0));
      }
    }
  }
}
