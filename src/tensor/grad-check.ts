/**
 * Gradients against central differences. Meant for f64 on the reference device, where the two agree to about
 * seven digits.
 */
import { HostRandom, type Shape, sizeOf } from '../core/index.ts';
import { backward } from './autograd.ts';
import type { Device } from './device.ts';
import { add, mul, sum } from './ops/index.ts';
import type { Tensor } from './tensor.ts';

export interface GradCheckOptions {
  seed?: number;
  /** Half the distance between the two evaluations. */
  step?: number;
  /** Values to start from, instead of standard normal ones: called with the input's number. */
  values?: (input: number, size: number, random: HostRandom) => number[];
}

/**
 * Largest relative error between the gradient of a random projection of `fn`'s outputs and its central
 * differences, over every element of every input: |a - n| / max(1, |a|, |n|).
 */
export async function gradCheck(
  device: Device,
  fn: (...inputs: Tensor[]) => Tensor | Tensor[],
  shapes: readonly Shape[],
  options: GradCheckOptions = {},
): Promise<number> {
  const { step = 1e-5 } = options;
  const random = new HostRandom(options.seed ?? 1);
  const draw = (n: number) => Array.from({ length: n }, () => random.normal());
  const values = shapes.map((s, i) => options.values?.(i, sizeOf(s), random) ?? draw(sizeOf(s)));
  const weights: number[][] = [];

  const project = (inputs: Tensor[]): Tensor => {
    const outputs = [fn(...inputs)].flat();
    return outputs
      .map((y, i) => {
        weights[i] ??= draw(y.size);
        return sum(mul(y, device.from(weights[i], y.shape, 'f64')));
      })
      .reduce((a, b) => add(a, b));
  };
  const evaluate = async (at: number[][]): Promise<number> => {
    const loss = device.noGrad(() => device.scope(() => project(shapes.map((s, i) => device.from(at[i], s, 'f64')))));
    const value = await loss.item();
    loss.dispose();
    return value;
  };

  const leaves = shapes.map((s, i) => device.from(values[i], s, 'f64').trainable());
  const loss = device.scope(() => project(leaves));
  backward(loss);
  loss.dispose();
  let worst = 0;
  for (const [i, leaf] of leaves.entries()) {
    const analytic = leaf.grad ? await leaf.grad.read() : new Float64Array(leaf.size);
    for (let j = 0; j < leaf.size; j++) {
      const moved = (by: number) => values.map((v, k) => (k === i ? v.map((x, m) => (m === j ? x + by : x)) : v));
      const numeric = ((await evaluate(moved(step))) - (await evaluate(moved(-step)))) / (2 * step);
      worst = Math.max(worst, Math.abs(analytic[j] - numeric) / Math.max(1, Math.abs(analytic[j]), Math.abs(numeric)));
    }
    leaf.zeroGrad();
    leaf.dispose();
  }
  return worst;
}
