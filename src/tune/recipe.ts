/** The recipe of a pretraining run: a YAML file that names the model, its tokenizer, the text and the training. */
import { z } from 'zod';
import { ConfigError } from '../core/index.ts';
import { CORPUS_NAMES, type CorpusName } from '../data/index.ts';
import { parseStrict, suggestion } from '../io/index.ts';
import { configKeys, parseConfig } from '../models/index.ts';
import { resolveOptions, stepsFor, TRAIN_SETTINGS } from '../train/index.ts';
import { checkRelations, parseTuneConfig, readYaml, type TuneConfig, trainerOptionsOf } from './config.ts';
import { LANGUAGE_SETTINGS } from './settings.ts';

const RECIPE = z.strictObject({
  /** config.json of the model, without the vocabulary. */
  model: z.record(z.string(), z.unknown()),
  tokenizer: z.strictObject({ vocab_size: z.int().min(258) }),
  data: z.array(z.enum(CORPUS_NAMES)).min(1),
  /** Storage type of the saved weights. */
  save_dtype: z.enum(['f32', 'bf16', 'f16']).default('f32'),
  training: z.record(z.string(), z.unknown()),
});

export interface Recipe {
  readonly model: Record<string, unknown>;
  readonly vocabSize: number;
  readonly data: readonly CorpusName[];
  readonly saveDtype: 'f32' | 'bf16' | 'f16';
  readonly training: TuneConfig;
}

/** Unlike a published config.json, a recipe has no keys for other programs. @throws ConfigError */
function checkModel(where: string, model: Record<string, unknown>, vocabSize: number): void {
  const known = configKeys(model['model_type']);
  const unknown = Object.keys(model).find((key) => !known.includes(key));
  if (unknown !== undefined) {
    throw new ConfigError(`${where}: unknown key ${unknown}${suggestion(unknown, known)}; remove or correct it`);
  }
  if ('vocab_size' in model) throw new ConfigError(`${where}: vocab_size stands under tokenizer; remove it here`);
  parseConfig({ ...model, vocab_size: vocabSize }, where);
}

/** Settings of tuning that pretraining takes: nothing is evaluated before its end. */
const { evalEvery, evalOnStart, patience, ...TAKEN } = { ...TRAIN_SETTINGS, ...LANGUAGE_SETTINGS };
const TAKEN_KEYS: readonly string[] = Object.values(TAKEN).map(({ key }) => key);

/** @throws ConfigError for settings that would do nothing, and those that the trainer would refuse after the text was read */
function checkTraining(where: string, { method, ...training }: TuneConfig): void {
  if (method !== 'full') throw new ConfigError(`${where}: method: pretraining trains all weights; leave it out`);
  const idle = Object.keys(training).find((key) => !TAKEN_KEYS.includes(key));
  if (idle) throw new ConfigError(`${where}: ${idle}: pretraining does not take it; leave it out`);
  checkRelations(training, where);
  const { max_steps: steps, num_train_epochs: epochs } = training;
  try {
    resolveOptions({ ...trainerOptionsOf(training), steps: stepsFor({ steps, epochs }, 1) });
  } catch (error) {
    throw error instanceof ConfigError ? new ConfigError(`${where}: ${error.message}`) : error;
  }
}

/** @throws ConfigError naming the key, the value and what was expected, or a setting that would do nothing */
export function parseRecipe(file: string, text: string): Recipe {
  const recipe = parseStrict(RECIPE, readYaml(file, text), file) as z.infer<typeof RECIPE>;
  checkModel(`${file}: model`, recipe.model, recipe.tokenizer.vocab_size);
  const training = parseTuneConfig(`${file}: training`, { method: 'full', ...recipe.training });
  checkTraining(`${file}: training`, training);
  return {
    model: recipe.model,
    vocabSize: recipe.tokenizer.vocab_size,
    data: recipe.data,
    saveDtype: recipe.save_dtype,
    training,
  };
}
