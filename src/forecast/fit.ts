/** Training a forecaster by the papers' protocol, on the one trainer. */
import type { Device } from '../tensor/index.ts';
import { type Evaluation, type RunPlace, type TrainingCallbacks, type TrainingResult, train } from '../train/index.ts';
import { type ScaledSeries, type Splits, type WindowSize, windowStarts } from './data/index.ts';
import { ForecastTask } from './forecast-task.ts';
import type { ModelForecaster } from './forecaster.ts';
import {
  createForecastModel,
  type ForecastModel,
  fitRidge,
  type ModelSettings,
  RIDGE_WEIGHT,
  type TrainingProtocol,
} from './models/index.ts';
import { isSolved, type TrainedModelName } from './names.ts';

export interface FitSettings extends WindowSize, TrainingProtocol {
  readonly model: TrainedModelName;
  readonly settings: ModelSettings;
  readonly seed: number;
}

export interface FitInput extends TrainingCallbacks {
  readonly device: Device;
  readonly series: ScaledSeries;
  readonly splits: Splits;
  readonly fit: FitSettings;
  /** Folder for checkpoints; without it they stay in memory. */
  readonly place?: RunPlace;
  readonly signal?: AbortSignal;
  /** After an epoch's evaluation; epoch 0 is a linear forecast that was solved beforehand. */
  onEpoch?(epoch: number, evaluation: Evaluation): void;
}

export interface Fitted {
  readonly forecaster: ModelForecaster;
  /** Squared error of the best epoch over every validation window. */
  readonly validation: number;
  /** Epochs before that evaluation: 0 where the linear forecast that was solved beforehand is the best. */
  readonly bestEpoch: number;
  readonly status: TrainingResult['status'];
  /** Passes over the training part; 0 for a model that is solved. */
  readonly epochs: number;
  /** Seconds of training and evaluations in this call. */
  readonly seconds: number;
  readonly parameters: number;
}

/**
 * Trains and returns the forecaster of the best epoch; its model is the caller's to dispose of. A linear forecast that is
 * solved beforehand counts as an epoch before the first: if none is better, it is what comes back, and patience ends the rest.
 * @throws UsageError for settings that cannot be; KraitError for a loss that is not finite
 */
export async function fitForecaster(input: FitInput): Promise<Fitted> {
  const { device, series, splits, fit, signal } = input;
  const { lookback, horizon, batchSize, seed, permutes, solver, loss } = fit;
  const size = { lookback, horizon };
  const model = createForecastModel(fit.model, device, { k: series.values.length, ...size }, fit.settings, seed);
  const startedMs = performance.now();
  let task: ForecastTask | null = null;
  try {
    task = new ForecastTask({ model, series, splits, size, batchSize, seed, permutes, solver, loss });
    const startsSolved = solveRidge(model, input);
    const result = isSolved(fit.model) ? null : await train(task, trainingOf(input, task.stepsPerEpoch, startsSolved));
    if (!result) {
      const evaluation = await task.evaluate(signal);
      input.onEpoch?.(0, evaluation);
    }
    return {
      ...task.bestForecaster(),
      status: result?.status ?? (signal?.aborted ? 'aborted' : 'completed'),
      epochs: result ? Math.round(result.step / task.stepsPerEpoch) : 0,
      seconds: (performance.now() - startedMs) / 1000,
      parameters: [...model.parameters.values()].reduce((n, tensor) => n + tensor.size, 0),
    };
  } catch (error) {
    model.dispose();
    throw error;
  } finally {
    task?.dispose();
  }
}

function trainingOf(input: FitInput, stepsPerEpoch: number, evalOnStart: boolean) {
  const { fit, place, signal, onOpen, onStep, onCheckpoint } = input;
  const onEval = (step: number, evaluation: Evaluation) => {
    input.onEval?.(step, evaluation);
    input.onEpoch?.(Math.round(step / stepsPerEpoch), evaluation);
  };
  const options = {
    steps: fit.epochs * stepsPerEpoch,
    learningRate: fit.learningRate,
    weightDecay: fit.weightDecay,
    clipNorm: 0,
    evalEvery: stepsPerEpoch,
    evalOnStart,
    saveEvery: stepsPerEpoch,
    patience: fit.patience,
    keepCheckpoints: 1,
    seed: fit.seed,
  };
  return { options, place, signal, onOpen, onStep, onEval, onCheckpoint };
}

/** Solves the linear forecast of a model that has one; whether it has. */
function solveRidge(model: ForecastModel, { series, splits, fit }: FitInput): boolean {
  const tensor = model.parameters.get(RIDGE_WEIGHT);
  if (!tensor) return false;
  const [train, validation] = [splits.train, splits.validation].map((range) => windowStarts(range, fit));
  tensor.write(fitRidge(series, train, validation, fit).weight);
  return true;
}
