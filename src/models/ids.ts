/** Token ids from outside, checked: a device reads zeros for an id that is not in the table, and says nothing. */
import { KraitError, UsageError } from '../core/index.ts';
import type { Tokenizer } from '../io/index.ts';

/** @throws UsageError if there are none or one is not of the vocabulary */
export function checkIds(what: string, ids: ArrayLike<number>, vocabSize: number): void {
  if (ids.length === 0) throw new UsageError(`${what}: no tokens; give at least one`);
  for (let i = 0; i < ids.length; i++) {
    if (Number.isInteger(ids[i]) && ids[i] >= 0 && ids[i] < vocabSize) continue;
    throw new UsageError(`${what}: token ${i} is ${ids[i]}, the model's ids are 0 to ${vocabSize - 1}`);
  }
}

/**
 * Checks that a tokenizer's ids are rows of a model.
 * @throws KraitError if the tokenizer has more
 */
export function checkTokenizer(tokenizer: Pick<Tokenizer, 'vocabSize' | 'path'>, vocabSize: number): void {
  if (tokenizer.vocabSize <= vocabSize) return;
  const sizes = `${tokenizer.vocabSize} tokens, the model has ${vocabSize} rows`;
  throw new KraitError(`${tokenizer.path}: ${sizes}; use the tokenizer that belongs to the model`);
}
