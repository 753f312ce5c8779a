/**
 * The configuration of a fine-tuning run, as a YAML file gives it: the names are those of transformers' Trainer and of
 * PEFT; mlx-lm's and the command line's are taken too. Unknown keys are errors that name the nearest known one.
 */
import { parse as parseYaml, YAMLParseError } from 'yaml';
import { z } from 'zod';
import { ConfigError } from '../core/index.ts';
import { describe, isRecord, LORA_DEFAULTS, type LoraConfig, parseStrict } from '../io/index.ts';
import { PRECISIONS, SCHEDULES, type TrainerOptions } from '../train/index.ts';
import { BATCHING } from './language.ts';

export const TUNE_METHODS = ['lora', 'full'] as const;

const count = z.int().positive();
const countOrNone = z.int().nonnegative();
const rate = z.number().nonnegative();
const names = z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]);

const SCHEMA = z.strictObject({
  model: z.string().min(1).optional(),
  data: z.string().min(1).optional(),
  /** Held-out records; a share of `data` unless given. */
  validation_data: z.string().min(1).optional(),
  output_dir: z.string().min(1).optional(),
  method: z.enum(TUNE_METHODS).optional(),
  dtype: z.enum(PRECISIONS).optional(),
  seed: countOrNone.optional(),
  // Data
  max_seq_length: z.int().min(2).optional(),
  batching: z.enum(BATCHING).optional(),
  mask_prompt: z.boolean().optional(),
  per_device_train_batch_size: count.optional(),
  gradient_accumulation_steps: count.optional(),
  // Length and rate
  max_steps: count.optional(),
  num_train_epochs: z.number().positive().optional(),
  learning_rate: z.number().positive().optional(),
  lr_scheduler_type: z.enum(SCHEDULES).optional(),
  warmup_steps: countOrNone.optional(),
  warmup_ratio: z.number().min(0).lt(1).optional(),
  min_lr: rate.optional(),
  weight_decay: rate.optional(),
  adam_beta1: z.number().min(0).lt(1).optional(),
  adam_beta2: z.number().min(0).lt(1).optional(),
  adam_epsilon: z.number().positive().optional(),
  max_grad_norm: rate.optional(),
  gradient_checkpointing: z.boolean().optional(),
  // Evaluation and checkpoints
  eval_steps: countOrNone.optional(),
  save_steps: countOrNone.optional(),
  save_total_limit: count.optional(),
  // LoRA
  r: count.max(65_536).optional(),
  lora_alpha: z.number().positive().optional(),
  lora_dropout: z.number().min(0).lt(1).optional(),
  target_modules: names.optional(),
  exclude_modules: names.optional(),
  modules_to_save: z.array(z.string().min(1)).optional(),
  bias: z.enum(['none', 'all', 'lora_only']).optional(),
  use_rslora: z.boolean().optional(),
  init_lora_weights: z.union([z.boolean(), z.literal('gaussian')]).optional(),
});

/** A configuration under its canonical names; what is absent has its default. */
export type TuneConfig = z.infer<typeof SCHEMA>;

/** Other names of the same settings: mlx-lm's, and those of the command line. */
const ALIASES: Readonly<Record<string, keyof TuneConfig>> = {
  adapter_path: 'output_dir',
  alpha: 'lora_alpha',
  batch_size: 'per_device_train_batch_size',
  dropout: 'lora_dropout',
  epochs: 'num_train_epochs',
  fine_tune_type: 'method',
  grad_accumulation: 'gradient_accumulation_steps',
  grad_accumulation_steps: 'gradient_accumulation_steps',
  grad_checkpoint: 'gradient_checkpointing',
  iters: 'max_steps',
  lr: 'learning_rate',
  lr_schedule: 'lr_scheduler_type',
  max_length: 'max_seq_length',
  out: 'output_dir',
  rank: 'r',
  save_every: 'save_steps',
  schedule: 'lr_scheduler_type',
  steps: 'max_steps',
  steps_per_eval: 'eval_steps',
  targets: 'target_modules',
};

/**
 * Checks a configuration object and gives it its canonical names.
 * @param where the file or flags it came from
 * @throws ConfigError naming the key, the value and what was expected, or the nearest known key
 */
export function parseTuneConfig(where: string, value: unknown): TuneConfig {
  if (!isRecord(value)) throw new ConfigError(`${where}: expected settings (name: value), got ${describe(value)}`);
  const canonical: Record<string, unknown> = {};
  for (const [given, setting] of Object.entries(value)) {
    if (setting === undefined || setting === null) continue;
    const spelled = given.replaceAll('-', '_');
    const key = Object.hasOwn(ALIASES, spelled) ? ALIASES[spelled] : spelled;
    if (key === 'warmup_steps' || spelled === 'warmup') {
      // One name for both, as on the command line: below 1 it is a share.
      const isShare = spelled === 'warmup' && typeof setting === 'number' && setting > 0 && setting < 1;
      addTo(canonical, isShare ? 'warmup_ratio' : 'warmup_steps', setting, where, given);
    } else addTo(canonical, key, setting, where, given);
  }
  const config = parseStrict(KNOWN, canonical, where) as TuneConfig;
  if (config.max_steps !== undefined && config.num_train_epochs !== undefined) {
    throw new ConfigError(`${where}: max_steps and num_train_epochs are both given; give one`);
  }
  if (config.warmup_steps !== undefined && config.warmup_ratio !== undefined) {
    throw new ConfigError(`${where}: warmup_steps and warmup_ratio are both given; give one`);
  }
  checkBatch(config, where);
  return config;
}

/** Tokens of a batch, padding included: a batch is laid out in memory before it goes to a device. */
const MOST_BATCH_TOKENS = 2 ** 24;

function checkBatch(
  { per_device_train_batch_size: rows = 4, max_seq_length: length = 512 }: TuneConfig,
  where: string,
) {
  if (rows * length <= MOST_BATCH_TOKENS) return;
  const product = `per_device_train_batch_size ${rows} x max_seq_length ${length}`;
  throw new ConfigError(
    `${where}: ${product} is more than the ${MOST_BATCH_TOKENS} tokens of a batch; lower one of them`,
  );
}

/** The schema with the other names as well, so that a misspelt one is led to whichever is nearest. */
const KNOWN = SCHEMA.extend(
  Object.fromEntries([...Object.keys(ALIASES), 'warmup'].map((name) => [name, z.undefined().optional()])),
);

function addTo(canonical: Record<string, unknown>, key: string, value: unknown, where: string, given: string): void {
  if (key in canonical) throw new ConfigError(`${where}: ${given} is ${key}, which is given already; give it once`);
  canonical[key] = value;
}

/** The value of a YAML document. @throws ConfigError for what is not YAML, with its line */
export function readYaml(file: string, text: string): unknown {
  try {
    return parseYaml(text);
  } catch (error) {
    if (!(error instanceof YAMLParseError)) throw error;
    const line = error.linePos ? `:${error.linePos[0].line}` : '';
    throw new ConfigError(`${file}${line}: not valid YAML: ${error.message.split('\n')[0].replace(/:$/, '')}`);
  }
}

/** @throws ConfigError as `readYaml` and `parseTuneConfig` */
export const parseTuneYaml = (file: string, text: string): TuneConfig =>
  parseTuneConfig(file, readYaml(file, text) ?? {});

/** Settings of the command line over those of a file; a length or warm-up given one way takes the place of the other. */
export function mergeTuneConfigs(file: TuneConfig, flags: TuneConfig): TuneConfig {
  const merged = { ...file };
  if (flags.max_steps !== undefined || flags.num_train_epochs !== undefined) {
    delete merged.max_steps;
    delete merged.num_train_epochs;
  }
  if (flags.warmup_steps !== undefined || flags.warmup_ratio !== undefined) {
    delete merged.warmup_steps;
    delete merged.warmup_ratio;
  }
  const config = { ...merged, ...Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined)) };
  checkBatch(config, 'settings');
  return config;
}

/** Adapters learn at a higher rate than whole models. */
export const DEFAULT_LEARNING_RATES = { lora: 1e-3, full: 1e-4 } as const;

/** What a crash, a NaN or a kill costs at most. */
export const DEFAULT_SAVE_STEPS = 100;

/** The trainer's share of a configuration; `steps` is still to come (`stepsFor`). */
export function trainerOptionsOf(config: TuneConfig): Partial<TrainerOptions> {
  const { method = 'lora' } = config;
  return {
    learningRate: config.learning_rate ?? DEFAULT_LEARNING_RATES[method],
    schedule: config.lr_scheduler_type,
    warmup: config.warmup_steps ?? config.warmup_ratio,
    minLearningRate: config.min_lr,
    weightDecay: config.weight_decay,
    betas: [config.adam_beta1 ?? 0.9, config.adam_beta2 ?? 0.999],
    eps: config.adam_epsilon,
    clipNorm: config.max_grad_norm,
    precision: config.dtype,
    seed: config.seed,
    evalEvery: config.eval_steps,
    saveEvery: config.save_steps ?? DEFAULT_SAVE_STEPS,
    keepCheckpoints: config.save_total_limit,
    checkpointing: config.gradient_checkpointing,
  };
}

/** A list of module names from text with commas; a regular expression and `all-linear` stay text. */
const namesOf = (value: string | readonly string[]): string | readonly string[] =>
  typeof value === 'string' && /^[\w.]+(\s*,\s*[\w.]+)*$/.test(value) && value !== 'all-linear'
    ? value.split(',').map((name) => name.trim())
    : value;

/** The adapter's share of a configuration. */
export function loraConfigOf(config: TuneConfig): LoraConfig {
  return {
    ...LORA_DEFAULTS,
    r: config.r ?? LORA_DEFAULTS.r,
    // Twice the rank, as most recipes have it; PEFT's 8 would shrink the change as the rank grows.
    loraAlpha: config.lora_alpha ?? 2 * (config.r ?? LORA_DEFAULTS.r),
    loraDropout: config.lora_dropout ?? LORA_DEFAULTS.loraDropout,
    targetModules: namesOf(config.target_modules ?? LORA_DEFAULTS.targetModules),
    excludeModules: config.exclude_modules === undefined ? null : namesOf(config.exclude_modules),
    modulesToSave: config.modules_to_save ?? [],
    bias: config.bias ?? 'none',
    useRslora: config.use_rslora ?? false,
    initLoraWeights: config.init_lora_weights ?? true,
    baseModelNameOrPath: config.model ?? null,
  };
}
