/** Dropout whose mask is never stored: counter-based random numbers draw it again in the backward pass. */
import type { RandomSource } from '../../core/index.ts';
import { UsageError } from '../../core/index.ts';
import { record } from '../autograd.ts';
import type { Tensor } from '../tensor.ts';

/**
 * Zeroes each element with probability p and multiplies the others by 1/(1-p). Draws one stream of `random`.
 * @throws UsageError unless 0 <= p < 1.
 */
export function dropout(x: Tensor, p: number, random: RandomSource): Tensor {
  if (!(p >= 0 && p < 1)) throw new UsageError(`[dropout] p: expected 0 <= p < 1, got ${p}`);
  if (p === 0) return x;
  const { device } = x;
  const key = random.next();
  const y = device.empty(x.shape, x.dtype);
  const dims = { rows: x.rows, cols: x.cols, ...key };
  device.launch('dropout', { x, y }, dims, { p });
  record('dropout', [x], [y], [], ([dy]) => {
    const dx = device.empty(dy!.shape, dy!.dtype);
    device.launch('dropout', { x: dy, y: dx }, dims, { p });
    return [dx];
  });
  return y;
}
