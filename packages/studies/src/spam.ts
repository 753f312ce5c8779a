/**
 * Spam or ham: what a small pretrained Mamba gains from examples in its context, from LoRA in mixed precision, and from
 * full fine-tuning, on real mail.
 *
 * Data: the SpamAssassin corpus without duplicates; 1,000 mails are held out by hash (`data/spam`). A mail is its sender,
 * its subject, and the beginning and end of its text, followed by a question; the answer is the more probable of two label
 * words, before tuning and after (`tune/classify` says why), and that choice is what training makes better. Both methods
 * see the mails in the same order.
 */

import { KraitError } from 'krait/core';
import { excerptMail, type SpamCorpus, type SpamRecord } from 'krait/data';
import { type FileSystem, loadTokenizer, type Tokenizer } from 'krait/io';
import { type LanguageModel, loadModel } from 'krait/models';
import type { Device } from 'krait/tensor';
import { type Precision, train } from 'krait/train';
import {
  adapterParameters,
  allParameters,
  attachLora,
  type ClassificationReport,
  chooseShots,
  classify,
  evaluateLabels,
  type LabelledText,
  type LabelPrompt,
  LanguageTask,
  truncate,
} from 'krait/tune';

export const LABELS = ['ham', 'spam'] as const;

/**
 * The words that answer. Each is one token of the base model: likelihoods of words of different length would favour the
 * shorter one, and ` ham` is two tokens, the first a fragment.
 */
const LABEL_WORDS: Readonly<Record<string, string>> = { ham: ' good', spam: ' spam' };

/** The question comes last: at it, a recurrent model's state holds the mail. */
export const SPAM_PROMPT: LabelPrompt = {
  prompt: (text) => `Mail:\n${text}\n\nThis mail is`,
  completion: (label) => LABEL_WORDS[label],
};

interface MethodSettings {
  steps: number;
  learningRate: number;
  precision: Precision;
}

export interface SpamSettings {
  /** Characters of a mail that are read: of its beginning, and of its end. */
  excerpt: { head: number; tail: number };
  /** Tokens of a mail with question and answer; the beginning is cut off beyond. */
  maxLength: number;
  shots: number;
  /** Rows of `maxLength` tokens in a batch. */
  batchSize: number;
  lora: MethodSettings & { rank: number; alpha: number; targets: readonly string[] };
  full: MethodSettings;
  seed: number;
}

/** For less than five minutes on two cores. */
export const SPAM_SETTINGS: SpamSettings = {
  excerpt: { head: 320, tail: 200 },
  maxLength: 320,
  shots: 5,
  batchSize: 6,
  lora: {
    steps: 480,
    learningRate: 3e-3,
    precision: 'bf16',
    rank: 16,
    alpha: 32,
    targets: ['in_proj', 'x_proj', 'out_proj'],
  },
  full: { steps: 120, learningRate: 1.5e-3, precision: 'f32' },
  seed: 0,
};

/** @throws KraitError if the base model's tokenizer cuts the word up */
function answerToken(tokenizer: Tokenizer, label: string): number {
  const ids = tokenizer.encode(SPAM_PROMPT.completion(label), { addSpecialTokens: false });
  if (ids.length === 1) return ids[0];
  const word = JSON.stringify(SPAM_PROMPT.completion(label));
  throw new KraitError(`${tokenizer.path}: ${word} is ${ids.length} tokens; the study needs a base with it as one`);
}

export interface SpamRow {
  readonly name: string;
  readonly report: ClassificationReport;
  /** Seconds of training, and of classifying all held-out mails. */
  readonly trainSeconds: number | null;
  readonly evalSeconds: number;
  readonly tokensPerSecond: number | null;
  readonly peakBytes: number;
  readonly trainableParameters: number | null;
  readonly losses: readonly { readonly x: number; readonly y: number }[];
}

export interface SpamStudy {
  readonly rows: readonly SpamRow[];
  readonly majority: ClassificationReport['majority'];
  readonly mails: { readonly train: number; readonly test: number };
  readonly parameters: number;
  /** Two held-out mails, classified by the model that LoRA left. */
  readonly examples: readonly {
    readonly text: string;
    readonly actual: string;
    readonly predicted: string;
    readonly probability: number;
  }[];
}

export interface SpamInput {
  device: Device;
  files: FileSystem;
  /** Folder of the pretrained model. */
  base: string;
  corpus: SpamCorpus;
  settings?: Partial<SpamSettings>;
  signal?: AbortSignal;
  onStage?(name: string, total: number): void;
  onProgress?(done: number, note?: string): void;
}

class SpamExperiment {
  readonly settings: SpamSettings;
  readonly train: LabelledText[];
  readonly test: LabelledText[];
  rows: SpamRow[] = [];

  constructor(
    private readonly input: SpamInput,
    readonly tokenizer: Tokenizer,
  ) {
    this.settings = { ...SPAM_SETTINGS, ...input.settings };
    const read = (records: readonly SpamRecord[]) =>
      records.map((record) => ({ text: excerptMail(record, this.settings.excerpt), label: record.label }));
    this.train = read(input.corpus.splits.train);
    this.test = read(input.corpus.splits.test);
  }

  /** @param dtype of stored weights: f32 where they are trained */
  open(activations: Precision, dtype: Precision = activations): Promise<LanguageModel> {
    return loadModel(this.input.device, this.input.files, this.input.base, { dtype, activations });
  }

  get classifier() {
    return { labels: LABELS, labelPrompt: SPAM_PROMPT, maxLength: this.settings.maxLength, batchSize: 32 };
  }

  async evaluate(model: LanguageModel, name: string, shots: readonly LabelledText[] = []) {
    const { input, test } = this;
    input.onStage?.(name, 100);
    const startedMs = performance.now();
    const onProgress = (share: number) => input.onProgress?.(Math.round(100 * share));
    const report = await evaluateLabels(model, this.tokenizer, test, { ...this.classifier, shots, onProgress });
    return { report, evalSeconds: (performance.now() - startedMs) / 1000 };
  }

  async untuned(): Promise<void> {
    const model = await this.open('f32');
    const { device } = this.input;
    const { shots, seed } = this.settings;
    for (const [name, examples] of [
      ['zero-shot', []],
      [`${shots}-shot`, chooseShots(this.train, LABELS, shots, seed)],
    ] as const) {
      device.backend.resetPeak();
      const found = await this.evaluate(model, name, examples);
      const none = { trainSeconds: null, tokensPerSecond: null, trainableParameters: null, losses: [] };
      this.rows.push({ name, ...found, ...none, peakBytes: device.memory().peakBytes });
    }
    model.dispose();
  }

  /** Trains and measures one method; returns the tuned model, which is the caller's. */
  async tuned(method: 'lora' | 'full'): Promise<LanguageModel> {
    const { input, settings, tokenizer } = this;
    const { maxLength, batchSize, seed } = settings;
    const { steps, learningRate, precision } = settings[method];
    const model = await this.open(precision, method === 'full' ? 'f32' : precision);
    const { rank: r, alpha: loraAlpha, targets: targetModules } = settings.lora;
    const adapter = method === 'lora' ? attachLora(model, { r, loraAlpha, targetModules }, { seed }) : null;
    const choices = LABELS.map((label) => answerToken(tokenizer, label));
    const examples = this.train.map(({ text, label }) => {
      const prompt = tokenizer.encode(SPAM_PROMPT.prompt(text));
      const ids = [...prompt, answerToken(tokenizer, label)];
      return truncate({ ids, targets: [[prompt.length, ids.length]], bytes: 0 }, maxLength);
    });
    const parameters = adapter ? adapterParameters(adapter) : allParameters(model);
    const common = { model, parameters, train: examples, batchSize, maxLength, seed };
    const task = new LanguageTask({ ...common, mode: adapter, choices });
    const name = method === 'lora' ? `LoRA r ${r}, ${precision}` : `full fine-tuning, ${precision}`;
    const losses: { x: number; y: number }[] = [];
    input.onStage?.(name, steps);
    const result = await train(task, {
      options: { steps, learningRate, precision, schedule: 'cosine', warmup: 0.1, seed, clipNorm: 1 },
      signal: input.signal,
      onStep: ({ step, loss, tokensPerSecond }) => {
        losses.push({ x: step, y: loss });
        input.onProgress?.(step, `loss ${loss.toFixed(3)}, ${tokensPerSecond.toFixed(0)} tok/s`);
      },
    });
    task.dispose();
    input.signal?.throwIfAborted();
    const found = await this.evaluate(model, `${method}: held-out`);
    const trainableParameters = parameters.reduce((sum, { tensor }) => sum + tensor.size, 0);
    const { seconds: trainSeconds, tokensPerSecond, peakBytes } = result;
    this.rows.push({ name, ...found, trainSeconds, tokensPerSecond, peakBytes, trainableParameters, losses });
    return model;
  }

  /** One mail of each label, classified as a user would. */
  async showExamples(model: LanguageModel): Promise<SpamStudy['examples']> {
    const chosen = LABELS.map((label) => this.test.find((mail) => mail.label === label)!);
    const predictions = await classify(
      model,
      this.tokenizer,
      chosen.map(({ text }) => text),
      this.classifier,
    );
    return chosen.map(({ text, label }, i) => {
      const { label: predicted, probabilities } = predictions[i];
      return { text, actual: label, predicted, probability: Math.max(...probabilities) };
    });
  }
}

/** Runs the whole study. Throws the signal's reason if it is aborted. */
export async function studySpam(input: SpamInput): Promise<SpamStudy> {
  const experiment = new SpamExperiment(input, await loadTokenizer(input.files, input.base));
  await experiment.untuned();
  const adapted = await experiment.tuned('lora');
  const examples = await experiment.showExamples(adapted);
  const parameters = [...adapted.parameters.values()].reduce((sum, { size }) => sum + size, 0);
  adapted.dispose();
  (await experiment.tuned('full')).dispose();
  const { rows, train: trained, test } = experiment;
  return {
    rows,
    majority: rows[0].report.majority,
    mails: { train: trained.length, test: test.length },
    parameters,
    examples,
  };
}
