/**
 * The families of language models. A new architecture is one file in this folder and one row here: `config.json` of any
 * dialect becomes one object with Hugging Face's names in camel case, told apart by `modelType`.
 */
import { ConfigError } from '../../core/index.ts';
import { describe, parseJsonObject } from '../../io/index.ts';
import type { Family, FamilyConfig } from './family.ts';
import { GPT_NEOX } from './gpt-neox.ts';
import { MAMBA } from './mamba.ts';

export type { Family, LanguagePlan } from './family.ts';
export type { CommonConfig } from './fields.ts';
export type { GptNeoXConfig } from './gpt-neox.ts';
export type { MambaConfig } from './mamba.ts';

const ROWS = [MAMBA, GPT_NEOX] as const;

/** A configuration of any family. */
export type ModelConfig = ReturnType<(typeof ROWS)[number]['parse']>;

/** Each family is asked only about configurations of its own model types. */
const FAMILIES: readonly Family<FamilyConfig>[] = ROWS;

/** Model types that can be built. */
export const MODEL_TYPES: readonly string[] = FAMILIES.flatMap(({ modelTypes }) => modelTypes);

const familyOfType = (modelType: unknown): Family | undefined =>
  FAMILIES.find(({ modelTypes }) => modelTypes.includes(modelType as string));

/** @throws ConfigError listing the model types that there are */
export function familyOf({ modelType }: { readonly modelType: string }): Family {
  const family = familyOfType(modelType);
  if (family) return family;
  throw new ConfigError(`model type ${modelType} is not supported; supported are ${MODEL_TYPES.join(', ')}`);
}

/** Keys of `config.json` that Krait uses of a model type; of one that it does not know, all. */
export const configKeys = (modelType: unknown): readonly string[] =>
  familyOfType(modelType)?.keys ?? [...new Set(FAMILIES.flatMap(({ keys }) => keys))];

/**
 * A model's configuration from the parsed `config.json`.
 * @param file what it was read from, for messages
 * @throws ConfigError naming the file, the key, the value and what would do
 */
export function parseConfig(json: Record<string, unknown>, file: string): ModelConfig {
  const { model_type: modelType } = json;
  const family = modelType === undefined ? FAMILIES.find(({ claims }) => claims?.(json)) : familyOfType(modelType);
  if (family) return family.parse(json, file) as ModelConfig;
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
export const toConfigJson = (config: ModelConfig): Record<string, unknown> => familyOf(config).toJson(config);
