/**
 * The loss of an output head: fused where the head is a plain matrix, composed where an adapter, bias or scale changes it; and
 * that of a choice among a few tokens.
 */
import type { Linear } from '../nn/index.ts';
import {
  crossEntropy,
  embedding,
  type HeadLossOptions,
  linearCrossEntropy,
  permute,
  scale,
  scaleGradient,
  sum,
  type Tensor,
} from '../tensor/index.ts';

/**
 * Sum of the cross-entropy over targets that count, divided by `normalizer`; a scalar.
 * hidden [..., d], targets i32 [...]. The composed path stores the logits.
 * @throws ShapeError, DTypeError if hidden or targets do not fit
 */
export function headLoss(head: Linear, hidden: Tensor, targets: Tensor, options: HeadLossOptions): Tensor {
  if (!head.adapter && !head.bias && !head.scale) return linearCrossEntropy(hidden, head.weight, targets, options);
  const { device } = hidden;
  return device.scope(() => {
    const logits = head.forward(hidden, { dtype: hidden.dtype === 'f64' ? 'f64' : 'f32' });
    const loss = scale(sum(crossEntropy(logits, targets)), 1 / options.normalizer);
    return scaleGradient(loss, options.gradScale ?? 1);
  });
}

/**
 * Sum of the cross-entropy of choosing among a few tokens, divided by `normalizer`; a scalar.
 * logits [n, v]; choices: token ids; targets i32 [n]: which of the choices is right.
 * @throws ShapeError, DTypeError if logits or targets do not fit
 */
export function choiceLoss(
  logits: Tensor,
  choices: readonly number[],
  targets: Tensor,
  { normalizer, gradScale = 1 }: HeadLossOptions,
): Tensor {
  const { device } = logits;
  return device.scope(() => {
    const ids = device.from(choices, [choices.length], 'i32');
    const chosen = permute(embedding(permute(logits, [1, 0]), ids), [1, 0]);
    return scaleGradient(scale(sum(crossEntropy(chosen, targets)), 1 / normalizer), gradScale);
  });
}
