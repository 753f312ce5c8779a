/**
 * Pretraining from a recipe: a tokenizer learned from the text, a model from nothing, every document read as a stream with
 * its state carried from block to block. What `krait pretrain` runs; the recipe is independent of the architecture.
 */
import {
  type CorpusDocument,
  corpusSizes,
  type DataSource,
  loadCorpora,
  tokenizerFiles,
  trainBpe,
} from '../data/index.ts';
import { type FileSystem, joinPath, loadTokenizer, TOKENIZER_FILE, type Tokenizer } from '../io/index.ts';
import {
  checkTokenizer,
  createModel,
  type LanguageModel,
  parameterCount,
  parseConfig,
  saveModel,
} from '../models/index.ts';
import type { Device } from '../tensor/index.ts';
import { stepsFor, type TrainInput, type TrainingResult, train } from '../train/index.ts';
import { languageOptionsOf, trainerOptionsOf } from './config.ts';
import { allParameters, LanguageTask } from './language.ts';
import { evaluateLanguage } from './language-loss.ts';
import { renderModelCard } from './model-card.ts';
import type { Recipe } from './recipe.ts';
import { textExample } from './records.ts';

export interface PretrainInput extends Omit<TrainInput, 'options' | 'place'> {
  device: Device;
  files: FileSystem;
  source: DataSource;
  recipe: Recipe;
  /** Folder of the model, its checkpoints and its logs. */
  out: string;
  resume?: boolean;
  onStart?(plan: { parameters: number; documents: number; tokens: number; bytes: number; steps: number }): void;
  /** A line about what is being done before training. */
  onStage?(line: string): void;
}

export interface PretrainResult extends TrainingResult {
  readonly parameters: number;
  /** Bits per byte of held-out text, by source; null if the run was aborted. */
  readonly bitsPerByte: Record<string, number> | null;
}

/** The tokenizer: that of the run that is resumed, or trained and written to `out`. */
async function tokenizerOf(
  { files, out, recipe, resume, onStage }: PretrainInput,
  texts: readonly string[],
): Promise<Tokenizer> {
  if (!resume || !(await files.exists(joinPath(out, TOKENIZER_FILE)))) {
    onStage?.(`training a tokenizer of ${recipe.vocabSize} tokens`);
    const trained = Object.entries(tokenizerFiles(trainBpe(texts, { vocabSize: recipe.vocabSize })));
    // The file that says that there is a tokenizer comes last.
    trained.sort(([a], [b]) => Number(a === TOKENIZER_FILE) - Number(b === TOKENIZER_FILE));
    for (const [name, text] of trained) await files.writeAtomic(joinPath(out, name), text);
  }
  const tokenizer = await loadTokenizer(files, out);
  checkTokenizer(tokenizer, recipe.vocabSize);
  return tokenizer;
}

/** Held-out documents that are read at the same time, however many the recipe trains on. */
const HELD_OUT_ROWS = 8;

async function heldOutBits(
  model: LanguageModel,
  tokenizer: Tokenizer,
  documents: readonly CorpusDocument[],
  maxLength: number,
): Promise<Record<string, number>> {
  const bits: Record<string, number> = {};
  for (const name of new Set(documents.map(({ source }) => source))) {
    const examples = documents.filter(({ source }) => source === name).map(({ text }) => textExample(tokenizer, text));
    const { bits_per_byte: found } = await evaluateLanguage(model, examples, { batchSize: HELD_OUT_ROWS, maxLength });
    bits[name] = found;
  }
  return bits;
}

/**
 * Trains a model from nothing and saves it with its tokenizer and model card in `out`.
 * @throws ConfigError, EnvironmentError (a data package that is not installed), KraitError for a loss that is not finite
 */
export async function pretrain(input: PretrainInput): Promise<PretrainResult> {
  const { device, files, recipe, out, onStage } = input;
  onStage?.(`reading ${recipe.data.join(', ')}`);
  const documents = await loadCorpora(input.source, recipe.data);
  const isTraining = ({ split }: CorpusDocument) => split === 'train';
  const texts = documents.filter(isTraining).map(({ text }) => text);
  const tokenizer = await tokenizerOf(input, texts);
  onStage?.('tokenising');
  const examples = texts
    .map((text) => textExample(tokenizer, text))
    .map((e) => ({ ...e, ids: Int32Array.from(e.ids) }));
  const ids = { bos_token_id: tokenizer.bosId, eos_token_id: tokenizer.eosId, pad_token_id: tokenizer.padId };
  const config = parseConfig({ ...recipe.model, vocab_size: recipe.vocabSize, ...ids }, 'recipe: model');
  const { training } = recipe;
  const options = languageOptionsOf({ batching: 'stream', ...training });
  const model = createModel(device, config, training.seed ?? 0, { activations: training.dtype ?? 'f32' });
  const task = new LanguageTask({
    model,
    parameters: allParameters(model),
    train: examples,
    ...options,
    seed: training.seed,
  });
  try {
    const steps = stepsFor({ steps: training.max_steps, epochs: training.num_train_epochs }, task.stepsPerEpoch);
    const parameters = parameterCount(config);
    const count = (of: (e: (typeof examples)[number]) => number) => examples.reduce((sum, e) => sum + of(e), 0);
    const tokens = count((e) => e.ids.length);
    input.onStart?.({ parameters, documents: texts.length, tokens, bytes: count((e) => e.bytes), steps });
    const place = { files, folder: out, resume: input.resume };
    const trainer = { ...trainerOptionsOf(training), steps };
    const result = await train(task, { ...input, options: trainer, taskSettings: options, place });
    if (result.status === 'aborted') return { ...result, parameters, bitsPerByte: null };
    onStage?.('measuring bits per byte on held-out text');
    const bitsPerByte = await heldOutBits(
      model,
      tokenizer,
      documents.filter((d) => !isTraining(d)),
      options.maxLength,
    );
    await saveModel(model, files, out, { dtype: recipe.saveDtype });
    const card = {
      recipe,
      contextLength: model.contextLength,
      parameters,
      tokens,
      steps,
      sizes: corpusSizes(documents),
      bitsPerByte,
    };
    await files.writeAtomic(joinPath(out, 'README.md'), renderModelCard(card));
    return { ...result, parameters, bitsPerByte };
  } finally {
    task.dispose();
    model.dispose();
  }
}
