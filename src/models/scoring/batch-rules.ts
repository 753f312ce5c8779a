/** How many sequences of a model are computed together, so that their states fit. */

import type { LanguageModel } from '../heads/language-model.ts';
import { stateBytes } from '../state/kinds.ts';
import type { ContinuationOptions } from './requests.ts';
import type { BatchRules } from './trie-batches.ts';

const MOST_ROWS = 256;
/**
 * Bytes of the states of a level, or of a batch, where their sizes are ours to choose. For a moment there are three times as
 * many: of the parents, of the level's batches, and of these joined.
 */
const STATE_BYTES = 256 * 2 ** 20;

/** Most sequences of a length in a batch, so that their states take no more than `STATE_BYTES`. */
function mostRows(model: LanguageModel): (length: number) => number {
  const { layers, sequence } = model.backbone.stateKind;
  const { fixed, perPosition } = stateBytes([...layers, sequence]);
  return (length) => Math.max(1, Math.min(MOST_ROWS, Math.floor(STATE_BYTES / (fixed + perPosition * length))));
}

/** Rules of batches: from the options, else from the model. */
export const batchRules = (
  model: LanguageModel,
  { batchSize = 'auto', chunk = null }: Pick<ContinuationOptions, 'batchSize'> & { chunk?: number | null },
): BatchRules => ({
  isFixed: batchSize !== 'auto',
  most: batchSize === 'auto' ? mostRows(model) : () => batchSize,
  takesRagged: model.backbone.takesRagged,
  chunk,
});
