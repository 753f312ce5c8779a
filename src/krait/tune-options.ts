/**
 * Options of `Krait.tune`. Settings are those of the command line and of YAML files in camel case; their checks and
 * defaults are those of `tune/config`.
 */
import { ConfigError } from '../core/index.ts';
import { suggestion } from '../io/index.ts';
import type { TrainingCallbacks } from '../train/index.ts';
import { type FineTunePlan, type LoraAdapter, parseTuneConfig, type TuneConfig, type TuneData } from '../tune/index.ts';

export interface TuneSettings {
  /** `lora` (the default) trains an adapter beside the frozen weights, `full` every weight. */
  method?: 'lora' | 'full';
  /** Type of the activations in training; that of the loaded model unless given. f16 has a dynamic loss scale. */
  precision?: 'f32' | 'bf16' | 'f16';
  /** Of the adapter's first values, the order of the data and dropout; 0 unless given. Same seed, same result. */
  seed?: number;
  /** Optimiser steps; one pass over the data unless these or `epochs` are given. */
  steps?: number;
  /** Passes over the data; may be a fraction. */
  epochs?: number;
  /** 1e-3 for LoRA and 1e-4 for full fine-tuning unless given. */
  learningRate?: number;
  /** How the rate goes on after the warm-up; constant unless given. */
  schedule?: 'constant' | 'linear' | 'cosine';
  /** Steps, or a share of them below 1; 0 unless given. */
  warmup?: number;
  /** Where `linear` and `cosine` end; 0 unless given. */
  minLearningRate?: number;
  /** Decoupled; 0.01 unless given. */
  weightDecay?: number;
  /** Of AdamW; 0.9, 0.999 and 1e-8 unless given. */
  adamBeta1?: number;
  adamBeta2?: number;
  adamEpsilon?: number;
  /** Norm that gradients are clipped to; 1 unless given, 0 for none. */
  clipNorm?: number;
  /** Rows of a batch; 4 unless given. */
  batchSize?: number;
  /** Batches for one step; 1 unless given. */
  gradAccumulation?: number;
  /** Tokens of a row; 512 unless given. Longer records are cut. */
  maxLength?: number;
  /** How records become rows: several to a row, one a row, or read on from block to block; `packing` unless given. */
  batching?: 'packing' | 'padding' | 'stream';
  /** Whether prompts carry loss too; false unless given. */
  trainOnPrompt?: boolean;
  /** Keep less memory for the backward pass and compute twice. */
  checkpointing?: boolean;
  /** Steps between evaluations; none unless given. Needs `validation`. */
  evalEvery?: number;
  /** Steps between checkpoints, with `out`: 100 unless given, 0 for one at the end alone. */
  saveEvery?: number;
  /** Checkpoints kept besides the best; 2 unless given. Needs `out`. */
  keepCheckpoints?: number;
  /** Rank of LoRA; 8 unless given. This and what follows are of a new adapter only. */
  rank?: number;
  /** Scale of LoRA; twice the rank unless given. */
  alpha?: number;
  /** Dropout on the input of LoRA; 0 unless given. */
  dropout?: number;
  /** Ends of module paths, a regular expression for whole ones, or `all-linear` (the default). */
  targetModules?: string | readonly string[];
  excludeModules?: string | readonly string[];
  /** Modules that are trained and saved whole. */
  modulesToSave?: readonly string[];
  /** Which biases are trained; none unless given. */
  bias?: 'none' | 'all' | 'lora_only';
  /** Scale by alpha / sqrt(rank) instead of alpha / rank. */
  useRslora?: boolean;
  initLoraWeights?: boolean | 'gaussian';
}

export interface TuneOptions extends TuneSettings, TrainingCallbacks {
  data: TuneData;
  /** Held-out records, for `evalEvery`. */
  validation?: TuneData;
  /** Folder for the result, checkpoints and logs. Nothing is written without it. */
  out?: string;
  /** Go on from the last checkpoint in `out`; without it an earlier run there is removed. */
  resume?: boolean;
  /** Ends the run after the step it is in; the result's status is then `aborted`. */
  signal?: AbortSignal;
  /** Told what was read and what will be trained, before the first step. */
  onStart?(plan: FineTunePlan): void;
}

/** What only a new adapter can be given. */
const LORA_SETTINGS = {
  rank: 'r',
  alpha: 'lora_alpha',
  dropout: 'lora_dropout',
  targetModules: 'target_modules',
  excludeModules: 'exclude_modules',
  modulesToSave: 'modules_to_save',
  bias: 'bias',
  useRslora: 'use_rslora',
  initLoraWeights: 'init_lora_weights',
} as const;

const SETTINGS: Readonly<Record<keyof TuneSettings, keyof TuneConfig | 'warmup'>> = {
  method: 'method',
  precision: 'dtype',
  seed: 'seed',
  steps: 'max_steps',
  epochs: 'num_train_epochs',
  learningRate: 'learning_rate',
  schedule: 'lr_scheduler_type',
  warmup: 'warmup',
  minLearningRate: 'min_lr',
  weightDecay: 'weight_decay',
  adamBeta1: 'adam_beta1',
  adamBeta2: 'adam_beta2',
  adamEpsilon: 'adam_epsilon',
  clipNorm: 'max_grad_norm',
  batchSize: 'per_device_train_batch_size',
  gradAccumulation: 'gradient_accumulation_steps',
  maxLength: 'max_seq_length',
  batching: 'batching',
  trainOnPrompt: 'mask_prompt',
  checkpointing: 'gradient_checkpointing',
  evalEvery: 'eval_steps',
  saveEvery: 'save_steps',
  keepCheckpoints: 'save_total_limit',
  ...LORA_SETTINGS,
};

const OTHERS: Readonly<Record<Exclude<keyof TuneOptions, keyof TuneSettings>, true>> = {
  data: true,
  validation: true,
  out: true,
  resume: true,
  signal: true,
  onStart: true,
  onOpen: true,
  onStep: true,
  onEval: true,
  onCheckpoint: true,
};

/**
 * The configuration that options stand for.
 * @throws ConfigError naming the option, its value and what was expected, or the nearest option there is
 */
export function tuneConfigOf(options: TuneOptions): TuneConfig {
  const settings: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(options)) {
    if (Object.hasOwn(OTHERS, name) || value === undefined) continue;
    if (!Object.hasOwn(SETTINGS, name)) {
      const known = [...Object.keys(SETTINGS), ...Object.keys(OTHERS)];
      throw new ConfigError(`tune: there is no option ${name}${suggestion(name, known)}; leave it out`);
    }
    const key = SETTINGS[name as keyof TuneSettings];
    settings[key] = name === 'trainOnPrompt' && typeof value === 'boolean' ? !value : value;
    parseTuneConfig(`tune: ${name}`, { [key]: settings[key] }); // alone, so that an error names the option
  }
  return parseTuneConfig('tune', settings);
}

/** @throws ConfigError for an option that would do nothing */
export function checkUses(options: TuneOptions): void {
  const { evalEvery, validation, out } = options;
  if (evalEvery && validation === undefined) {
    throw new ConfigError(`tune: evalEvery is ${evalEvery} but there is nothing to evaluate on; give validation too`);
  }
  if (out !== undefined) return;
  const idle = (['resume', 'saveEvery', 'keepCheckpoints'] as const).find((name) => options[name]);
  if (idle) throw new ConfigError(`tune: ${idle} is ${options[idle]} but no folder is given to save to; give out too`);
}

/** @throws ConfigError if what stands on the model is in the way of what is asked for */
export function checkAdapter(adapter: LoraAdapter | null, method: 'lora' | 'full', options: TuneOptions): void {
  const isFull = method === 'full';
  const given = Object.keys(LORA_SETTINGS).find((name) => options[name as keyof typeof LORA_SETTINGS] !== undefined);
  if (isFull && given) throw new ConfigError(`tune: ${given} is of LoRA, the method is full; leave one out`);
  if (!adapter) return;
  const away = 'merge({ permanent: true }) or removeAdapter() first';
  if (isFull) throw new ConfigError(`tune: the model has an adapter, which method full does not train; ${away}`);
  if (adapter.mergedBases) throw new ConfigError(`tune: the adapter is merged; unmerge() to train it on, or ${away}`);
  if (given)
    throw new ConfigError(`tune: ${given} is of a new adapter and the model has one; leave it out, or ${away}`);
}
