/**
 * All settings of tuning, a row each: those of training stand in `train/settings`, those of language tasks and of adapters
 * here. The order is that of `krait tune --help`. To add a setting, add a row; what reads the table needs no edit.
 */
import { LORA_DEFAULTS } from '../io/lora-config.ts';
import {
  fraction,
  type Kind,
  list,
  names,
  oneOf,
  positive,
  type Settings,
  type SettingsOf,
  text,
  whole,
  yesOrNo,
} from '../train/setting.ts';
import { CHECK_SETTINGS, COMPUTE_SETTINGS, LENGTH_SETTINGS, UPDATE_SETTINGS } from '../train/settings.ts';

export const TUNE_METHODS = ['lora', 'full'] as const;

/** Adapters learn at a higher rate than whole models. With AdamW; other optimisers take a share of it. */
export const DEFAULT_LEARNING_RATES = { lora: 1e-3, full: 1e-4 } as const;

/** Default number of steps between checkpoints. A crash, a NaN or a kill loses no more steps. */
export const DEFAULT_SAVE_STEPS = 100;

/**
 * How examples become blocks: `packing` several to a row with resets between; `padding` one a row; `stream` each row
 * reads on from block to block with its state carried (truncated back-propagation through time); of a state that grows,
 * as many positions as with a block fill the model's memory.
 */
export const BATCHING = ['packing', 'padding', 'stream'] as const;
export type Batching = (typeof BATCHING)[number];

/** Inputs and output folder. In the library these are options of `tune`, not settings. */
export const PLACE_SETTINGS = {
  model: {
    key: 'model',
    flag: '--model <dir|id>',
    about: 'folder of a model, or its id on the hub',
    kind: text,
  },
  data: {
    key: 'data',
    flag: '--data <dir|file>',
    about: 'JSONL, or a folder with train.jsonl and perhaps valid.jsonl',
    kind: text,
  },
  validation: {
    key: 'validation_data',
    flag: '--validation <file>',
    about: 'JSONL with held-out records',
    kind: text,
    defaultText: 'valid.jsonl or validation.jsonl in the folder of `data`, if it is there',
  },
  out: {
    key: 'output_dir',
    aliases: ['adapter_path'],
    flag: '--out <dir>',
    about: 'folder for the result, checkpoints and logs',
    kind: text,
  },
} as const satisfies Settings;

const METHOD_SETTINGS = {
  method: {
    key: 'method',
    aliases: ['fine_tune_type'],
    flag: '--method <name>',
    about: 'what is trained',
    kind: oneOf(TUNE_METHODS),
    default: 'lora',
  },
} as const satisfies Settings;

/** PEFT's `init_lora_weights`. */
const initialWeights: Kind<boolean | 'gaussian'> = {
  schema: (zod) => zod.union([zod.boolean(), zod.literal('gaussian')]),
  expected: 'true, false, gaussian',
  flag: { type: 'choice', choices: [true, false, 'gaussian'] },
};

/** Settings of a new adapter. */
export const LORA_SETTINGS = {
  rank: {
    key: 'r',
    flag: '--rank <r>',
    about: 'rank of LoRA',
    kind: whole(1, 65_536),
    default: LORA_DEFAULTS.r,
    fills: 'r',
  },
  alpha: {
    key: 'lora_alpha',
    flag: '--alpha <a>',
    about: 'scale of LoRA',
    kind: positive,
    defaultText: 'twice the rank',
    fills: 'loraAlpha',
  },
  dropout: {
    key: 'lora_dropout',
    flag: '--dropout <p>',
    about: 'dropout on the input of LoRA',
    kind: fraction,
    default: LORA_DEFAULTS.loraDropout,
    fills: 'loraDropout',
  },
  targetModules: {
    key: 'target_modules',
    flag: '--targets <names>',
    about: 'modules for LoRA: names with commas, a regular expression, or all-linear',
    kind: names,
    default: LORA_DEFAULTS.targetModules,
  },
  excludeModules: {
    key: 'exclude_modules',
    flag: '--exclude <names>',
    about: 'modules without LoRA, given as for --targets',
    kind: names,
  },
  modulesToSave: {
    key: 'modules_to_save',
    flag: '--modules-to-save <m>',
    about: 'modules that are trained and saved whole: names with commas',
    kind: list,
  },
  bias: {
    key: 'bias',
    flag: '--bias <which>',
    about: 'which biases are trained',
    kind: oneOf(['none', 'all', 'lora_only']),
    default: LORA_DEFAULTS.bias,
  },
  initLoraWeights: {
    key: 'init_lora_weights',
    flag: '--init-lora <how>',
    about: 'first values of the factors; with false the first output changes too',
    kind: initialWeights,
    default: LORA_DEFAULTS.initLoraWeights,
  },
  useRslora: {
    key: 'use_rslora',
    flag: '--rslora',
    about: 'scale by alpha / sqrt(rank)',
    kind: yesOrNo,
    default: LORA_DEFAULTS.useRslora,
  },
} as const satisfies Settings;

const BATCH_SETTINGS = {
  batchSize: {
    key: 'per_device_train_batch_size',
    flag: '--batch-size <b>',
    about: 'rows of a batch',
    kind: whole(1),
    default: 4,
  },
  maxLength: {
    key: 'max_seq_length',
    flag: '--max-length <l>',
    about: 'tokens of a row',
    kind: whole(2),
    default: 512,
  },
  gradAccumulation: {
    key: 'gradient_accumulation_steps',
    aliases: ['grad_accumulation_steps'],
    flag: '--grad-accumulation <g>',
    about: 'batches for one step',
    kind: whole(1),
    default: 1,
  },
} as const satisfies Settings;

const ROW_SETTINGS = {
  batching: {
    key: 'batching',
    flag: '--batching <b>',
    about: 'how records become rows',
    kind: oneOf(BATCHING),
    default: 'packing',
  },
} as const satisfies Settings;

const RECORD_SETTINGS = {
  trainOnPrompt: {
    key: 'mask_prompt',
    flag: '--train-on-prompt',
    about: 'loss on prompts too, not on completions alone',
    kind: yesOrNo,
    default: false,
    isInverted: true,
  },
} as const satisfies Settings;

/** Options of a `LanguageTask`. */
export const LANGUAGE_SETTINGS = { ...BATCH_SETTINGS, ...ROW_SETTINGS } as const satisfies Settings;

/** The settings of `Krait.tune`. */
export const TUNE_SETTINGS = {
  ...METHOD_SETTINGS,
  ...LORA_SETTINGS,
  ...LENGTH_SETTINGS,
  learningRate: {
    ...LENGTH_SETTINGS.learningRate,
    default: undefined,
    defaultText: `${DEFAULT_LEARNING_RATES.lora} for LoRA, ${DEFAULT_LEARNING_RATES.full} for full`,
  },
  ...BATCH_SETTINGS,
  ...UPDATE_SETTINGS,
  ...ROW_SETTINGS,
  ...RECORD_SETTINGS,
  ...CHECK_SETTINGS,
  saveEvery: { ...CHECK_SETTINGS.saveEvery, default: DEFAULT_SAVE_STEPS },
  ...COMPUTE_SETTINGS,
  precision: {
    ...COMPUTE_SETTINGS.precision,
    defaultText: `${COMPUTE_SETTINGS.precision.default}; in code, that of the loaded model`,
  },
} as const satisfies Settings;

/** All settings that a file may have. */
export const CONFIG_SETTINGS = { ...PLACE_SETTINGS, ...TUNE_SETTINGS } as const satisfies Settings;

/** Settings of tuning under their names in code; the table says more about each. */
export type TuneSettings = SettingsOf<typeof TUNE_SETTINGS>;
