/** Tuning inside a cell, meta-training and trials among it: one model, one way, one precision, one seed; stopped, it goes on from its checkpoint. */
import { DivergedError } from 'krait/core';
import { type FileSystem, isRecord, joinPath } from 'krait/io';
import type { LanguageModel } from 'krait/models';
import { type Precision, train } from 'krait/train';
import { LanguageTask, type LoraAdapter, type TokenExample } from 'krait/tune';
import { adapterOf, type Method, parametersOf } from './methods.ts';
import type { DownstreamSettings } from './settings.ts';

export interface TuningPlan {
  readonly method: Method;
  readonly precision: Precision;
  readonly seed: number;
  readonly rate: number;
  readonly steps: number;
}

export interface TuningCost {
  /** Peak memory of the device, with the weights. */
  readonly peakBytes: number;
  /** Over the steps since the tuning was last taken up; null where none were left. */
  readonly tokensPerSecond: number | null;
  readonly seconds: number;
  readonly trainableParameters: number;
  readonly totalParameters: number;
  /** Loss of the last step. */
  readonly loss: number;
  /** Steps that f16 left out because something overflowed. */
  readonly skippedSteps: number;
  /** Mean loss of the validation part after the last step, in nats; null where there is none. */
  readonly validationLoss: number | null;
}

export interface TuningInput {
  readonly model: LanguageModel;
  readonly plan: TuningPlan;
  readonly settings: DownstreamSettings;
  readonly train: readonly TokenExample[];
  /** Its loss is measured at the end, where given. */
  readonly validation?: readonly TokenExample[];
  /** Where checkpoints are kept while it runs; null for none. */
  readonly place: { readonly files: FileSystem; readonly folder: string } | null;
  readonly signal?: AbortSignal;
  readonly onStep?: (step: number, note: string) => void;
}

export interface TunedModel {
  readonly cost: TuningCost;
  readonly adapter: LoraAdapter | null;
}

/** A tuning whose loss became infinite, or no number: a result too. */
export { DivergedError as Diverged };

const COST_FILE = 'cost.json';

/** What a tuning cost that was done before the cell was stopped. */
async function keptCost(place: TuningInput['place']): Promise<TuningCost | null> {
  if (!place) return null;
  const path = joinPath(place.folder, COST_FILE);
  if (!(await place.files.exists(path))) return null;
  const kept: unknown = JSON.parse(await place.files.readText(path));
  return isRecord(kept) ? (kept as unknown as TuningCost) : null;
}

const keepCost = ({ files, folder }: NonNullable<TuningInput['place']>, cost: TuningCost): Promise<void> =>
  files.writeAtomic(joinPath(folder, COST_FILE), JSON.stringify(cost));

/**
 * Tunes the model, which stays as it is left.
 * @throws DivergedError for a loss that is not finite; the signal's reason
 */
export async function tuneModel(input: TuningInput): Promise<TunedModel> {
  const { model, plan, settings, place, signal } = input;
  const { method, precision, seed, rate: learningRate, steps } = plan;
  const adapter = adapterOf(method, model, { ...settings, seed });
  const parameters = parametersOf(method, model, adapter);
  const { batchSize, maxLength } = settings;
  const task = new LanguageTask({
    model,
    parameters,
    train: input.train,
    validation: input.validation,
    batchSize,
    maxLength,
    seed,
    mode: adapter,
  });
  const { warmup, saveEvery } = settings;
  const options = { steps, learningRate, precision, schedule: 'cosine' as const, warmup, seed, saveEvery };
  try {
    const result = await train(task, {
      options,
      place: place ? { ...place, resume: true } : undefined,
      signal,
      onStep: ({ step, loss, tokensPerSecond }) =>
        input.onStep?.(step, `loss ${loss.toFixed(3)}, ${tokensPerSecond.toFixed(0)} tok/s`),
    });
    if (result.status === 'aborted') signal?.throwIfAborted();
    const trainableParameters = parameters.reduce((sum, { tensor }) => sum + tensor.size, 0);
    const own = [...model.parameters.values()].reduce((sum, { size }) => sum + size, 0);
    const kept = await keptCost(place);
    let cost: TuningCost = kept ?? {
      peakBytes: result.peakBytes,
      tokensPerSecond: Number.isFinite(result.tokensPerSecond) && result.tokens > 0 ? result.tokensPerSecond : null,
      seconds: result.seconds,
      trainableParameters,
      totalParameters: adapter?.coverage.totalParameters ?? own,
      loss: result.loss,
      skippedSteps: result.skippedSteps,
      validationLoss: null,
    };
    // What the steps cost is kept before the evaluation: stopped there, a later run has no steps left to tell it by.
    if (place && !kept) await keepCost(place, cost);
    signal?.throwIfAborted();
    if (task.evaluate && cost.validationLoss === null) {
      const { loss: validationLoss } = await task.evaluate(signal);
      signal?.throwIfAborted();
      if (!Number.isFinite(validationLoss)) throw new DivergedError(steps, `validation loss is ${validationLoss}`);
      cost = { ...cost, validationLoss };
      if (place) await keepCost(place, cost);
    }
    for (const { tensor } of parameters) tensor.trainable(false); // frozen weights are read faster
    return { cost, adapter };
  } finally {
    task.dispose();
  }
}
