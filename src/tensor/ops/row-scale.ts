/** Quantised weights: i8 matrices whose rows mean something with their scales alone. They are constants. */
import { DTypeError, KraitError, ShapeError } from '../../core/index.ts';
import { willRecord } from '../autograd.ts';
import type { Tensor } from '../tensor.ts';

/**
 * Checks that `scale` is there, f32 (f64 on the reference device) and one number a row, where a weight [n, k] is i8, and
 * only there. `inputs` are what gradients would have to flow back to through the weight.
 * @throws DTypeError, ShapeError; KraitError where a gradient is wanted: there is none
 */
export function checkRowScale(op: string, name: string, weight: Tensor, scale: Tensor | null, inputs: Tensor[]): void {
  if (!scale) {
    if (weight.dtype === 'i8') throw new DTypeError(op, name, 'a scale with i8', 'none');
    return;
  }
  if (weight.dtype !== 'i8') throw new DTypeError(op, name, 'i8 where a scale is given', weight.dtype);
  if (scale.dtype !== 'f32' && scale.dtype !== 'f64') throw new DTypeError(op, 'scale', 'f32', scale.dtype);
  if (scale.rank !== 1 || scale.size !== weight.shape[0]) {
    throw new ShapeError(op, 'scale', `[${weight.shape[0]}]`, scale.shape);
  }
  if (willRecord(weight, scale, ...inputs)) {
    throw new KraitError(`[${op}] ${name}: i8 weights have no gradient; load the model in f32 or bf16 to train it`);
  }
}
