/**
 * Records as token examples: what is read, and which tokens carry loss.
 *
 *   {"text"}                   all tokens but the first, and the end-of-text token after them
 *   {"prompt", "completion"}   the completion and the end-of-text token
 *   {"text", "label"}          the label's word, as `labelPrompt` writes it
 *   {"messages"}               what the assistant says, through the tokenizer's chat template
 *
 * A prompt and its completion are tokenised apart, as they are when a model is asked, so that the boundary between
 * them is a boundary between tokens.
 */
import { FileFormatError, UsageError } from '../core/index.ts';
import {
  describe,
  type FileSystem,
  type Message,
  parseRecord,
  readRecords,
  type Tokenizer,
  type TrainingRecord,
} from '../io/index.ts';
import { checkTokenizer } from '../models/index.ts';
import { type TokenExample, targetCountOf, truncate } from './batches/index.ts';

/** A record in memory, of the shapes that a line of a JSONL file may have. */
export type TuneRecord =
  | { readonly text: string }
  | { readonly text: string; readonly label: string | number | boolean }
  | { readonly prompt: string; readonly completion: string }
  | { readonly messages: readonly Message[] };

/** How a text to be classified and its label are written; the same for training and for asking. */
export interface LabelPrompt {
  readonly prompt: (text: string) => string;
  readonly completion: (label: string) => string;
}

export const DEFAULT_LABEL_PROMPT: LabelPrompt = {
  prompt: (text) => `${text}\nLabel:`,
  completion: (label) => ` ${label}`,
};

export interface RecordOptions {
  /** Most tokens of an example. */
  maxLength: number;
  labelPrompt?: LabelPrompt;
  /** Loss on prompts too. */
  trainOnPrompt?: boolean;
}

const utf8 = new TextEncoder();
const bytesOf = (text: string): number => utf8.encode(text).length;

type Piece = readonly [ids: readonly number[], isTarget: boolean];

function join(pieces: readonly Piece[], bytes: number): TokenExample {
  const ids: number[] = [];
  const targets: [number, number][] = [];
  for (const [piece, isTarget] of pieces) {
    if (isTarget && piece.length > 0) targets.push([ids.length, ids.length + piece.length]);
    ids.push(...piece);
  }
  return { ids, targets, bytes };
}

const endOf = (tokenizer: Tokenizer): number[] => (tokenizer.eosId === null ? [] : [tokenizer.eosId]);

/** A document: every token but the first is a target. */
export function textExample(tokenizer: Tokenizer, text: string): TokenExample {
  const ids = [...tokenizer.encode(text), ...endOf(tokenizer)];
  // The first token is given, not predicted, unless it is one that the tokenizer puts before every text.
  const first = ids.length > 0 ? tokenizer.decode([ids[0]]) : '';
  return { ids, targets: [[1, ids.length]], bytes: Math.max(0, bytesOf(text) - bytesOf(first)) };
}

/** A prompt and what is to follow it. */
export function completionExample(
  tokenizer: Tokenizer,
  prompt: string,
  completion: string,
  trainOnPrompt = false,
): TokenExample {
  const after = [...tokenizer.encode(completion, { addSpecialTokens: false }), ...endOf(tokenizer)];
  const pieces: Piece[] = [
    [tokenizer.encode(prompt), trainOnPrompt],
    [after, completion !== ''],
  ];
  return join(pieces, bytesOf(completion) + (trainOnPrompt ? bytesOf(prompt) : 0));
}

/**
 * A conversation: what the assistant says is the target.
 * @throws FileFormatError if the template does not write a conversation as the beginning of a longer one
 */
export function chatExample(tokenizer: Tokenizer, messages: readonly Message[], where: string): TokenExample {
  const pieces: Piece[] = [];
  let written = '';
  let bytes = 0;
  const extend = (text: string, isTarget: boolean) => {
    if (!text.startsWith(written)) {
      const problem = 'the chat template rewrites earlier messages, so the answers cannot be told from the rest';
      throw new FileFormatError(where, problem, 'give {"prompt","completion"} records instead');
    }
    const added = text.slice(written.length);
    pieces.push([tokenizer.encode(added, { addSpecialTokens: false }), isTarget]);
    if (isTarget) bytes += bytesOf(added);
    written = text;
  };
  messages.forEach((message, i) => {
    if (message.role !== 'assistant') return;
    if (i > 0) extend(tokenizer.chatTemplate(messages.slice(0, i), { addGenerationPrompt: true }), false);
    extend(tokenizer.chatTemplate(messages.slice(0, i + 1)), true);
  });
  return join(pieces, bytes);
}

function exampleOf(record: TrainingRecord, tokenizer: Tokenizer, options: RecordOptions, where: string): TokenExample {
  const { labelPrompt = DEFAULT_LABEL_PROMPT, trainOnPrompt } = options;
  switch (record.kind) {
    case 'text':
      return textExample(tokenizer, record.text);
    case 'completion':
      return completionExample(tokenizer, record.prompt, record.completion, trainOnPrompt);
    case 'labelled':
      return completionExample(tokenizer, labelPrompt.prompt(record.text), labelPrompt.completion(record.label));
    case 'chat':
      return chatExample(tokenizer, record.messages, where);
  }
}

/**
 * One record as an example of at most `maxLength` tokens.
 * @param where `file:line`, for errors
 * @throws FileFormatError for a record without tokens that carry loss
 */
export function tokenizeRecord(
  record: TrainingRecord,
  tokenizer: Tokenizer,
  options: RecordOptions,
  where: string,
): { example: TokenExample; isTruncated: boolean } {
  const whole = exampleOf(record, tokenizer, options, where);
  const example = truncate(whole, options.maxLength);
  if (targetCountOf(example) > 0) return { example, isTruncated: example !== whole };
  const isCut = targetCountOf(whole) > 0;
  const problem = isCut
    ? `no trainable tokens are left of its ${whole.ids.length} at max length ${options.maxLength}`
    : 'no trainable tokens: the completion or the answers are empty, or the text has fewer than two tokens';
  throw new FileFormatError(where, problem, isCut ? 'raise --max-length' : 'remove or complete the record');
}

export interface TokenizedRecords {
  readonly examples: readonly TokenExample[];
  readonly tokens: number;
  readonly targets: number;
  /** Examples that were longer than the most. */
  readonly truncated: number;
}

/** Counts of examples. */
export function summarize(examples: readonly TokenExample[], truncated = 0): TokenizedRecords {
  const tokens = examples.reduce((sum, { ids }) => sum + ids.length, 0);
  return { examples, tokens, targets: examples.reduce((sum, e) => sum + targetCountOf(e), 0), truncated };
}

/**
 * Reads and tokenises a JSON Lines file.
 * @throws FileFormatError naming file and line; KraitError for a tokenizer with more tokens than the model has rows
 */
export async function tokenizeFile(
  files: FileSystem,
  path: string,
  tokenizer: Tokenizer,
  vocabSize: number,
  options: RecordOptions,
): Promise<TokenizedRecords> {
  checkTokenizer(tokenizer, vocabSize);
  const examples: TokenExample[] = [];
  let truncated = 0;
  for await (const { line, record } of readRecords(files, path)) {
    const { example, isTruncated } = tokenizeRecord(record, tokenizer, options, `${path}:${line}`);
    examples.push({ ...example, ids: Int32Array.from(example.ids) });
    if (isTruncated) truncated++;
  }
  return summarize(examples, truncated);
}

/**
 * Tokenises records that are in memory.
 * @param name what the caller calls them, for errors
 * @throws FileFormatError naming `name[i]`; UsageError for none; KraitError for a tokenizer with more tokens than the
 * model has rows
 */
export function tokenizeValues(
  values: readonly TuneRecord[],
  name: string,
  tokenizer: Tokenizer,
  vocabSize: number,
  options: RecordOptions,
): TokenizedRecords {
  if (!Array.isArray(values) || values.length === 0) {
    const got = Array.isArray(values) ? 'none' : describe(values);
    throw new UsageError(`${name}: expected records, or the path of a JSONL file, got ${got}; give at least one`);
  }
  checkTokenizer(tokenizer, vocabSize);
  const examples: TokenExample[] = [];
  let truncated = 0;
  for (const [i, value] of values.entries()) {
    const where = `${name}[${i}]`;
    const { example, isTruncated } = tokenizeRecord(parseRecord(value, where), tokenizer, options, where);
    examples.push({ ...example, ids: Int32Array.from(example.ids) });
    if (isTruncated) truncated++;
  }
  return summarize(examples, truncated);
}
