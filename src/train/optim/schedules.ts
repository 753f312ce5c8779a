/**
 * Learning rates as pure functions of the step, so that a resumed run needs to remember nothing.
 *   warm-up   lr (i + 1) / w                                        for i < w
 *   constant  lr
 *   linear    min + (lr - min) (1 - p)                              p = (i - w) / (n - w)
 *   cosine    min + (lr - min) (1 + cos(pi p)) / 2
 * As in transformers, but for the warm-up: there the first step has rate 0 and changes nothing.
 */
import type { ScheduleName } from './names.ts';

export interface ScheduleOptions {
  schedule: ScheduleName;
  learningRate: number;
  /** Steps of the whole run. */
  steps: number;
  /** Steps of warm-up; a number between 0 and 1 is a share of all steps. */
  warmup?: number;
  /** Final rate of linear and cosine; 0 unless given. */
  minLearningRate?: number;
}

/** Whole steps of warm-up. */
export function warmupSteps({ warmup = 0, steps }: Pick<ScheduleOptions, 'warmup' | 'steps'>): number {
  return warmup < 1 ? Math.round(warmup * steps) : Math.round(warmup);
}

/** The learning rate of step `i`, counted from 0. */
export function learningRateAt(i: number, options: ScheduleOptions): number {
  const { schedule, learningRate, steps, minLearningRate = 0 } = options;
  const warm = warmupSteps(options);
  if (i < warm) return (learningRate * (i + 1)) / warm;
  const progress = Math.min(1, (i - warm) / Math.max(1, steps - warm));
  const span = learningRate - minLearningRate;
  switch (schedule) {
    case 'constant':
      return learningRate;
    case 'linear':
      return minLearningRate + span * (1 - progress);
    case 'cosine':
      return minLearningRate + (span * (1 + Math.cos(Math.PI * progress))) / 2;
  }
}
