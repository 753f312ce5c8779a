/**
 * Requests as tokens, by the rules of lm-evaluation-harness (api/model.py `_encode_pair`, models/huggingface.py,
 * utils.py `get_rolling_token_windows`, at 4e7e0d4), so that scores can be compared.
 */
import { UsageError } from '../../core/index.ts';
import type { Tokenizer } from '../../io/index.ts';
import type { ContinuationRequest } from '../../models/index.ts';
import { SPACES } from '../python/text.ts';
import type { LoglikelihoodRequest } from '../requests.ts';

/** The part of a tokenizer that evaluation uses. */
export type Encoder = Pick<Tokenizer, 'encode' | 'decode' | 'bosId' | 'eosId' | 'path'>;

const TRAILING_SPACE = new RegExp(`[${SPACES}]+$`);

/** The token before a text that nothing comes before: BOS, else EOS. @throws UsageError if there is neither */
export function prefixToken(tokenizer: Encoder): number {
  const id = tokenizer.bosId ?? tokenizer.eosId;
  if (id !== null) return id;
  throw new UsageError(
    `${tokenizer.path}: names neither bos_token nor eos_token to begin a text with; name one of them`,
  );
}

/** Tokens of a text with what the tokenizer puts around it, unless the text itself begins with the first token. */
export function encodeText(tokenizer: Encoder, text: string): number[] {
  const prefix = tokenizer.bosId ?? tokenizer.eosId;
  const first = prefix === null ? '' : tokenizer.decode([prefix], { skipSpecialTokens: false });
  return tokenizer.encode(text, { addSpecialTokens: !(first && text.startsWith(first)) });
}

/**
 * A context and its continuation as tokens. White space between them belongs to the continuation; the context's tokens
 * are those of the context alone, the continuation's what the tokens of both together have more.
 * @throws UsageError for a continuation that adds no token
 */
export function encodePair(tokenizer: Encoder, request: LoglikelihoodRequest): ContinuationRequest {
  const [space = ''] = TRAILING_SPACE.exec(request.context) ?? [];
  const context = request.context.slice(0, request.context.length - space.length);
  const text = space + request.continuation;
  const pair = context === '' ? encodeAlone(tokenizer, text) : encodeAfter(tokenizer, context, text);
  if (pair.continuation.length > 0 && pair.context.length > 0) return pair;
  const what = JSON.stringify(request.continuation);
  throw new UsageError(`the continuation ${what} adds no token to its context; give one that does`);
}

function encodeAfter(tokenizer: Encoder, context: string, continuation: string): ContinuationRequest {
  const before = encodeText(tokenizer, context);
  return { context: before, continuation: encodeText(tokenizer, context + continuation).slice(before.length) };
}

function encodeAlone(tokenizer: Encoder, text: string): ContinuationRequest {
  const first = prefixToken(tokenizer);
  const ids = tokenizer.encode(text, { addSpecialTokens: false });
  return ids[0] === first ? { context: [first], continuation: ids.slice(1) } : { context: [first], continuation: ids };
}

/**
 * Leaves `maxLength` tokens for the model to read, which is one less than there are, by cutting the context on the left.
 * @throws UsageError if the continuation alone is longer
 */
export function truncatePair(pair: ContinuationRequest, maxLength: number): ContinuationRequest & { isCut: boolean } {
  const { context, continuation } = pair;
  const surplus = context.length + continuation.length - (maxLength + 1);
  if (surplus <= 0) return { ...pair, isCut: false };
  if (surplus < context.length) return { context: context.slice(surplus), continuation, isCut: true };
  throw new UsageError(
    `a continuation of ${continuation.length} tokens does not fit the longest input of ${maxLength}; raise --max-length`,
  );
}

/**
 * A text as windows of at most `maxLength` tokens, of which each token is scored once: the first follows the prefix
 * token, each later window one token of context, the last as many as fit.
 */
export function rollingWindows(tokenizer: Encoder, text: string, maxLength: number): ContinuationRequest[] {
  const ids = encodeText(tokenizer, text);
  const windows: ContinuationRequest[] = [];
  for (let done = 0; done < ids.length; ) {
    const end = Math.min(ids.length, done + maxLength);
    const from = end - maxLength - 1; // the last window reaches back as far as fits
    const context = done === 0 ? [prefixToken(tokenizer)] : ids.slice(Math.max(0, from), done);
    windows.push({ context, continuation: ids.slice(done, end) });
    done = end;
  }
  return windows;
}
