/** How probable a model finds continuations of contexts: the words that stand for classes, the answers of a test. */

import type { LanguageModel } from '../heads/language-model.ts';
import { checkIds } from '../ids.ts';
import { batchRules } from './batch-rules.ts';
import { Pending } from './pending-score.ts';
import { prefixTrie } from './prefix-trie.ts';
import { cheapestTrie } from './trie-batches.ts';
import { totalOf, Walk } from './trie-walk.ts';

export interface ContinuationRequest {
  /** What comes before; at least one token. */
  readonly context: readonly number[];
  /** What is scored; at least one token. */
  readonly continuation: readonly number[];
}

export interface ContinuationScore {
  /** Sum over the continuation's tokens, in nats. */
  readonly logprob: number;
  readonly logprobs: readonly number[];
  /** Whether greedy decoding would have written exactly this. */
  readonly isGreedy: boolean;
}

export interface ContinuationOptions {
  /**
   * Most sequences in a batch, which are padded to one length then; `auto`, unless given, goes by lengths and by the size of the
   * model's state, and pads nothing where the model can read without (`takesRagged`).
   */
  batchSize?: number | 'auto';
  /** Positions of a sequence that are computed at once. */
  chunk?: number;
  /** Whether what several requests begin with is read once; true unless given. */
  reusePrefixes?: boolean;
  /** Called after each batch. */
  onProgress?: (share: number) => void;
  /** Called with the requests that a batch completed, as soon as they are; waited for. */
  onScored?: (scored: readonly (readonly [request: number, score: ContinuationScore])[]) => void | Promise<void>;
  signal?: AbortSignal;
}

export interface ContinuationScores {
  /** One a request, in their order. */
  readonly scores: readonly ContinuationScore[];
  /** Positions that were computed, without padding. */
  readonly computedTokens: number;
}

/**
 * Log-probability of each continuation after its context. What several requests begin with (the examples of a few-shot
 * prompt, a question with several answers, what two answers begin with) is read once, where that costs less, and the state
 * after it is where each of them goes on.
 * @throws UsageError for an empty context or continuation, or an id that is not of the vocabulary; the signal's reason
 */
export async function scoreContinuations(
  model: LanguageModel,
  requests: readonly ContinuationRequest[],
  options: ContinuationOptions = {},
): Promise<ContinuationScores> {
  requests.forEach(({ context, continuation }, i) => {
    checkIds(`request ${i}: context`, context, model.vocabSize);
    checkIds(`request ${i}: continuation`, continuation, model.vocabSize);
  });
  const scores = new Array<ContinuationScore>(requests.length);
  if (requests.length === 0) return { scores, computedTokens: 0 };
  const pending = requests.map(({ context, continuation }, i) => {
    return new Pending(i, [...context, ...continuation.slice(0, -1)], context.length, continuation);
  });
  const inputs = pending.map(({ input }) => input);
  const rules = batchRules(model, options);
  const roots = (options.reusePrefixes ?? true) ? cheapestTrie(inputs, rules) : prefixTrie(inputs, null);
  const total = totalOf(roots);
  const walk = new Walk(model, pending, rules, options);
  try {
    walk.push(
      roots.map((node) => ({ node, row: 0 })),
      null,
    );
    for (let done = await walk.step(); done; done = await walk.step()) {
      for (const [request, score] of done) scores[request] = score;
      if (done.length) await options.onScored?.(done);
      options.onProgress?.(walk.computedTokens / total);
    }
  } finally {
    walk.dispose();
  }
  return { scores, computedTokens: walk.computedTokens };
}
