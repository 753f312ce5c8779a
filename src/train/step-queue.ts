/**
 * One optimiser step on a device: forward and backward of its micro-batches, clipping, update. All of it is queued; what
 * came out is a promise. The next forward pass is queued when the one before has run: its backward pass keeps the device
 * busy meanwhile, and the device's queue stays short enough for launches not to wait.
 */
import type { RandomSource } from '../core/index.ts';
import { backward } from '../tensor/index.ts';
import { type Optimizer, readReport, type UpdateReport } from './optim/index.ts';
import type { StepBatches, TrainingTask } from './task.ts';

export interface StepSettings {
  learningRate: number;
  clipNorm: number;
  gradScale: number;
  checkpointing: boolean;
}

export interface StepOutcome extends UpdateReport {
  /** Mean over the step's targets, before the update. */
  readonly loss: number;
  readonly tokens: number;
}

/** A promise whose rejection is reported when it is awaited, not before. */
function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

/** Queues a step. The outer promise resolves when its last forward pass has run, the inner one when all of it has. */
export async function queueStep<B>(
  task: TrainingTask<B>,
  optimizer: Optimizer,
  random: RandomSource,
  data: StepBatches<B>,
  settings: StepSettings,
): Promise<{ outcome: Promise<StepOutcome> }> {
  const { device } = task;
  const { gradScale, checkpointing, learningRate, clipNorm } = settings;
  const losses: Promise<number>[] = [];
  for (const batch of data.microBatches) {
    device.scope(() => {
      const loss = task.loss(batch, { normalizer: data.normalizer, gradScale, random, checkpointing });
      losses.push(quiet(loss.item())); // read before the backward pass is queued
      backward(loss);
    });
    if (losses.length < data.microBatches.length) await losses[losses.length - 1];
  }
  task.afterStep?.();
  const control = optimizer.update({ learningRate, clipNorm, inverseScale: 1 / gradScale });
  optimizer.zeroGrad();
  const report = readReport(control);
  control.dispose();
  await losses[losses.length - 1];
  const settle = async (): Promise<StepOutcome> => {
    const values = await Promise.all(losses);
    const loss = values.reduce((sum, value) => sum + value, 0);
    const { gradNorm, isApplied } = await report;
    return { gradNorm, isApplied, loss, tokens: data.tokens };
  };
  return { outcome: quiet(settle()) };
}
