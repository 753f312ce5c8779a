/**
 * AdamW with decoupled weight decay, and the scalar kernel that decides clipping and skipped steps.
 *   m = beta1 m + (1 - beta1) g        v = beta2 v + (1 - beta2) g^2
 *   param -= lr weightDecay param;     param -= lr mhat / (sqrt(vhat) + eps),
 * with mhat = m / (1 - beta1^step), vhat = v / (1 - beta2^step), g = grad control[0]; subnormal m and v are 0.
 * Source: Loshchilov and Hutter 2019, "Decoupled weight decay regularization", algorithm 2.
 */
import type { Numbers, Tensors } from './view.ts';

export function clipControl(
  { acc, control }: Tensors<'acc' | 'control'>,
  _d: Numbers,
  { maxNorm, inverseScale }: Numbers,
): void {
  const norm = Math.sqrt(acc.get(0, 0)) * inverseScale;
  const hasFiniteNorm = Number.isFinite(norm);
  const factor = maxNorm > 0 ? Math.min(1, maxNorm / (norm + 1e-6)) : 1;
  control.set(0, 0, hasFiniteNorm ? inverseScale * factor : 0);
  control.set(0, 1, norm);
  control.set(0, 2, hasFiniteNorm ? 1 : 0);
  control.set(0, 3, 0);
}

/** 0 for a number that is subnormal in f32. */
const flushed = (x: number): number => (Math.abs(x) < 2 ** -126 ? 0 : x);

export function adamw(
  { param, grad, m, v, control, half }: Tensors<'param' | 'grad' | 'm' | 'v', 'control' | 'half'>,
  { n }: Numbers,
  { lr, beta1, beta2, eps, weightDecay, step }: Numbers,
): void {
  if (control && control.get(0, 2) === 0) return;
  const scale = control?.get(0, 0) ?? 1;
  for (let i = 0; i < n; i++) {
    const g = grad.get(0, i) * scale;
    const mean = flushed(beta1 * m.get(0, i) + (1 - beta1) * g);
    const square = flushed(beta2 * v.get(0, i) + (1 - beta2) * g * g);
    const decayed = param.get(0, i) * (1 - lr * weightDecay);
    const update = mean / (1 - beta1 ** step) / (Math.sqrt(square / (1 - beta2 ** step)) + eps);
    m.set(0, i, mean);
    v.set(0, i, square);
    param.set(0, i, decayed - lr * update);
    half?.set(0, i, param.get(0, i));
  }
}
