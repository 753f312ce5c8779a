/** The settings of training, a row each. To add one, add a row; what reads the table needs no edit. */
import { OPTIMIZER_NAMES, SCHEDULES } from './optim/names.ts';
import { fraction, type Kind, nonnegative, oneOf, positive, type Settings, whole, yesOrNo } from './setting.ts';

export const PRECISIONS = ['f32', 'bf16', 'f16'] as const;
export type Precision = (typeof PRECISIONS)[number];

/** In files a count of steps. In code, and under other names, a number below 1 is a share of all steps. */
const stepsOrShare: Kind<number> = {
  schema: (zod) => zod.int().min(0),
  expected: 'steps, or a share of them below 1',
  flag: { type: 'number', low: 0, open: false },
};

/** How fast and how long. */
export const LENGTH_SETTINGS = {
  learningRate: {
    key: 'learning_rate',
    flag: '--lr <x>',
    about: 'learning rate',
    kind: positive,
    default: 1e-4,
  },
  steps: {
    key: 'max_steps',
    aliases: ['iters'],
    flag: '--steps <n>',
    about: 'optimiser steps',
    kind: whole(1),
    defaultText: 'as many as `epochs` makes',
    group: 'length',
  },
  epochs: {
    key: 'num_train_epochs',
    flag: '--epochs <e>',
    about: 'passes over the data',
    kind: positive,
    defaultText: '1 without `steps`',
    fills: null,
    group: 'length',
  },
} as const satisfies Settings;

/** How the rate changes and what an update does. Defaults of what an optimiser takes stand in its row of `OPTIMIZERS`. */
export const UPDATE_SETTINGS = {
  schedule: {
    key: 'lr_scheduler_type',
    aliases: ['lr_schedule'],
    flag: '--schedule <s>',
    about: 'of the learning rate',
    kind: oneOf(SCHEDULES),
    default: 'constant',
  },
  warmup: {
    key: 'warmup_steps',
    flag: '--warmup <w>',
    about: 'steps, or a share of them below 1',
    kind: stepsOrShare,
    default: 0,
    shareKey: 'warmup_ratio',
    group: 'warmup',
  },
  warmupRatio: {
    key: 'warmup_ratio',
    flag: '--warmup-ratio <share>',
    about: 'share of the steps in which the learning rate rises',
    kind: fraction,
    defaultText: 'see `warmup`',
    fills: 'warmup',
    group: 'warmup',
  },
  minLearningRate: {
    key: 'min_lr',
    flag: '--min-lr <x>',
    about: 'learning rate at the end of a linear or cosine schedule',
    kind: nonnegative,
    default: 0,
  },
  optimizer: {
    key: 'optim',
    flag: '--optimizer <name>',
    about: 'what makes updates of gradients',
    kind: oneOf(OPTIMIZER_NAMES),
    default: 'adamw',
  },
  weightDecay: {
    key: 'weight_decay',
    flag: '--weight-decay <w>',
    about: 'decoupled weight decay',
    kind: nonnegative,
  },
  adamBeta1: {
    key: 'adam_beta1',
    flag: '--adam-beta1 <b>',
    about: 'decay rate of the first moment; with lion, of the average whose sign decides',
    kind: fraction,
    fills: 'betas',
  },
  adamBeta2: {
    key: 'adam_beta2',
    flag: '--adam-beta2 <b>',
    about: 'decay rate of the second moment; with lion, of its only moment',
    kind: fraction,
    fills: 'betas',
  },
  adamEpsilon: {
    key: 'adam_epsilon',
    flag: '--adam-epsilon <e>',
    about: 'added to the root of the second moment',
    kind: positive,
    fills: 'eps',
  },
  clipNorm: {
    key: 'max_grad_norm',
    flag: '--clip-norm <n>',
    about: 'norm that gradients are clipped to; 0 for none',
    kind: nonnegative,
    default: 1,
  },
} as const satisfies Settings;

/** When a run evaluates, stops early and saves. */
export const CHECK_SETTINGS = {
  evalEvery: {
    key: 'eval_steps',
    aliases: ['steps_per_eval'],
    flag: '--eval-every <n>',
    about: 'steps between evaluations',
    kind: whole(0),
    default: 0,
    isFree: true,
  },
  evalOnStart: {
    key: 'eval_on_start',
    flag: '--eval-on-start',
    about: 'evaluate before the first step too',
    kind: yesOrNo,
    default: false,
    isFree: true,
  },
  patience: {
    key: 'early_stopping_patience',
    flag: '--patience <n>',
    about: 'evaluations without a new best after which training ends; 0 for never',
    kind: whole(0),
    default: 0,
    isFree: true,
  },
  saveEvery: {
    key: 'save_steps',
    flag: '--save-every <n>',
    about: 'steps between checkpoints',
    kind: whole(0),
    default: 0,
    isFree: true,
  },
  keepCheckpoints: {
    key: 'save_total_limit',
    flag: '--keep-checkpoints <n>',
    about: 'checkpoints kept besides the best',
    kind: whole(1),
    default: 2,
    isFree: true,
  },
} as const satisfies Settings;

/** How steps are computed. */
export const COMPUTE_SETTINGS = {
  checkpointing: {
    key: 'gradient_checkpointing',
    aliases: ['grad_checkpoint'],
    flag: '--grad-checkpointing',
    about: 'keep less memory, compute twice',
    kind: yesOrNo,
    default: false,
    isFree: true,
  },
  seed: {
    key: 'seed',
    flag: '--seed <s>',
    about: 'same seed, same result',
    kind: whole(0, 2 ** 32 - 1),
    default: 0,
  },
  precision: {
    key: 'dtype',
    flag: '--dtype <type>',
    about: 'type of the activations; f16 trains with a dynamic loss scale',
    kind: oneOf(PRECISIONS),
    default: 'f32',
  },
} as const satisfies Settings;

export const TRAIN_SETTINGS = {
  ...LENGTH_SETTINGS,
  ...UPDATE_SETTINGS,
  ...CHECK_SETTINGS,
  ...COMPUTE_SETTINGS,
} as const satisfies Settings;
