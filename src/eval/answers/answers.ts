/** Answers of a language model to requests: scored together, so that what they share is read once. */
import { UsageError } from '../../core/index.ts';
import type { Tokenizer } from '../../io/index.ts';
import { complete } from '../../models/generate/index.ts';
import {
  type ContinuationRequest,
  type ContinuationScore,
  checkTokenizer,
  type LanguageModel,
  scoreContinuations,
} from '../../models/index.ts';
import type { EvalAnswer, EvalRequest, GenerateRequest } from '../requests.ts';
import type { AnswerCache } from './cache.ts';
import { encodePair, encodeText, rollingWindows, truncatePair } from './encode.ts';

/** Tokens that are read at once where the model names no limit, as in lm-evaluation-harness. */
const DEFAULT_MAX_LENGTH = 2048;
/** Texts that are written side by side. */
const GENERATED_TOGETHER = 16;

export interface AnswerOptions {
  /** Most sequences in a batch; `auto` unless given. */
  batchSize?: number | 'auto';
  /** Most tokens of an input; longer ones are cut on the left. What the model was made for, else 2048. */
  maxLength?: number;
  /** Read shared prefixes of requests once; true unless given. */
  reusePrefixes?: boolean;
  /** Answers that are known already are taken from here, new ones put there as soon as they are. */
  cache?: AnswerCache;
  signal?: AbortSignal;
  onProgress?: (share: number) => void;
}

export interface AnswerReport {
  /** One a request, in their order. */
  readonly answers: readonly EvalAnswer[];
  /** Requests whose context was cut on the left. */
  readonly truncated: number;
  /** Tokens of all inputs. */
  readonly tokens: number;
  /** Tokens of them that had to be computed. */
  readonly computedTokens: number;
  readonly seconds: number;
}

/** A part of a request that is scored alone: a pair, or a window of a text. */
interface Part extends ContinuationRequest {
  readonly request: number;
  /** Number of this part. `count` is the number of parts of the request. */
  readonly number: number;
  readonly count: number;
  readonly isCut: boolean;
}

function partsOf(tokenizer: Tokenizer, requests: readonly EvalRequest[], maxLength: number): Part[] {
  return requests.flatMap((request, i): Part[] => {
    if (request.kind === 'generate') return [];
    if (request.kind === 'loglikelihood') {
      return [{ ...truncatePair(encodePair(tokenizer, request), maxLength), request: i, number: 0, count: 1 }];
    }
    const windows = rollingWindows(tokenizer, request.text, maxLength);
    return windows.map((pair, number) => ({ ...pair, request: i, number, count: windows.length, isCut: false }));
  });
}

/** A text to be written: its context as tokens, cut on the left. */
interface Prompt {
  readonly request: number;
  readonly ids: readonly number[];
  readonly isCut: boolean;
}

function promptOf(tokenizer: Tokenizer, request: GenerateRequest, index: number, maxLength: number): Prompt {
  const room = maxLength - request.maxTokens;
  if (room < 1) {
    throw new UsageError(
      `${request.maxTokens} tokens to write leave no room in an input of ${maxLength}; ask for fewer`,
    );
  }
  const ids = encodeText(tokenizer, request.context);
  return { request: index, ids: ids.slice(-room), isCut: ids.length > room };
}

/** Answers as they come, in the requests' order in the end, each put into the cache once it is whole. */
class Answers {
  readonly all: (EvalAnswer | undefined)[];
  private readonly parts = new Map<number, { missing: number; scores: ContinuationScore[] }>();

  private constructor(
    readonly requests: readonly EvalRequest[],
    private readonly keys: readonly string[],
    private readonly cache: AnswerCache | undefined,
  ) {
    this.all = requests.map((_, i) => cache?.get(keys[i]));
  }

  static async from(requests: readonly EvalRequest[], maxLength: number, cache?: AnswerCache): Promise<Answers> {
    const keys = cache ? await Promise.all(requests.map((request) => cache.keyOf(request, maxLength))) : [];
    return new Answers(requests, keys, cache);
  }

  /** Takes scores of parts; a request is answered once all of its parts are. */
  async takeScores(parts: readonly Part[], scored: readonly (readonly [number, ContinuationScore])[]): Promise<void> {
    const whole: [number, EvalAnswer][] = [];
    for (const [i, score] of scored) {
      const { request, number, count } = parts[i];
      const entry = this.parts.get(request) ?? { missing: count, scores: [] };
      this.parts.set(request, entry);
      entry.scores[number] = score;
      if (--entry.missing > 0) continue;
      const logprob = entry.scores.reduce((sum, part) => sum + part.logprob, 0);
      const { kind } = this.requests[request];
      const { isGreedy } = score;
      whole.push([request, kind === 'rolling' ? { kind, logprob } : { kind: 'loglikelihood', logprob, isGreedy }]);
    }
    await this.put(whole);
  }

  async put(entries: readonly (readonly [request: number, answer: EvalAnswer])[]): Promise<void> {
    for (const [request, answer] of entries) this.all[request] = answer;
    if (entries.length)
      await this.cache?.put(entries.map(([request, answer]) => [this.keys[request], answer] as const));
  }
}

/** Writes texts, those of one kind of end side by side. Returns the tokens written. */
async function writeTexts(
  model: LanguageModel,
  tokenizer: Tokenizer,
  prompts: readonly Prompt[],
  answers: Answers,
  signal: AbortSignal | undefined,
): Promise<number> {
  const askedBy = ({ request }: Prompt) => answers.requests[request] as GenerateRequest;
  const groups = new Map<string, Prompt[]>();
  for (const prompt of prompts) {
    const { until, maxTokens } = askedBy(prompt);
    const key = JSON.stringify([until, maxTokens]);
    const group = groups.get(key);
    if (group) group.push(prompt);
    else groups.set(key, [prompt]);
  }
  let tokens = 0;
  for (const group of groups.values()) {
    const { until, maxTokens } = askedBy(group[0]);
    group.sort((a, b) => a.ids.length - b.ids.length);
    for (let at = 0; at < group.length; at += GENERATED_TOGETHER) {
      const batch = group.slice(at, at + GENERATED_TOGETHER);
      const ids = batch.map((prompt) => prompt.ids);
      const written = await complete(model, tokenizer, ids, { maxTokens, stop: until, temperature: 0, signal });
      await answers.put(batch.map(({ request }, i) => [request, { kind: 'generate', text: written[i].text }] as const));
      tokens += written.reduce((sum, { tokens: own }, i) => sum + ids[i].length + own.length, 0);
    }
  }
  return tokens;
}

/**
 * Answers requests as lm-evaluation-harness does: its tokens, its truncation, its windows.
 * @throws UsageError for a limit out of range, a continuation without tokens, a tokenizer without a first token; the
 *   signal's reason
 */
export async function answerRequests(
  model: LanguageModel,
  tokenizer: Tokenizer,
  requests: readonly EvalRequest[],
  options: AnswerOptions = {},
): Promise<AnswerReport> {
  const { maxLength = model.contextLength ?? DEFAULT_MAX_LENGTH, signal, cache, ...scoring } = options;
  if (!Number.isInteger(maxLength) || maxLength < 1) {
    throw new UsageError(`max length: expected a whole number from 1, got ${maxLength}`);
  }
  checkTokenizer(tokenizer, model.vocabSize);
  const began = performance.now();
  const parts = partsOf(tokenizer, requests, maxLength);
  const prompts = requests.flatMap((request, i) =>
    request.kind === 'generate' ? [promptOf(tokenizer, request, i, maxLength)] : [],
  );
  const answers = await Answers.from(requests, maxLength, cache);
  requests.forEach((request, i) => {
    if (request.kind === 'rolling' && request.text === '') answers.all[i] = { kind: 'rolling', logprob: 0 };
  });
  const isOpen = ({ request }: { request: number }) => answers.all[request] === undefined;
  const open = parts.filter(isOpen);
  const { computedTokens } = await scoreContinuations(model, open, {
    ...scoring,
    signal,
    onScored: (scored) => answers.takeScores(open, scored),
  });
  const written = await writeTexts(model, tokenizer, prompts.filter(isOpen), answers, signal);
  const read = parts.reduce((sum, { context, continuation }) => sum + context.length + continuation.length - 1, 0);
  return {
    answers: answers.all.map((answer) => answer!),
    truncated: [...parts, ...prompts].filter(({ isCut }) => isCut).length,
    tokens: read + prompts.reduce((sum, { ids }) => sum + ids.length, 0),
    computedTokens: computedTokens + written,
    seconds: (performance.now() - began) / 1000,
  };
}
