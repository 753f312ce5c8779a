/** Answers of a language model to requests: scored together, so that what they share is read once. */
import { UsageError } from '../../core/index.ts';
import type { Tokenizer } from '../../io/index.ts';
import { complete } from '../../models/generate/index.ts';
import { type CausalLM, type ContinuationRequest, checkTokenizer, scoreContinuations } from '../../models/index.ts';
import type { EvalAnswer, EvalRequest, GenerateRequest } from '../requests.ts';
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
  /** Whether what requests begin with is read once; true unless given. */
  reusePrefixes?: boolean;
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

/** A piece of a request that is scored by itself: a pair, or a window of a text. */
interface Part extends ContinuationRequest {
  readonly request: number;
  readonly isCut: boolean;
}

function partsOf(tokenizer: Tokenizer, requests: readonly EvalRequest[], maxLength: number): Part[] {
  return requests.flatMap((request, i): Part[] => {
    if (request.kind === 'generate') return [];
    if (request.kind === 'rolling') {
      return rollingWindows(tokenizer, request.text, maxLength).map((pair) => ({ ...pair, request: i, isCut: false }));
    }
    return [{ ...truncatePair(encodePair(tokenizer, request), maxLength), request: i }];
  });
}

/** Greedy continuations of the requests of one kind of end, a few at a time. */
async function writeTexts(
  model: CausalLM,
  tokenizer: Tokenizer,
  asked: readonly { request: GenerateRequest; index: number }[],
  { maxLength, signal }: { maxLength: number; signal?: AbortSignal },
) {
  const found: { index: number; text: string; tokens: number; isCut: boolean }[] = [];
  const groups = new Map<string, { request: GenerateRequest; index: number; ids: number[]; isCut: boolean }[]>();
  for (const { request, index } of asked) {
    const room = maxLength - request.maxTokens;
    if (room < 1) {
      throw new UsageError(
        `${request.maxTokens} tokens to write leave no room in an input of ${maxLength}; ask for fewer`,
      );
    }
    const ids = encodeText(tokenizer, request.context);
    const key = JSON.stringify([request.until, request.maxTokens]);
    const entry = { request, index, ids: ids.slice(-room), isCut: ids.length > room };
    groups.set(key, [...(groups.get(key) ?? []), entry]);
  }
  for (const group of groups.values()) {
    group.sort((a, b) => a.ids.length - b.ids.length);
    for (let at = 0; at < group.length; at += GENERATED_TOGETHER) {
      const batch = group.slice(at, at + GENERATED_TOGETHER);
      const { until, maxTokens } = batch[0].request;
      const prompts = batch.map(({ ids }) => ids);
      const written = await complete(model, tokenizer, prompts, { maxTokens, stop: until, temperature: 0, signal });
      batch.forEach(({ index, ids, isCut }, i) => {
        found.push({ index, text: written[i].text, tokens: ids.length + written[i].tokens.length, isCut });
      });
    }
  }
  return found;
}

/**
 * Answers requests as lm-evaluation-harness does: its tokens, its truncation, its windows.
 * @throws UsageError for a limit out of range, a continuation without tokens, a tokenizer without a first token; the
 *   signal's reason
 */
export async function answerRequests(
  model: CausalLM,
  tokenizer: Tokenizer,
  requests: readonly EvalRequest[],
  options: AnswerOptions = {},
): Promise<AnswerReport> {
  const { maxLength = model.memoryLength ?? DEFAULT_MAX_LENGTH, signal } = options;
  if (!Number.isInteger(maxLength) || maxLength < 1) {
    throw new UsageError(`max length: expected a whole number from 1, got ${maxLength}`);
  }
  checkTokenizer(tokenizer, model.vocabSize);
  const began = performance.now();
  const parts = partsOf(tokenizer, requests, maxLength);
  const { scores, computedTokens } = await scoreContinuations(model, parts, options);
  const answers = requests.map((request): EvalAnswer => {
    if (request.kind === 'loglikelihood') return { kind: 'loglikelihood', logprob: 0, isGreedy: true };
    return request.kind === 'rolling' ? { kind: 'rolling', logprob: 0 } : { kind: 'generate', text: '' };
  });
  parts.forEach(({ request }, i) => {
    const answer = answers[request];
    const { logprob, isGreedy } = scores[i];
    if (answer.kind === 'loglikelihood') answers[request] = { ...answer, logprob, isGreedy };
    if (answer.kind === 'rolling') answers[request] = { ...answer, logprob: answer.logprob + logprob };
  });
  const asked = requests.flatMap((request, index) => (request.kind === 'generate' ? [{ request, index }] : []));
  const texts = await writeTexts(model, tokenizer, asked, { maxLength, signal });
  for (const { index, text } of texts) answers[index] = { kind: 'generate', text };
  const written = texts.reduce((sum, { tokens }) => sum + tokens, 0);
  const read = parts.reduce((sum, { context, continuation }) => sum + context.length + continuation.length - 1, 0);
  return {
    answers,
    truncated: [...parts, ...texts].filter(({ isCut }) => isCut).length,
    tokens: read + written,
    computedTokens: computedTokens + written,
    seconds: (performance.now() - began) / 1000,
  };
}
