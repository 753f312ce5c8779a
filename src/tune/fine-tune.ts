/** Fine-tuning: records in, an adapter or a whole model out. What `krait tune` and `Krait.tune` run. */
import { ConfigError, FileFormatError } from '../core/index.ts';
import { type FileSystem, joinPath, type Tokenizer } from '../io/index.ts';
import { type LanguageModel, saveModel } from '../models/index.ts';
import { stepsFor, type TrainInput, type TrainingResult, train } from '../train/index.ts';
import { checkRelations, languageOptionsOf, loraConfigOf, type TuneConfig, trainerOptionsOf } from './config.ts';
import { allParameters, LanguageTask } from './language.ts';
import {
  adapterParameters,
  attachLora,
  type Coverage,
  detachLora,
  type LoraAdapter,
  saveAdapter,
} from './lora/index.ts';
import { checkChangeable } from './quantised-model.ts';
import { type TokenizedRecords, type TuneRecord, tokenizeFile, tokenizeValues } from './records.ts';

export interface FineTuneInput extends Omit<TrainInput, 'options' | 'place'> {
  model: LanguageModel;
  tokenizer: Tokenizer;
  files: FileSystem;
  /** A JSONL file, a folder with `train.jsonl` and perhaps `valid.jsonl`, or records. */
  data: TuneData;
  /** Held-out records; the file that `config` names or the folder holds unless given. */
  validation?: TuneData;
  /** Folder of the result, its checkpoints and its logs; nothing is written without it. */
  out?: string;
  config: TuneConfig;
  /** An adapter on the model, to be trained on instead of a new one. */
  adapter?: LoraAdapter | null;
  resume?: boolean;
  /** Called before the first step with what was read and what will be trained. */
  onStart?(plan: FineTunePlan): void;
}

/** Records in memory, or where they are. */
export type TuneData = string | readonly TuneRecord[];

export interface FineTunePlan {
  readonly train: TokenizedRecords;
  readonly validation: TokenizedRecords | null;
  readonly coverage: Coverage | null;
  readonly trainableParameters: number;
  readonly totalParameters: number;
  readonly steps: number;
}

export interface FineTuneResult extends TrainingResult {
  readonly plan: FineTunePlan;
  /** The trained adapter, attached to the model; null if all weights were trained. */
  readonly adapter: LoraAdapter | null;
}

const TRAIN_FILES = ['train.jsonl'];
const VALIDATION_FILES = ['valid.jsonl', 'validation.jsonl'];

async function firstOf(files: FileSystem, folder: string, names: readonly string[]): Promise<string | null> {
  for (const name of names) if (await files.exists(joinPath(folder, name))) return joinPath(folder, name);
  return null;
}

/** Paths of the training and validation records. @throws FileFormatError for a folder without train.jsonl */
async function dataFiles(
  files: FileSystem,
  data: string,
  stated?: string,
): Promise<{ train: string; validation: string | null }> {
  const status = await files.status(data);
  if (!status)
    throw new FileFormatError(data, 'no such file or folder', 'give a JSONL file or a folder with train.jsonl');
  if (!status.isFolder) return { train: data, validation: stated ?? null };
  const train = await firstOf(files, data, TRAIN_FILES);
  if (!train) throw new FileFormatError(data, 'has no train.jsonl', 'put the training records there, or give the file');
  return { train, validation: stated ?? (await firstOf(files, data, VALIDATION_FILES)) };
}

async function readData(input: FineTuneInput): Promise<Pick<FineTunePlan, 'train' | 'validation'>> {
  const { model, tokenizer, files, config, data } = input;
  // A stream reads documents of any length, a block at a time.
  const { batching, maxLength: rowLength } = languageOptionsOf(config);
  const maxLength = batching === 'stream' ? Number.POSITIVE_INFINITY : rowLength;
  const options = { maxLength, trainOnPrompt: config.mask_prompt === false };
  const read = async (name: string, source: TuneData) =>
    typeof source === 'string'
      ? tokenizeFile(files, source, tokenizer, model.vocabSize, options)
      : tokenizeValues(source, name, tokenizer, model.vocabSize, options);
  const stated = input.validation ?? config.validation_data;
  const isPath = typeof data === 'string';
  const paths = isPath ? await dataFiles(files, data, typeof stated === 'string' ? stated : undefined) : null;
  const train = await read('data', paths?.train ?? data);
  const held = stated ?? paths?.validation ?? null;
  const validation = held === null ? null : await read('validation', held);
  if (config.eval_steps && !validation) {
    throw new ConfigError('eval_steps: there are no validation records; add valid.jsonl or give validation_data');
  }
  return { train, validation };
}

/**
 * Trains and saves. LoRA leaves `adapter_config.json` and `adapter_model.safetensors` in `out`, full fine-tuning
 * `config.json` and `model.safetensors`; a run that was aborted leaves its checkpoint alone, to be resumed.
 * @throws ConfigError, FileFormatError, KraitError in one line; nothing is saved as a result then, and a new adapter is
 * off the model again
 */
export async function fineTune(input: FineTuneInput): Promise<FineTuneResult> {
  const { model, config } = input;
  checkChangeable('tune', model);
  checkRelations(config, 'tune');
  const records = await readData(input);
  const attach = () => attachLora(model, loraConfigOf(config), { seed: config.seed });
  const adapter = config.method === 'full' ? null : (input.adapter ?? attach());
  try {
    return await run(input, records, adapter);
  } catch (error) {
    if (adapter && adapter !== input.adapter) detachLora(adapter);
    throw error;
  }
}

async function run(
  input: FineTuneInput,
  { train: records, validation }: Pick<FineTunePlan, 'train' | 'validation'>,
  adapter: LoraAdapter | null,
): Promise<FineTuneResult> {
  const { model, files, config, out } = input;
  const parameters = adapter ? adapterParameters(adapter) : allParameters(model);
  const task = new LanguageTask({
    model,
    parameters,
    train: records.examples,
    validation: validation?.examples,
    ...languageOptionsOf(config),
    seed: config.seed,
    mode: adapter,
  });
  try {
    const length = { steps: config.max_steps, epochs: config.num_train_epochs ?? (config.max_steps ? undefined : 1) };
    const steps = stepsFor(length, task.stepsPerEpoch);
    const plan = planOf(model, adapter, records, validation, steps);
    const place = out === undefined ? undefined : { files, folder: out, resume: input.resume };
    const onOpen = (step: number) => {
      input.onStart?.(plan);
      input.onOpen?.(step);
    };
    const options = { ...trainerOptionsOf(config), steps };
    const taskSettings = taskSettingsOf(config, adapter);
    const result = await train(task, { ...input, onOpen, options, taskSettings, place });
    if (out !== undefined && result.status === 'completed') {
      await (adapter ? saveAdapter(adapter, files, out) : saveModel(model, files, out));
    }
    // Frozen weights generate faster.
    if (!adapter) for (const { tensor } of parameters) tensor.trainable(false);
    return { ...result, plan, adapter };
  } finally {
    task.dispose();
  }
}

/** Settings beside those of the trainer that make a run what it is: how records become rows, and the adapter's form. */
function taskSettingsOf(config: TuneConfig, adapter: LoraAdapter | null): Record<string, unknown> {
  const rows = { ...languageOptionsOf(config), trainOnPrompt: config.mask_prompt === false };
  if (!adapter) return rows;
  const { baseModelNameOrPath, revision, taskType, ...form } = adapter.config;
  return { ...rows, ...form };
}

function planOf(
  model: LanguageModel,
  adapter: LoraAdapter | null,
  train: TokenizedRecords,
  validation: TokenizedRecords | null,
  steps: number,
): FineTunePlan {
  const all = [...model.parameters.values()].reduce((sum, { size }) => sum + size, 0);
  const coverage = adapter?.coverage ?? null;
  const trainableParameters = coverage?.trainableParameters ?? all;
  return { train, validation, coverage, trainableParameters, totalParameters: coverage?.totalParameters ?? all, steps };
}
