/**
 * `config.json` of any family. Each family's dialects become one object with Hugging Face's names in camel case, told
 * apart by `modelType`; from here on nothing knows the dialects.
 */
import { ConfigError } from '../../core/index.ts';
import { describe, parseJsonObject } from '../../io/index.ts';
import { GPT_NEOX_KEYS, type GptNeoXConfig, gptNeoXJson, parseGptNeoX } from './gpt-neox-config.ts';
import {
  isOriginal,
  MAMBA_KEYS,
  MAMBA_TYPES,
  type MambaConfig,
  mambaJson,
  parseMamba,
  parseOriginalMamba,
} from './mamba-config.ts';

/** Model types that can be built. */
export const MODEL_TYPES = [...MAMBA_TYPES, 'gpt_neox'] as const;
export type ModelType = (typeof MODEL_TYPES)[number];

/** A configuration of any family. */
export type ModelConfig = MambaConfig | GptNeoXConfig;

/** Keys of `config.json` that Krait uses of a model type; of one that it does not know, all. */
export function configKeys(modelType: unknown): readonly string[] {
  if (modelType === 'gpt_neox') return GPT_NEOX_KEYS;
  return MAMBA_TYPES.some((name) => name === modelType) ? MAMBA_KEYS : [...new Set([...MAMBA_KEYS, ...GPT_NEOX_KEYS])];
}

/**
 * A model's configuration from the parsed `config.json`.
 * @param file what it was read from, for messages
 * @throws ConfigError naming the file, the key, the value and what would do
 */
export function parseConfig(json: Record<string, unknown>, file: string): ModelConfig {
  const modelType = json.model_type;
  if (modelType === undefined && isOriginal(json)) return parseOriginalMamba(json, file);
  if (modelType === 'gpt_neox') return parseGptNeoX(json, file);
  const mamba = MAMBA_TYPES.find((name) => name === modelType);
  if (mamba) return parseMamba(json, mamba, file);
  const got = modelType === undefined ? 'model_type is missing' : `model_type ${describe(modelType)} is not supported`;
  throw new ConfigError(`${file}: ${got}; supported are ${MODEL_TYPES.join(', ')}`);
}

const STRING_OR_NAN = /"(?:[^"\\]|\\.)*"|\bNaN\b/g;

/** As `parseConfig`, from the file's text; Python's bare `Infinity` and `NaN` are taken (NaN as null). */
export function parseConfigText(text: string, file: string): ModelConfig {
  const cleaned = text.replace(STRING_OR_NAN, (token) => (token === 'NaN' ? 'null' : token));
  return parseConfig(parseJsonObject(file, cleaned), file);
}

/** The configuration in Hugging Face's dialect, after the keys of its source that Krait does not use. */
export const toConfigJson = (config: ModelConfig): Record<string, unknown> =>
  config.modelType === 'gpt_neox' ? gptNeoXJson(config) : mambaJson(config);
