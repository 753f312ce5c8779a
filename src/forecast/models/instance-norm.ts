/**
 * Each window's own level and scale, taken away before the model and given back after it: what shifts between training
 * and test is mostly those. Biased variance, eps inside of the root, nothing learned.
 * Source: Kim et al. 2022, "Reversible instance normalization", without its affine part.
 */
import { add, div, mean, mul, reshape, shift, sqrt, square, sub, type Tensor } from '../../tensor/index.ts';

const EPS = 1e-5;

export interface Normalized {
  /** [b, k, l] */
  readonly y: Tensor;
  /** Gives a forecast [b, k, h] its level and scale back. */
  restore(forecast: Tensor): Tensor;
}

/** x [b, k, l] */
export function instanceNorm(x: Tensor): Normalized {
  const column = [...x.shape.slice(0, -1), 1];
  const level = reshape(mean(x, -1), column); // [b, k, 1]
  const centred = sub(x, level);
  const deviation = sqrt(shift(reshape(mean(square(centred), -1), column), EPS)); // [b, k, 1]
  return {
    y: div(centred, deviation),
    restore: (forecast) => add(mul(forecast, deviation), level),
  };
}
