/**
 * Classification by label words: a text is put into a prompt, and the label whose words the model finds most probable
 * after it is the answer.
 *
 * Label words, not a classification head, because: the same measure serves before tuning (zero-shot, few-shot) and
 * after, so the numbers can be compared; no parameters are added, so nothing has to learn from nothing and an adapter
 * stays a plain PEFT adapter; examples can be shown in the prompt; and a new label needs no new weights.
 * A few-shot prompt's examples are read once: their state, a few kilobytes a layer, is where every query starts.
 */
import { ConfigError, HostRandom } from '../core/index.ts';
import type { Tokenizer } from '../io/index.ts';
import { type ContinuationRequest, checkTokenizer, type LanguageModel, scoreContinuations } from '../models/index.ts';
import { DEFAULT_LABEL_PROMPT, type LabelPrompt } from './records.ts';

export interface LabelledText {
  readonly text: string;
  readonly label: string;
}

export interface ClassifierOptions {
  /** All labels; none may begin with another. */
  labels: readonly string[];
  labelPrompt?: LabelPrompt;
  /** Examples to show before each query, in this order. */
  shots?: readonly LabelledText[];
  /** Most tokens of a query with its label and end, as in training; what is before is cut off. */
  maxLength?: number;
  /** Queries that are read at the same time. */
  batchSize?: number;
  onProgress?: (share: number) => void;
}

export interface Prediction {
  readonly label: string;
  /** Log-likelihood of each label's words, in nats, in the order of `labels`. */
  readonly scores: readonly number[];
  /** The same made to sum to 1 over the labels. */
  readonly probabilities: readonly number[];
}

/** Between the examples of a few-shot prompt. */
const SEPARATOR = '\n\n';

const softmax = (scores: readonly number[]): number[] => {
  const most = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - most));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
};

/** Token ids of each label's words. @throws ConfigError if they do not tell the labels apart */
function labelIds(tokenizer: Tokenizer, labels: readonly string[], prompt: LabelPrompt): number[][] {
  if (labels.length < 2) throw new ConfigError(`labels: expected at least 2, got ${labels.length}`);
  const ids = labels.map((label) => tokenizer.encode(prompt.completion(label), { addSpecialTokens: false }));
  ids.forEach((a, i) => {
    if (a.length === 0) throw new ConfigError(`labels: ${JSON.stringify(labels[i])} has no tokens; use a word`);
    ids.forEach((b, j) => {
      if (i === j || !a.every((id, t) => id === b[t])) return;
      const [one, other] = [labels[i], labels[j]].map((label) => JSON.stringify(label));
      throw new ConfigError(`labels: ${other} begins with ${one}, so they cannot be compared; use other words`);
    });
  });
  return ids;
}

/** Examples as they stand before a query. */
function shotIds(tokenizer: Tokenizer, shots: readonly LabelledText[], prompt: LabelPrompt): number[] {
  return shots.flatMap(({ text, label }, i) => [
    ...tokenizer.encode(prompt.prompt(text), { addSpecialTokens: i === 0 }),
    ...tokenizer.encode(prompt.completion(label), { addSpecialTokens: false }),
    ...tokenizer.encode(SEPARATOR, { addSpecialTokens: false }),
  ]);
}

/**
 * The label of each text.
 * @throws ConfigError for labels that cannot be told apart
 */
export async function classify(
  model: LanguageModel,
  tokenizer: Tokenizer,
  texts: readonly string[],
  options: ClassifierOptions,
): Promise<Prediction[]> {
  const { labels, labelPrompt = DEFAULT_LABEL_PROMPT, shots = [], maxLength = Number.POSITIVE_INFINITY } = options;
  checkTokenizer(tokenizer, model.vocabSize);
  const answers = labelIds(tokenizer, labels, labelPrompt);
  const room = maxLength - Math.max(...answers.map(({ length }) => length)) - 1;
  if (room < 1) throw new ConfigError(`max_length: ${maxLength} leaves no room for a text before its label; raise it`);
  const before = shotIds(tokenizer, shots, labelPrompt);
  const requests: ContinuationRequest[] = texts.flatMap((text) => {
    const query = tokenizer.encode(labelPrompt.prompt(text), { addSpecialTokens: shots.length === 0 });
    const context = [...before, ...query.slice(Math.max(0, query.length - room))];
    return answers.map((continuation) => ({ context, continuation }));
  });
  const { batchSize, onProgress } = options;
  const { scores: scored } = await scoreContinuations(model, requests, { batchSize, onProgress });
  return texts.map((_, i) => {
    const scores = labels.map((_label, j) => scored[i * labels.length + j].logprob);
    const best = scores.indexOf(Math.max(...scores));
    return { label: labels[best], scores, probabilities: softmax(scores) };
  });
}

export interface ClassificationReport {
  readonly labels: readonly string[];
  readonly count: number;
  readonly accuracy: number;
  /** `confusion[i][j]`: texts of label i that were taken for label j. */
  readonly confusion: readonly (readonly number[])[];
  /** Accuracy of always predicting the most frequent label. */
  readonly majority: { readonly label: string; readonly accuracy: number };
  /** Mean of -log of the right label's probability among the labels, in nats. */
  readonly loss: number;
  readonly predictions: readonly Prediction[];
}

/** Accuracy of predictions. @throws ConfigError for a record whose label is not among the labels */
export function reportOf(
  records: readonly LabelledText[],
  predictions: readonly Prediction[],
  labels: readonly string[],
): ClassificationReport {
  const confusion = labels.map(() => labels.map(() => 0));
  let nats = 0;
  records.forEach(({ label }, i) => {
    const truth = labels.indexOf(label);
    if (truth < 0)
      throw new ConfigError(`record ${i}: label ${JSON.stringify(label)} is not one of ${labels.join(', ')}`);
    confusion[truth][labels.indexOf(predictions[i].label)]++;
    nats -= Math.log(Math.max(predictions[i].probabilities[truth], Number.MIN_VALUE));
  });
  const count = records.length;
  const totals = confusion.map((row) => row.reduce((sum, n) => sum + n, 0));
  const most = totals.indexOf(Math.max(...totals));
  const right = confusion.reduce((sum, row, i) => sum + row[i], 0);
  const majority = { label: labels[most], accuracy: totals[most] / count };
  return { labels, count, accuracy: right / count, confusion, majority, loss: nats / count, predictions };
}

/** Classifies records and compares with their labels. */
export async function evaluateLabels(
  model: LanguageModel,
  tokenizer: Tokenizer,
  records: readonly LabelledText[],
  options: ClassifierOptions,
): Promise<ClassificationReport> {
  const texts = records.map(({ text }) => text);
  return reportOf(records, await classify(model, tokenizer, texts, options), options.labels);
}

/**
 * `count` examples to show, the labels taking turns, so that none is shown more often by chance.
 * The same for the same seed.
 */
export function chooseShots(
  records: readonly LabelledText[],
  labels: readonly string[],
  count: number,
  seed: number,
): LabelledText[] {
  const random = new HostRandom(seed);
  const pools = labels.map((label) => random.shuffle(records.filter((record) => record.label === label)));
  const shots: LabelledText[] = [];
  for (let i = 0; shots.length < count && pools.some(({ length }) => length > 0); i++) {
    const next = pools[i % pools.length].pop();
    if (next) shots.push(next);
  }
  if (shots.length < count) throw new ConfigError(`shots: asked for ${count}, there are ${shots.length} examples`);
  return shots;
}
