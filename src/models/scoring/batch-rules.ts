/** How many sequences of a model are computed together, so that their states fit. */

import type { CausalLM } from '../model.ts';
import type { ContinuationOptions } from './continuations.ts';
import type { BatchRules } from './trie-batches.ts';

const MOST_ROWS = 256;
/**
 * Bytes of the states of a level, or of a batch, where their sizes are ours to choose. For a moment there are three times as
 * many: of the parents, of the level's batches, and of these joined.
 */
const STATE_BYTES = 256 * 2 ** 20;

/** Bytes of a sequence's state: at its start, and what a position adds. */
function stateSize(model: CausalLM): { fixed: number; perToken: number } {
  const { device } = model;
  const bytesAt = (length: number) => {
    const state = device.noGrad(() =>
      device.scope(() => {
        const ids = device.from(new Int32Array(length), [1, length], 'i32');
        return model.forward(ids, { wantState: true }).state!;
      }),
    );
    const bytes = state.layers.flatMap((layer) => Object.values(layer)).reduce((sum, t) => sum + 4 * t.size, 0);
    state.dispose();
    return bytes;
  };
  const one = bytesAt(1);
  const perToken = bytesAt(2) - one;
  return { fixed: one - perToken, perToken };
}

/** Most sequences of a length in a batch, so that their states take no more than `STATE_BYTES`. */
function mostRows(model: CausalLM): (length: number) => number {
  let size: ReturnType<typeof stateSize> | null = null; // measured once there are two sequences
  return (length) => {
    size ??= stateSize(model);
    return Math.max(1, Math.min(MOST_ROWS, Math.floor(STATE_BYTES / (size.fixed + size.perToken * length))));
  };
}

/** What the options leave open is told by the model. */
export const batchRules = (
  model: CausalLM,
  { batchSize = 'auto', chunk = null }: Pick<ContinuationOptions, 'batchSize'> & { chunk?: number | null },
): BatchRules => ({
  isFixed: batchSize !== 'auto',
  most: batchSize === 'auto' ? mostRows(model) : () => batchSize,
  takesPieces: model.takesPieces,
  chunk,
});
