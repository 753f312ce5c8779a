/**
 * `adapter_config.json` of PEFT, LoRA only, read and written under PEFT's names. What changes the numbers and is not
 * supported is an error that names it: an adapter must give the same logits here as there, or none.
 * Source: huggingface/peft tuners/lora/config.py (fields), tuners/tuners_utils.py (which modules match); 0.21.
 */
import { z } from 'zod';
import { ConfigError, FileFormatError } from '../core/index.ts';
import { describeIssues } from './config-keys.ts';
import { describe, isRecord, parseJsonObject } from './json.ts';
import { ALL_LINEAR, type LoraConfig } from './lora-config.ts';
import { suggestion } from './nearest.ts';

export const ADAPTER_CONFIG_FILE = 'adapter_config.json';
export const ADAPTER_WEIGHTS_FILE = 'adapter_model.safetensors';

const rank = z.int().positive();
const pattern = z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]);
const SCHEMA = z.object({
  peft_type: z.literal('LORA'),
  r: rank.default(8),
  lora_alpha: z.number().positive().default(8),
  lora_dropout: z.number().min(0).lt(1).default(0),
  target_modules: pattern,
  exclude_modules: z.union([pattern, z.tuple([])]).nullish(),
  bias: z.enum(['none', 'all', 'lora_only']).default('none'),
  modules_to_save: z.array(z.string().min(1)).nullish(),
  use_rslora: z.boolean().default(false),
  fan_in_fan_out: z.boolean().default(false),
  init_lora_weights: z.union([z.boolean(), z.enum(['gaussian', 'orthogonal', 'eva'])]).default(true),
  rank_pattern: z.record(z.string(), rank).nullish(),
  alpha_pattern: z.record(z.string(), z.number().positive()).nullish(),
  base_model_name_or_path: z.string().nullish(),
  revision: z.string().nullish(),
  task_type: z.string().nullish(),
});

/** Fields that say how an adapter came about, or tune what is an error anyway; they change no number. */
const INERT = new Set([
  'auto_mapping',
  'corda_config',
  'eva_config',
  'inference_mode',
  'layers_pattern',
  'loftq_config',
  'lora_ga_config',
  'megatron_core',
  'peft_version',
  'qalora_group_size',
  'runtime_config',
]);

/** Fields of PEFT that change the numbers when they are on, and that are not supported. */
export const UNSUPPORTED_FEATURES = [
  'alora_invocation_tokens',
  'arrow_config',
  'ensure_weight_tying',
  'kasa_config',
  'layer_replication',
  'layers_to_transform',
  'lora_bias',
  'megatron_config',
  'monteclora_config',
  'target_parameters',
  'trainable_token_indices',
  'use_bdlora',
  'use_dora',
  'use_qalora',
  'velora_config',
] as const;

/** A field that is there but says nothing. */
const isOff = (value: unknown): boolean =>
  value === null ||
  value === false ||
  (Array.isArray(value) && !value.length) ||
  (isRecord(value) && !Object.keys(value).length);

function refuseFeatures(file: string, json: Record<string, unknown>): void {
  for (const [key, value] of Object.entries(json)) {
    if (key in SCHEMA.shape || INERT.has(key) || isOff(value)) continue;
    if ((UNSUPPORTED_FEATURES as readonly string[]).includes(key)) {
      const problem = `${key}: ${describe(value)} changes the numbers and is not supported`;
      throw new FileFormatError(file, problem, 'merge the adapter into its base model with PEFT, or train it without');
    }
    const problem = `unknown field ${key}: ${describe(value)}${suggestion(key, Object.keys(SCHEMA.shape))}`;
    throw new FileFormatError(file, problem, 'it may change the numbers: remove it if it does not');
  }
}

/**
 * Parses an `adapter_config.json`.
 * @param file its path, for errors
 * @throws FileFormatError naming the field, for another kind of adapter, wrong values and unsupported features
 */
export function parseAdapterConfig(file: string, text: string): LoraConfig {
  const json = parseJsonObject(file, text);
  if (json.peft_type !== 'LORA') {
    throw new FileFormatError(
      file,
      `peft_type ${describe(json.peft_type)} is not supported`,
      'use an adapter of type "LORA"',
    );
  }
  if (isOff(json.target_modules ?? null)) {
    const remedy = 'name the modules, as a list or a regular expression';
    throw new FileFormatError(file, `target_modules is ${describe(json.target_modules)}`, remedy);
  }
  refuseFeatures(file, json);
  const result = SCHEMA.safeParse(json);
  if (!result.success) {
    throw new FileFormatError(file, describeIssues(SCHEMA, json, result.error), 'use values that PEFT allows');
  }
  const c = result.data;
  for (const key of [c.target_modules, c.exclude_modules].filter((value) => typeof value === 'string')) {
    compile(key, file);
  }
  return {
    r: c.r,
    loraAlpha: c.lora_alpha,
    loraDropout: c.lora_dropout,
    targetModules: c.target_modules,
    excludeModules: c.exclude_modules?.length ? c.exclude_modules : null,
    bias: c.bias,
    modulesToSave: c.modules_to_save ?? [],
    useRslora: c.use_rslora,
    fanInFanOut: c.fan_in_fan_out,
    initLoraWeights: c.init_lora_weights,
    rankPattern: c.rank_pattern ?? {},
    alphaPattern: c.alpha_pattern ?? {},
    baseModelNameOrPath: c.base_model_name_or_path ?? null,
    revision: c.revision ?? null,
    taskType: c.task_type ?? null,
  };
}

/** The text of an `adapter_config.json` that PEFT reads; the same for the same configuration. */
export function formatAdapterConfig(config: LoraConfig): string {
  const json = {
    alpha_pattern: config.alphaPattern,
    auto_mapping: null,
    base_model_name_or_path: config.baseModelNameOrPath,
    bias: config.bias,
    exclude_modules: config.excludeModules,
    fan_in_fan_out: config.fanInFanOut,
    inference_mode: true,
    init_lora_weights: config.initLoraWeights,
    layer_replication: null,
    layers_pattern: null,
    layers_to_transform: null,
    loftq_config: {},
    lora_alpha: config.loraAlpha,
    lora_bias: false,
    lora_dropout: config.loraDropout,
    megatron_config: null,
    megatron_core: 'megatron.core',
    modules_to_save: config.modulesToSave.length ? config.modulesToSave : null,
    peft_type: 'LORA',
    r: config.r,
    rank_pattern: config.rankPattern,
    revision: config.revision,
    target_modules: config.targetModules,
    task_type: config.taskType,
    use_dora: false,
    use_rslora: config.useRslora,
  };
  return `${JSON.stringify(json, null, 2)}\n`;
}

/** A regular expression that must match a whole path. */
function compile(source: string, where: string): RegExp {
  try {
    return new RegExp(`^(?:${source})$`);
  } catch {
    throw new ConfigError(`${where}: ${describe(source)} is not a regular expression; escape its special characters`);
  }
}

function matches(target: readonly string[] | string, path: string): boolean {
  if (typeof target === 'string') return compile(target, 'target_modules').test(path);
  return target.some((name) => path === name || path.endsWith(`.${name}`));
}

/**
 * Whether LoRA goes on the module at `path` (`backbone.layers.0.mixer.in_proj`). A list matches ends of paths, a text
 * is a regular expression for the whole path. `all-linear` is true of every path not excluded: ask about linear layers
 * other than the head only.
 */
export function isTargeted(config: Pick<LoraConfig, 'targetModules' | 'excludeModules'>, path: string): boolean {
  if (config.excludeModules && matches(config.excludeModules, path)) return false;
  return config.targetModules === ALL_LINEAR || matches(config.targetModules, path);
}

/** Whether the module at `path` is trained and saved whole. */
export const isSavedWhole = (config: Pick<LoraConfig, 'modulesToSave'>, path: string): boolean =>
  config.modulesToSave.some((name) => path.endsWith(name));

/** The value of the first pattern that matches a path or its end, or `otherwise`. */
function ofPattern(patterns: Readonly<Record<string, number>>, path: string, otherwise: number): number {
  const key = Object.keys(patterns).find((source) => compile(`(?:.*\\.)?(?:${source})`, 'rank_pattern').test(path));
  return key === undefined ? otherwise : patterns[key];
}

/** Rank of the adapter at `path`, and the factor on B A x: alpha / r, or alpha / sqrt(r). */
export function rankAndScale(config: LoraConfig, path: string): { rank: number; scale: number } {
  const r = ofPattern(config.rankPattern, path, config.r);
  const alpha = ofPattern(config.alphaPattern, path, config.loraAlpha);
  return { rank: r, scale: alpha / (config.useRslora ? Math.sqrt(r) : r) };
}
