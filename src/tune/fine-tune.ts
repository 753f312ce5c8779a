/** Fine-tuning from files: records in, an adapter or a whole model out. What `krait tune` runs. */
import { ConfigError, FileFormatError } from '../core/index.ts';
import { type FileSystem, joinPath, type Tokenizer } from '../io/index.ts';
import { type LanguageModel, saveModel } from '../models/index.ts';
import { loraConfigOf, type TuneConfig, trainerOptionsOf } from './config.ts';
import { allParameters, LanguageTask } from './language.ts';
import { adapterParameters, attachLora, type Coverage, type LoraAdapter, saveAdapter } from './lora/index.ts';
import { type TokenizedRecords, tokenizeFile } from './records.ts';
import { stepsFor, type TrainInput, type TrainingResult, train } from './trainer/index.ts';

export interface FineTuneInput extends Omit<TrainInput, 'options' | 'place'> {
  model: LanguageModel;
  tokenizer: Tokenizer;
  files: FileSystem;
  /** A JSONL file, or a folder with `train.jsonl` and perhaps `valid.jsonl`. */
  data: string;
  /** Folder of the result, its checkpoints and its logs. */
  out: string;
  config: TuneConfig;
  resume?: boolean;
  /** Told what was read and what will be trained, before the first step. */
  onStart?(plan: FineTunePlan): void;
}

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

/**
 * Trains and saves. LoRA leaves `adapter_config.json` and `adapter_model.safetensors` in `out`, full fine-tuning
 * `config.json` and `model.safetensors`; a run that was aborted leaves its checkpoint alone, to be resumed.
 * @throws ConfigError, FileFormatError, KraitError in one line; nothing is saved as a result then
 */
export async function fineTune(input: FineTuneInput): Promise<FineTuneResult> {
  const { model, tokenizer, files, config, out } = input;
  const { method = 'lora', max_seq_length: maxLength = 512, per_device_train_batch_size: batchSize = 4 } = config;
  const paths = await dataFiles(files, input.data, config.validation_data);
  // A stream reads documents of any length, a block at a time.
  const mostTokens = config.batching === 'stream' ? Number.POSITIVE_INFINITY : maxLength;
  const options = { maxLength: mostTokens, trainOnPrompt: config.mask_prompt === false };
  const read = (path: string) => tokenizeFile(files, path, tokenizer, model.vocabSize, options);
  const records = await read(paths.train);
  if (records.examples.length === 0) {
    throw new FileFormatError(paths.train, 'holds no records', 'give at least one JSON object a line');
  }
  const validation = paths.validation ? await read(paths.validation) : null;
  if (config.eval_steps && !validation) {
    throw new ConfigError('eval_steps: there are no validation records; add valid.jsonl or give validation_data');
  }
  const adapter: LoraAdapter | null =
    method === 'lora' ? attachLora(model, loraConfigOf(config), { seed: config.seed }) : null;
  const parameters = adapter ? adapterParameters(adapter) : allParameters(model);
  const task = new LanguageTask({
    model,
    parameters,
    train: records.examples,
    validation: validation?.examples,
    batching: config.batching,
    batchSize,
    maxLength,
    gradAccumulation: config.gradient_accumulation_steps,
    seed: config.seed,
    mode: adapter,
  });
  try {
    const length = { steps: config.max_steps, epochs: config.num_train_epochs ?? (config.max_steps ? undefined : 1) };
    const steps = stepsFor(length, task.stepsPerEpoch);
    const plan = planOf(model, adapter, records, validation, steps);
    input.onStart?.(plan);
    const place = { files, folder: out, resume: input.resume };
    const result = await train(task, { ...input, options: { ...trainerOptionsOf(config), steps }, place });
    if (result.status === 'completed')
      await (adapter ? saveAdapter(adapter, files, out) : saveModel(model, files, out));
    return { ...result, plan };
  } finally {
    task.dispose();
  }
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
