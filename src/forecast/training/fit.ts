/** From a scaled series and settings to a trained forecaster. */

import type { Device } from '../../tensor/index.ts';
import { type RunPlace, type TrainingCallbacks, type TrainingResult, train } from '../../tune/trainer/index.ts';
import { type SeriesTable, type Split, WindowSet } from '../data/index.ts';
import { createForecaster, type ForecastConfig, type ForecastModel } from '../models/index.ts';
import { ForecastTask } from './task.ts';

export interface FitOptions {
  /** Passes over the training windows, at most. */
  readonly epochs: number;
  /** Evaluations (one after each pass) without a better loss that end the training. */
  readonly patience: number;
  readonly batchSize: number;
  readonly learningRate: number;
  readonly seed: number;
}

/** The windows of each part of a series that is scaled already. */
export function windowsOf(
  series: readonly Float32Array[],
  observed: SeriesTable['observed'],
  split: Split,
  { lookback, horizon }: { lookback: number; horizon: number },
): Record<keyof Split, WindowSet> {
  const of = (part: Split['train']) => new WindowSet(series, observed, part, lookback, horizon);
  return { train: of(split.train), validation: of(split.validation), test: of(split.test) };
}

export interface FitInput extends TrainingCallbacks {
  readonly device: Device;
  readonly config: ForecastConfig;
  readonly windows: { readonly train: WindowSet; readonly validation: WindowSet };
  readonly options: FitOptions;
  readonly place?: RunPlace;
  readonly signal?: AbortSignal;
  /** Steps of all passes, before the first. */
  onPlan?(plan: { steps: number; stepsPerEpoch: number; parameters: number }): void;
}

export interface FittedModel {
  /** With the weights of the best validation. */
  readonly model: ForecastModel;
  /** Order of the variables, null for that of the file. */
  readonly order: readonly number[] | null;
  /** Null for a model that learns nothing. */
  readonly training: TrainingResult | null;
  readonly validationMse: number | null;
  readonly parameters: number;
}

/**
 * Trains a new model and leaves it with its best weights. An aborted run has no best ones to speak of: see `training.status`.
 * @throws as `train`; the model is disposed of then
 */
export async function fitForecaster(input: FitInput): Promise<FittedModel> {
  const { device, config, windows, options } = input;
  const model = createForecaster(device, config, options.seed);
  const parameters = [...model.parameters.values()].reduce((n, t) => n + t.size, 0);
  if (parameters === 0) return { model, order: null, training: null, validationMse: null, parameters };
  const { permute, order } = 'permute' in config ? config : { permute: false, order: 'file' as const };
  const { batchSize, seed } = options;
  const task = new ForecastTask({ device, model, ...windows, batchSize, seed, permute, order });
  const { stepsPerEpoch } = task;
  const steps = options.epochs * stepsPerEpoch;
  try {
    input.onPlan?.({ steps, stepsPerEpoch, parameters });
    const { onOpen, onStep, onEval, onCheckpoint, place, signal } = input;
    const training = await train(task, {
      ...{ onOpen, onStep, onEval, onCheckpoint, place, signal },
      options: {
        steps,
        learningRate: options.learningRate,
        seed,
        evalEvery: stepsPerEpoch,
        patience: options.patience,
        weightDecay: 0,
        clipNorm: 0,
        keepCheckpoints: 1,
      },
    });
    if (training.status === 'aborted') return { model, order: null, training, validationMse: null, parameters };
    const best = task.useBest();
    return { model, order: best.order, training, validationMse: best.loss, parameters };
  } catch (error) {
    model.dispose();
    throw error;
  } finally {
    task.dispose();
  }
}
