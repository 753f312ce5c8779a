/** A trained forecaster as data: its name, settings, published recipe and constructor. */
import type { Device } from '../../tensor/index.ts';
import type { ForecastLoss, Solver } from '../names.ts';
import type { ForecastModel, ForecastSize } from './forecast-model.ts';

/** How a model is trained. */
export interface TrainingProtocol {
  /** Steps that a forecast sees. */
  readonly lookback: number;
  readonly learningRate: number;
  /** Weight decay of all parameters. */
  readonly weightDecay: number;
  readonly loss: ForecastLoss;
  readonly batchSize: number;
  /** Most epochs. */
  readonly epochs: number;
  /** Epochs without a better validation error after which training ends. */
  readonly patience: number;
  /** VPT: random orders of variables in training. */
  readonly permutes: boolean;
  /** VAST: how the order of evaluations is found. */
  readonly solver: Solver;
}

/** Settings that the protocols of all authors share. */
export const PROTOCOL = {
  epochs: 10,
  patience: 3,
  permutes: true,
  solver: 'annealing',
  loss: 'mse',
  weightDecay: 0,
} as const satisfies Partial<TrainingProtocol>;

/** A protocol with settings of the model. */
export interface ForecastRecipe<S extends object = object> extends TrainingProtocol {
  readonly settings: Partial<S> & { readonly shortcut?: boolean };
}

/** A forecaster. A new one is a file that exports one of these, and a row in the registry. */
export interface ForecasterKind<N extends string = string, S extends object = object> {
  readonly name: N;
  /** Defaults of its settings beside the sizes. What is not among them is not read. */
  readonly defaults: S;
  /**
   * Checks settings against sizes and each other; that numbers are sizes, and `dropout` a probability, is checked already.
   * @throws UsageError naming the setting, its value and what would do
   */
  check?(config: S & ForecastSize): void;
  /** A new model with weights drawn from `seed`; null for one that is no more than the ridge regression beside it. */
  create(device: Device, config: S & ForecastSize, seed: number): ForecastModel | null;
  /** As its authors train it on a data set. */
  published(data: string, horizon: number): ForecastRecipe<S>;
  /** Recipes by name that were found to forecast better (docs/forecasting.md). */
  readonly found?: Readonly<Record<string, ForecastRecipe<S>>>;
}
