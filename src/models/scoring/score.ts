/** How probable a model finds the tokens of a text of any length. Continuations of contexts are in `continuations.ts`. */

import type { LanguageModel } from '../heads/language-model.ts';
import { checkIds } from '../ids.ts';
import { scoreContinuations } from './continuations.ts';

/**
 * Log-probability (nats) of each token given all before it, for a text of any length: the state is carried from
 * chunk to chunk, so memory does not grow. The first is null: nothing comes before it.
 * @throws UsageError for an id that is not of the vocabulary
 */
export async function scoreTokens(
  model: LanguageModel,
  ids: ArrayLike<number>,
  options: { chunk?: number; onProgress?: (share: number) => void } = {},
): Promise<(number | null)[]> {
  checkIds('tokens', ids, model.vocabSize);
  if (ids.length === 1) return [null];
  const [first, ...rest] = Array.from(ids);
  const { scores } = await scoreContinuations(model, [{ context: [first], continuation: rest }], options);
  return [null, ...scores[0].logprobs];
}
