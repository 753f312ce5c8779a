/** How probable a model finds continuations of contexts: the words that stand for classes, the answers of a test. */

import type { LanguageModel } from '../heads/language-model.ts';
import { checkIds } from '../ids.ts';
import { batchRules } from './batch-rules.ts';
import { Pending } from './pending-score.ts';
import { prefixTrie } from './prefix-trie.ts';
import type { ContinuationOptions, ContinuationRequest, ContinuationScore, ContinuationScores } from './requests.ts';
import { cheapestTrie } from './trie-batches.ts';
import { totalOf, Walk } from './trie-walk.ts';

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
