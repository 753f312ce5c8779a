/** Settings of a training run, with their defaults and checks. */
import { ConfigError } from '../core/index.ts';
import { ADAMW_DEFAULTS, checkSchedule, type ScheduleName } from './optim/index.ts';

export const PRECISIONS = ['f32', 'bf16', 'f16'] as const;
export type Precision = (typeof PRECISIONS)[number];

export interface TrainerOptions {
  /** Optimiser steps of the whole run. */
  steps: number;
  learningRate: number;
  schedule: ScheduleName;
  /** Steps, or a share of them below 1. */
  warmup: number;
  minLearningRate: number;
  weightDecay: number;
  betas: readonly [number, number];
  eps: number;
  /** Norm that gradients are clipped to; 0 for none. */
  clipNorm: number;
  /** Of the activations. f16 trains with a dynamic loss scale. */
  precision: Precision;
  /** First loss scale of f16. */
  initialLossScale: number;
  seed: number;
  /** Steps between evaluations; 0 for none. */
  evalEvery: number;
  /** Evaluate before the first step too: what training never betters ends it by `patience`, and is the best. */
  evalOnStart: boolean;
  /** Evaluations in a row without a new best after which the run ends early; 0 for never. */
  patience: number;
  /** Steps between checkpoints; 0 for one at the end only. */
  saveEvery: number;
  /** Checkpoints kept besides the best. */
  keepCheckpoints: number;
  /** Keep less for the backward pass and compute it again. */
  checkpointing: boolean;
}

export const TRAINER_DEFAULTS: Omit<TrainerOptions, 'steps'> = {
  learningRate: 1e-4,
  schedule: 'constant',
  warmup: 0,
  minLearningRate: 0,
  weightDecay: ADAMW_DEFAULTS.weightDecay,
  betas: ADAMW_DEFAULTS.betas,
  eps: ADAMW_DEFAULTS.eps,
  clipNorm: 1,
  precision: 'f32',
  initialLossScale: 65536,
  seed: 0,
  evalEvery: 0,
  evalOnStart: false,
  patience: 0,
  saveEvery: 0,
  keepCheckpoints: 2,
  checkpointing: false,
};

/** Those that a resumed run may change without becoming another run. */
const FREE = ['evalEvery', 'evalOnStart', 'patience', 'saveEvery', 'keepCheckpoints', 'checkpointing'] as const;

/** The settings that a checkpoint remembers, to be compared when it is resumed. */
export function runSettings(options: TrainerOptions): Record<string, unknown> {
  const entries = Object.entries(options).filter(([key]) => !(FREE as readonly string[]).includes(key));
  return JSON.parse(JSON.stringify(Object.fromEntries(entries))) as Record<string, unknown>;
}

/** Defaults filled in. @throws ConfigError naming the setting and the value that cannot be used */
export function resolveOptions(given: Partial<TrainerOptions> & { steps: number }): TrainerOptions {
  const stated = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  const options = { ...TRAINER_DEFAULTS, ...stated } as TrainerOptions;
  checkSchedule(options);
  const check = (name: string, value: number, isRight: boolean, expected: string) => {
    if (!isRight) throw new ConfigError(`${name}: expected ${expected}, got ${value}`);
  };
  const counts = ['evalEvery', 'patience', 'saveEvery', 'keepCheckpoints', 'seed'] as const;
  for (const name of counts) {
    check(name, options[name], Number.isSafeInteger(options[name]) && options[name] >= 0, 'a whole number from 0');
  }
  check('patience', options.patience, options.patience === 0 || options.evalEvery > 0, '0 where nothing is evaluated');
  check(
    'evalOnStart',
    Number(options.evalOnStart),
    !options.evalOnStart || options.evalEvery > 0,
    'false where nothing is evaluated',
  );
  check('keepCheckpoints', options.keepCheckpoints, options.keepCheckpoints >= 1, 'at least 1');
  check('seed', options.seed, options.seed < 2 ** 32, 'a number below 2^32');
  check('weightDecay', options.weightDecay, options.weightDecay >= 0, 'a number from 0');
  check('clipNorm', options.clipNorm, options.clipNorm >= 0, 'a number from 0');
  check('eps', options.eps, options.eps > 0, 'a number above 0');
  for (const beta of options.betas) check('betas', beta, beta >= 0 && beta < 1, 'two numbers from 0 to below 1');
  if (!PRECISIONS.includes(options.precision)) {
    throw new ConfigError(`precision: expected ${PRECISIONS.join(', ')}, got ${options.precision}`);
  }
  return options;
}

/**
 * Steps of a run that is given in steps or in passes over the data.
 * @throws ConfigError if neither is given, or epochs of data that has no end
 */
export function stepsFor({ steps, epochs }: { steps?: number; epochs?: number }, stepsPerEpoch?: number): number {
  if (steps !== undefined) return steps;
  if (epochs === undefined) throw new ConfigError('max_steps, num_train_epochs: neither is given; give one');
  if (stepsPerEpoch === undefined) throw new ConfigError('epochs: the data has no end; give --steps instead');
  return Math.max(1, Math.round(epochs * stepsPerEpoch));
}
