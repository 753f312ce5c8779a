/** Training a forecaster by the papers' protocol, on the one trainer. */
import type { Device } from '../tensor/index.ts';
import { type RunPlace, type TrainingCallbacks, type TrainingResult, train } from '../tune/trainer/index.ts';
import type { ScaledSeries, Splits, WindowSize } from './data/index.ts';
import { ForecastTask } from './forecast-task.ts';
import type { ModelForecaster } from './forecaster.ts';
import { createForecastModel, type ModelSettings, type Solver, type TrainedModelName } from './models/index.ts';

export interface FitSettings extends WindowSize {
  readonly model: TrainedModelName;
  readonly settings: ModelSettings;
  readonly learningRate: number;
  readonly batchSize: number;
  /** Most epochs. */
  readonly epochs: number;
  /** Epochs without a better validation error after which training ends. */
  readonly patience: number;
  /** VPT: random orders of variables in training. */
  readonly permutes: boolean;
  /** VAST: how the order of evaluations is found. */
  readonly solver: Solver;
  readonly seed: number;
}

export interface FitInput extends TrainingCallbacks {
  readonly device: Device;
  readonly series: ScaledSeries;
  readonly splits: Splits;
  readonly fit: FitSettings;
  /** Where checkpoints go; in memory alone without. */
  readonly place?: RunPlace;
  readonly signal?: AbortSignal;
}

export interface Fitted {
  readonly forecaster: ModelForecaster;
  /** Squared error of the best epoch over every validation window. */
  readonly validation: number;
  readonly result: TrainingResult;
  readonly stepsPerEpoch: number;
  readonly parameters: number;
}

/**
 * Trains and returns the forecaster of the best epoch; its model is the caller's to dispose of.
 * @throws UsageError for settings that cannot be; KraitError for a loss that is not finite
 */
export async function fitForecaster(input: FitInput): Promise<Fitted> {
  const { device, series, splits, fit } = input;
  const { lookback, horizon, batchSize, seed, permutes, solver } = fit;
  const size = { lookback, horizon };
  const model = createForecastModel(fit.model, device, { k: series.values.length, ...size }, fit.settings, seed);
  const task = new ForecastTask({ model, series, splits, size, batchSize, seed, permutes, solver });
  const { stepsPerEpoch } = task;
  const options = {
    steps: fit.epochs * stepsPerEpoch,
    learningRate: fit.learningRate,
    weightDecay: 0,
    clipNorm: 0,
    evalEvery: stepsPerEpoch,
    saveEvery: stepsPerEpoch,
    patience: fit.patience,
    keepCheckpoints: 1,
    seed,
  };
  try {
    const { place, signal, onOpen, onStep, onEval, onCheckpoint } = input;
    const result = await train(task, { options, place, signal, onOpen, onStep, onEval, onCheckpoint });
    const parameters = [...model.parameters.values()].reduce((n, tensor) => n + tensor.size, 0);
    return { ...task.bestForecaster(), result, stepsPerEpoch, parameters };
  } catch (error) {
    model.dispose();
    throw error;
  } finally {
    task.dispose();
  }
}
