/**
 * What every trained forecaster is to its task: named parameters and a forward pass over windows. And how parameters
 * begin: a named table of tensors, drawn in order from one seed.
 */
import { HostRandom, type RandomSource, sizeOf } from '../../core/index.ts';
import type { WeightRow } from '../../models/index.ts';
import type { Linear } from '../../nn/index.ts';
import type { Device, Tensor } from '../../tensor/index.ts';
import type { StepDates } from '../data/index.ts';

export interface ForwardSettings {
  /** Source of dropout's numbers, in training; absent: no dropout. */
  readonly random?: RandomSource | null;
  /** Dates of the steps ahead, for a model that knows the calendar. */
  readonly ahead?: StepDates;
  /** Variable at each position of each sample; the order of the file unless given. */
  readonly orders?: readonly ArrayLike<number>[] | null;
}

export interface ForecastModel {
  readonly device: Device;
  readonly parameters: ReadonlyMap<string, Tensor>;
  /** True if windows are normalised to mean 0 and variance 1 and the forecast is scaled back. */
  readonly isNormalised: boolean;
  /** Whether its forecast of a variable depends on the order of the variables. */
  readonly isOrdered: boolean;
  /** The layer whose output is the forecast of a normalised window; null where there is none. */
  readonly head: Linear | null;
  /** x [b, k, lookback] -> [b, k, horizon]. */
  forward(x: Tensor, settings?: ForwardSettings): Tensor;
  dispose(): void;
}

/** Sizes that all models share. */
export interface ForecastSize {
  /** Variables. */
  readonly k: number;
  readonly lookback: number;
  readonly horizon: number;
}

/** Makes parameters: each is drawn, uploaded and kept, in the order of the calls. */
export class ParameterMaker {
  readonly parameters = new Map<string, Tensor>();
  private readonly random: HostRandom;

  constructor(
    readonly device: Device,
    seed: number,
  ) {
    this.random = new HostRandom(seed, 0xf0ca);
  }

  /** A parameter of given values. */
  of(name: string, shape: readonly number[], value: (i: number) => number): Tensor {
    const size = shape.reduce((n, d) => n * d, 1);
    const tensor = this.device.keep(
      this.device.from(
        Float32Array.from({ length: size }, (_, i) => value(i)),
        shape,
      ),
    );
    this.parameters.set(name, tensor.trainable());
    return tensor;
  }

  /** Uniform in [-bound, bound). */
  uniform(name: string, shape: readonly number[], bound: number): Tensor {
    return this.of(name, shape, () => bound * (2 * this.random.uniform() - 1));
  }

  /** Uniform in [0, 1): for what is drawn in another way. */
  draw(): number {
    return this.random.uniform();
  }

  /** A matrix [n, k] as PyTorch's Linear starts: uniform within 1/sqrt(k). `factor` scales it. */
  linear(name: string, n: number, k: number, factor = 1): Tensor {
    return this.uniform(`${name}.weight`, [n, k], factor / Math.sqrt(k));
  }

  /** As `linear`, with a bias that starts the same way. */
  linearWithBias(name: string, n: number, k: number): { weight: Tensor; bias: Tensor } {
    return { weight: this.linear(name, n, k), bias: this.uniform(`${name}.bias`, [n], 1 / Math.sqrt(k)) };
  }

  /** The parameters of a table, biases next to their weights. */
  rows(rows: readonly WeightRow[]): void {
    for (const { name, shape, initial } of biasesByWeights(rows)) {
      const values = initial(this.random, sizeOf(shape));
      this.of(name, shape, (i) => values[i]);
    }
  }
}

/** The rows, each bias right after its weight. */
function biasesByWeights(rows: readonly WeightRow[]): WeightRow[] {
  const biases = new Map(rows.filter(({ name }) => name.endsWith('.bias')).map((row) => [row.name, row]));
  const weights = new Set(rows.map(({ name }) => name));
  return rows.flatMap((row) => {
    if (row.name.endsWith('.bias') && weights.has(row.name.replace(/bias$/, 'weight'))) return [];
    const bias = biases.get(row.name.replace(/weight$/, 'bias'));
    return bias ? [row, bias] : [row];
  });
}

export function disposeAll(parameters: ReadonlyMap<string, Tensor>): void {
  for (const tensor of parameters.values()) {
    tensor.zeroGrad();
    tensor.dispose();
  }
}
