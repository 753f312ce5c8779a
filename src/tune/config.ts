/**
 * The configuration of a fine-tuning run, as a YAML file gives it, by the table of settings: the names are those of
 * transformers' Trainer and of PEFT; mlx-lm's and the command line's are taken too. Unknown keys are errors that name the
 * nearest known one.
 */
import { parse as parseYaml, YAMLParseError } from 'yaml';
import { z } from 'zod';
import { ConfigError } from '../core/index.ts';
import { describe, isRecord, LORA_DEFAULTS, type LoraConfig, parseStrict } from '../io/index.ts';
import {
  type ConfigOf,
  fileEntry,
  fileNames,
  filledOptions,
  OPTIMIZERS,
  type OptimizerSettings,
  type Setting,
  TRAIN_SETTINGS,
  type TrainerOptions,
  takesOption,
} from '../train/index.ts';
import { LANGUAGE_DEFAULTS, type LanguageOptions } from './language.ts';
import {
  CONFIG_SETTINGS,
  DEFAULT_LEARNING_RATES,
  DEFAULT_SAVE_STEPS,
  LANGUAGE_SETTINGS,
  LORA_SETTINGS,
} from './settings.ts';

/** A configuration under its canonical names; what is absent has its default. */
export type TuneConfig = ConfigOf<typeof CONFIG_SETTINGS>;
type Key = keyof TuneConfig;

const ROWS = Object.values<Setting>(CONFIG_SETTINGS);
const BY_FILE_NAME = new Map(ROWS.flatMap((row) => fileNames(row).map((name) => [name, row])));
const GROUPS = [...new Set(ROWS.flatMap(({ group }) => group ?? []))].map(
  (group) => ROWS.filter((row) => row.group === group).map(({ key }) => key) as Key[],
);

/** Every name that a file may use, so that a misspelt one is led to whichever is nearest; other names are resolved before. */
const KNOWN = z.strictObject({
  ...Object.fromEntries([...BY_FILE_NAME.keys()].map((name) => [name, z.undefined().optional()])),
  ...Object.fromEntries(ROWS.map(({ key, kind }) => [key, kind.schema(z).optional()])),
});

/**
 * Checks a configuration object and gives it its canonical names.
 * @param where the file or flags it came from
 * @throws ConfigError naming the key, the value and what was expected, or the nearest known key
 */
export function parseTuneConfig(where: string, value: unknown): TuneConfig {
  if (!isRecord(value)) throw new ConfigError(`${where}: expected settings (name: value), got ${describe(value)}`);
  const canonical: Record<string, unknown> = {};
  for (const [given, stated] of Object.entries(value)) {
    if (stated === undefined || stated === null) continue;
    const spelled = given.replaceAll('-', '_');
    const row = BY_FILE_NAME.get(spelled);
    const [key, setting] = row && spelled !== row.key ? fileEntry(row, stated) : [spelled, stated];
    if (key in canonical) throw new ConfigError(`${where}: ${given} is ${key}, which is given already; give it once`);
    canonical[key] = setting;
  }
  const config = parseStrict(KNOWN, canonical, where) as TuneConfig;
  for (const group of GROUPS) {
    const both = group.filter((key) => config[key] !== undefined);
    if (both.length > 1) throw new ConfigError(`${where}: ${both.join(' and ')} are both given; give one`);
  }
  checkBatch(config, where);
  return config;
}

/** The configuration that settings stand for which are given under their names in code. @throws ConfigError, as `parseTuneConfig` */
export function configOf(where: string, settings: Readonly<Record<string, unknown>>): TuneConfig {
  const rows: Readonly<Record<string, Setting>> = CONFIG_SETTINGS;
  const config: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(settings)) {
    const [key, stated] = fileEntry(rows[name], value);
    if (key in config) throw new ConfigError(`${where}: ${name}: ${key} is given already; give it once`);
    config[key] = stated;
  }
  return parseTuneConfig(where, config);
}

/** Tokens of a batch, padding included: a batch is laid out in memory before it goes to a device. */
const MOST_BATCH_TOKENS = 2 ** 24;

function checkBatch(config: TuneConfig, where: string): void {
  const { batchSize, maxLength } = languageOptionsOf(config);
  if (batchSize * maxLength <= MOST_BATCH_TOKENS) return;
  const { batchSize: rows, maxLength: length } = LANGUAGE_SETTINGS;
  const product = `${rows.key} ${batchSize} x ${length.key} ${maxLength}`;
  throw new ConfigError(
    `${where}: ${product} is more than the ${MOST_BATCH_TOKENS} tokens of a batch; lower one of them`,
  );
}

/**
 * Checks what settings are to one another, once all of them are known.
 * @throws ConfigError for one that would do nothing
 */
export function checkRelations(config: TuneConfig, where: string): void {
  const { optim = CONFIG_SETTINGS.optimizer.default } = config;
  const { evalEvery, evalOnStart, patience } = CONFIG_SETTINGS;
  for (const [name, { key, fills }] of Object.entries<Setting>(TRAIN_SETTINGS)) {
    if (config[key as Key] === undefined || takesOption(optim, fills ?? name)) continue;
    throw new ConfigError(`${where}: ${key}: the optimizer ${optim} does not take it; leave it out`);
  }
  if (config.method === 'full') {
    const idle = Object.values<Setting>(LORA_SETTINGS).find(({ key }) => config[key as Key] !== undefined);
    if (idle) throw new ConfigError(`${where}: ${idle.key} is of LoRA, the method is full; leave one out`);
  }
  const { min_lr: least = 0, lr_scheduler_type: schedule = CONFIG_SETTINGS.schedule.default } = config;
  if (least > 0 && schedule === 'constant') {
    throw new ConfigError(
      `${where}: min_lr is ${least} but the rate is constant; give lr_scheduler_type, or leave it out`,
    );
  }
  for (const { key } of [evalOnStart, patience]) {
    if (!config[key] || config[evalEvery.key]) continue;
    throw new ConfigError(`${where}: ${key} is ${config[key]} but nothing is evaluated; give ${evalEvery.key} too`);
  }
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
  for (const group of GROUPS) {
    if (group.some((key) => flags[key] !== undefined)) for (const key of group) delete merged[key];
  }
  const config = { ...merged, ...Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined)) };
  checkBatch(config, 'settings');
  checkRelations(config, 'settings');
  return config;
}

/** The trainer's share of a configuration; `steps` may be still to come (`stepsFor`). */
export function trainerOptionsOf(config: TuneConfig): Partial<TrainerOptions> {
  const { method = CONFIG_SETTINGS.method.default, optim = CONFIG_SETTINGS.optimizer.default } = config;
  const { defaults, rateShare } = OPTIMIZERS[optim];
  const { betas } = defaults as Partial<OptimizerSettings>;
  return {
    learningRate: DEFAULT_LEARNING_RATES[method] * rateShare,
    saveEvery: DEFAULT_SAVE_STEPS,
    ...filledOptions(TRAIN_SETTINGS, config),
    ...(betas && { betas: [config.adam_beta1 ?? betas[0], config.adam_beta2 ?? betas[1]] as const }),
  };
}

/** The share of a language task, with defaults. */
export const languageOptionsOf = (config: TuneConfig): LanguageOptions => ({
  ...LANGUAGE_DEFAULTS,
  ...filledOptions(LANGUAGE_SETTINGS, config),
});

/** A list of module names from text with commas; a regular expression and `all-linear` stay text. */
const namesOf = (value: string | readonly string[]): string | readonly string[] =>
  typeof value === 'string' && /^[\w.]+(\s*,\s*[\w.]+)*$/.test(value) && value !== 'all-linear'
    ? value.split(',').map((name) => name.trim())
    : value;

/** The adapter's share of a configuration. */
export function loraConfigOf(config: TuneConfig): LoraConfig {
  // Twice the rank, as most recipes have it; PEFT's 8 would shrink the change as the rank grows.
  const loraAlpha = 2 * (config.r ?? LORA_DEFAULTS.r);
  const baseModelNameOrPath = config.model ?? null;
  const lora: LoraConfig = {
    ...LORA_DEFAULTS,
    loraAlpha,
    baseModelNameOrPath,
    ...filledOptions(LORA_SETTINGS, config),
  };
  const { targetModules, excludeModules } = lora;
  return { ...lora, targetModules: namesOf(targetModules), excludeModules: excludeModules && namesOf(excludeModules) };
}
