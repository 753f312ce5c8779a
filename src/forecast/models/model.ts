/**
 * What every forecaster is: a function from windows to forecasts, with named parameters (none where nothing is learned).
 * Values are scaled ones; see `data/scaler.ts`. The order in which the variables of a batch stand is the order in which a
 * model that reads them one after the other does so: permuting a window's rows permutes its forecast's rows.
 */
import type { RandomSource, Shape } from '../../core/index.ts';
import type { Device, Tensor } from '../../tensor/index.ts';

export interface Pass {
  /** Source of dropout's random numbers while training; null in evaluation, which drops nothing. */
  readonly random: RandomSource | null;
}

export const EVALUATION: Pass = { random: null };

export interface ForecastModel {
  readonly kind: string;
  readonly lookback: number;
  readonly horizon: number;
  /** Under the names that they are saved by. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  /** Whether a variable's forecast depends on the other variables of the window, and so on their order. */
  readonly readsAcross: boolean;
  /** past [b, k, lookback] -> [b, k, horizon] */
  forward(past: Tensor, pass: Pass): Tensor;
  dispose(): void;
}

/** Draws the parameters of a new model; they belong to the model and outlive every scope. */
export class Initializer {
  readonly parameters = new Map<string, Tensor>();

  constructor(
    readonly device: Device,
    readonly random: RandomSource,
    readonly dtype: 'f32' | 'f64' = 'f32',
  ) {}

  private put(name: string, tensor: Tensor): Tensor {
    this.parameters.set(name, this.device.keep(tensor));
    return tensor;
  }

  /** Uniform in [-bound, bound). */
  uniform(name: string, shape: Shape, bound: number): Tensor {
    return this.put(name, this.device.uniform(shape, this.random.next(), -bound, bound, this.dtype));
  }

  constant(name: string, shape: Shape, value: number): Tensor {
    return this.put(name, this.device.full(shape, value, this.dtype));
  }

  values(name: string, shape: Shape, values: ArrayLike<number>): Tensor {
    return this.put(name, this.device.from(values, shape, this.dtype));
  }

  /** `${name}.weight` [n, k] and, if wanted, `${name}.bias` [n], both within 1/sqrt(k): the default of PyTorch. */
  linear(name: string, n: number, k: number, { bias = true } = {}): void {
    this.uniform(`${name}.weight`, [n, k], 1 / Math.sqrt(k));
    if (bias) this.uniform(`${name}.bias`, [n], 1 / Math.sqrt(k));
  }

  /** `${name}.weight` of ones and `${name}.bias` of zeros. */
  norm(name: string, d: number): void {
    this.constant(`${name}.weight`, [d], 1);
    this.constant(`${name}.bias`, [d], 0);
  }
}

export function disposeAll(parameters: ReadonlyMap<string, Tensor>): void {
  for (const tensor of parameters.values()) tensor.dispose();
}
