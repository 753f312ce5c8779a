/**
 * Cross-entropy of rows of logits against target columns, and its gradient:
 *   loss = log sum_c e^(logits[c]) - logits[target],  dlogits = gradScale (softmax(logits) - onehot(target)).
 * Rows whose target is `ignore` have loss 0 and gradient 0. A target outside 0..cols-1 that is not `ignore` is a
 * mistake of the caller: the reference throws.
 */
import { KraitError } from '../../core/index.ts';
import type { Numbers, Tensors } from './view.ts';

export function crossEntropy(
  { logits, targets, losses, dlogits }: Tensors<'logits' | 'targets' | 'losses', 'dlogits'>,
  { rows, cols, ignore }: Numbers,
  { gradScale }: Numbers,
): void {
  for (let r = 0; r < rows; r++) {
    const target = targets.get(r, 0);
    if (target === ignore) {
      losses.set(r, 0, 0);
      for (let c = 0; c < cols; c++) dlogits?.set(r, c, 0);
      continue;
    }
    if (target < 0 || target >= cols) {
      throw new KraitError(`[cross_entropy] targets: expected 0..${cols - 1} or ${ignore} in row ${r}, got ${target}`);
    }
    let largest = Number.NEGATIVE_INFINITY;
    for (let c = 0; c < cols; c++) largest = Math.max(largest, logits.get(r, c));
    let sum = 0;
    for (let c = 0; c < cols; c++) sum += Math.exp(logits.get(r, c) - largest);
    losses.set(r, 0, Math.log(sum) + largest - logits.get(r, target));
    for (let c = 0; c < cols; c++) {
      const probability = Math.exp(logits.get(r, c) - largest) / sum;
      dlogits?.set(r, c, gradScale * (probability - (c === target ? 1 : 0)));
    }
  }
}
