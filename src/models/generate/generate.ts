/**
 * Text from a model, token by token. What is kept between tokens is the recurrent state alone: memory and time per
 * token do not grow with the length of the text.
 */
import { UsageError } from '../../core/index.ts';
import type { LanguageModel } from '../heads/language-model.ts';
import { checkTokenizer } from '../ids.ts';
import { prefill } from '../prefill.ts';
import { Decoder, readLogits } from './decoder.ts';
import { checkSampling, greedyToken } from './sampling.ts';
import { type FinishReason, type GeneratedToken, type GenerateOptions, Sequence, type TextCodec } from './sequence.ts';

/** A text, or its ids. */
export type Prompt = string | readonly number[];

function idsOf(
  model: LanguageModel,
  tokenizer: TextCodec | null,
  prompt: Prompt,
  config: Record<string, unknown>,
): number[] {
  if (typeof prompt !== 'string') return [...prompt];
  if (!tokenizer) throw new UsageError('a prompt as text needs a tokenizer; give token ids');
  const ids = tokenizer.encode(prompt);
  if (ids.length > 0) return ids;
  const { bos_token_id: bos } = config;
  if (typeof bos === 'number' && bos < model.vocabSize) return [bos];
  throw new UsageError('the prompt is empty and the model names no token to begin with; give some text');
}

function eosOf(
  tokenizer: TextCodec | null,
  { eosTokens }: GenerateOptions,
  config: Record<string, unknown>,
): Set<number> {
  if (eosTokens) return new Set(eosTokens);
  const ids = [config.eos_token_id, tokenizer?.eosId].flat();
  return new Set(ids.filter((id) => typeof id === 'number'));
}

/** Whether it is a list of prompts, rather than one prompt as ids. */
const isList = (prompts: Prompt | readonly Prompt[]): prompts is readonly Prompt[] =>
  typeof prompts !== 'string' && (prompts.length === 0 || typeof prompts[0] !== 'number');

/**
 * Continues prompts. Several run as one batch, each as if it were alone; tokens of the sequences come interleaved,
 * and the last token of a sequence says why it ends.
 * @param tokenizer null for prompts as ids: the texts are then empty
 * @throws UsageError for options out of range, an empty prompt, ids beyond the vocabulary; the signal's reason
 */
export async function* generate(
  model: LanguageModel,
  tokenizer: TextCodec | null,
  prompts: Prompt | readonly Prompt[],
  options: GenerateOptions = {},
): AsyncGenerator<GeneratedToken, void, undefined> {
  const { maxTokens = 128, signal } = options;
  checkSampling(options);
  if (!Number.isInteger(maxTokens) || maxTokens < 0)
    throw new UsageError(`max tokens: expected a whole number from 0, got ${maxTokens}`);
  if (options.stop?.includes('')) throw new UsageError('stop: an empty string would stop at once; leave it out');
  if (options.stop?.length && !tokenizer) throw new UsageError('stop strings need a tokenizer; use eosTokens');
  if (tokenizer) checkTokenizer(tokenizer, model.vocabSize);
  const config = model.configJson();
  const rows = (isList(prompts) ? prompts : [prompts]).map((prompt) => idsOf(model, tokenizer, prompt, config));
  const eos = eosOf(tokenizer, options, config);
  if (rows.length === 0 || maxTokens === 0) return;

  const sequences = rows.map((row, i) => new Sequence(i, row, tokenizer, options, eos));
  const { hidden, state } = await prefill(model, rows, { ...options, onChunk: () => signal?.throwIfAborted() });
  const isChosen = isGreedy(options) && Decoder.canChoose(model);
  const decoder = new Decoder(model, state, isChosen);
  try {
    const logits = await readLogits(model, hidden);
    const write = isChosen ? writeChosen : writeSampled;
    yield* write(decoder, sequences, logits, maxTokens, signal);
  } finally {
    decoder.dispose();
  }
}

/** True if only the most probable token is wanted. */
const isGreedy = ({ temperature = 0, repetitionPenalty = 1, logprobs = false }: GenerateOptions): boolean =>
  temperature === 0 && repetitionPenalty === 1 && !logprobs;

type Write = (
  decoder: Decoder,
  sequences: readonly Sequence[],
  first: readonly (Float32Array | Float64Array)[],
  maxTokens: number,
  signal: AbortSignal | undefined,
) => AsyncGenerator<GeneratedToken, void, undefined>;

const goingOf = (written: readonly GeneratedToken[]): number[] =>
  written.flatMap(({ finish }, i) => (finish ? [] : [i]));

/** Tokens are drawn here, from the logits of every step. */
const writeSampled: Write = async function* (decoder, sequences, first, maxTokens, signal) {
  let active = sequences;
  let logits = first;
  for (;;) {
    signal?.throwIfAborted();
    const written = active.map((sequence, i) => sequence.next(logits[i], maxTokens));
    yield* written;
    signal?.throwIfAborted();
    const going = goingOf(written);
    if (going.length === 0) return;
    if (going.length < active.length) {
      decoder.select(going);
      active = going.map((i) => active[i]);
    }
    logits = await decoder.next(going.map((i) => written[i].token));
  }
};

/**
 * The device chooses the most probable tokens, and while one step runs, the next is queued behind it: the device does not
 * wait for the host. A sequence that ends early costs a step of which nothing is read.
 */
const writeChosen: Write = async function* (decoder, sequences, first, maxTokens, signal) {
  let active = sequences;
  let tokens = first.map(greedyToken);
  // Of the tokens after `tokens`, where they are being chosen already.
  let coming: Promise<number[]> | null = null;
  for (let count = 1; ; count++) {
    signal?.throwIfAborted();
    const written = active.map((sequence, i) => sequence.take(tokens[i], maxTokens));
    const going = goingOf(written);
    yield* written; // before anything is queued: the first does not wait for a recording
    signal?.throwIfAborted();
    if (going.length === 0) return;
    if (going.length === active.length) {
      coming ??= decoder.choose(tokens);
      const after = decoder.goesOn && count + 2 <= maxTokens ? decoder.choose(null) : null;
      [tokens, coming] = [await coming, after];
      continue;
    }
    // What is being chosen was chosen for all: the state is after its step then.
    const chosen: number[] | null = coming && (await coming);
    decoder.select(going);
    active = going.map((i) => active[i]);
    tokens = chosen ? going.map((i) => chosen[i]) : await decoder.choose(going.map((i) => tokens[i]));
    coming = null;
  }
};

export interface Completion {
  readonly text: string;
  readonly tokens: readonly number[];
  /** Log-probabilities of the tokens, if they were wanted. */
  readonly logprobs: readonly number[];
  readonly finish: FinishReason | null;
}

/** All of what `generate` gives, a completion for each prompt. */
export async function complete(
  model: LanguageModel,
  tokenizer: TextCodec | null,
  prompts: Prompt | readonly Prompt[],
  options: GenerateOptions = {},
): Promise<Completion[]> {
  const count = isList(prompts) ? prompts.length : 1;
  const done = Array.from({ length: count }, () => ({
    text: '',
    tokens: [] as number[],
    logprobs: [] as number[],
    finish: null as FinishReason | null,
  }));
  for await (const { sequence, token, text, logprob, finish } of generate(model, tokenizer, prompts, options)) {
    const completion = done[sequence];
    completion.text += text;
    completion.tokens.push(token);
    if (logprob !== undefined) completion.logprobs.push(logprob);
    completion.finish = finish;
  }
  return done;
}
