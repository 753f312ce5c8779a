/** Reading a prompt: a piece at a time with the state carried along, so that memory does not grow with its length. */
import { type Device, embedding, reshape, type Tensor } from '../tensor/index.ts';
import type { LanguageModel } from './heads/language-model.ts';
import { checkIds } from './ids.ts';
import { FLAG_PAD } from './sequence.ts';
import type { ModelState } from './state/kinds.ts';

const MOST_CHUNK = 512;
const LEAST_CHUNK = 16;
/** Positions of all sequences that are computed at once. */
export const MOST_POSITIONS = 4096;

/** Positions of each of `rows` sequences that are computed at once: enough to keep a device busy, no more. */
export const chunkFor = (rows: number): number =>
  Math.min(MOST_CHUNK, Math.max(LEAST_CHUNK, Math.floor(MOST_POSITIONS / rows)));

export interface PrefillOptions {
  /** State before the first position of every row; not consumed. */
  state?: ModelState | null;
  /** Positions of a sequence that are computed at once; `chunkFor` unless given. */
  chunk?: number;
  /** Called before each piece; may throw to stop. */
  onChunk?: () => void;
}

/** Ids and flags of one piece of rows that are padded on the left to a common length. */
function pieceOf(device: Device, rows: readonly (readonly number[])[], length: number, start: number, count: number) {
  const ids = new Int32Array(rows.length * count);
  const flags = new Int32Array(rows.length * count);
  let isPadded = false;
  rows.forEach((row, i) => {
    const padding = length - row.length;
    for (let t = 0; t < count; t++) {
      const at = start + t - padding;
      if (at >= 0) ids[i * count + t] = row[at];
      else flags[i * count + t] = FLAG_PAD;
      isPadded ||= at < 0;
    }
  });
  const shape = [rows.length, count];
  return { ids: device.from(ids, shape, 'i32'), flags: isPadded ? device.from(flags, shape, 'i32') : null };
}

/** The last position of each sequence: [b, l, d] -> [b, d]. */
export function lastPosition(hidden: Tensor): Tensor {
  const [b, l, d] = hidden.shape;
  const { device } = hidden;
  return device.scope(() => {
    const rows = device.from(
      Array.from({ length: b }, (_, i) => i * l + l - 1),
      [b],
      'i32',
    );
    return embedding(reshape(hidden, [b * l, d]), rows);
  });
}

/**
 * Reads rows of ids (of different lengths, none empty) and returns the hidden state of each row's last token [b, d]
 * and the state after it; both are the caller's. Between pieces it waits for the device, so that a timer can run and
 * little is queued.
 */
export async function prefill(
  model: LanguageModel,
  rows: readonly (readonly number[])[],
  { state = null, chunk = chunkFor(rows.length), onChunk }: PrefillOptions = {},
): Promise<{ hidden: Tensor; state: ModelState }> {
  const { device } = model;
  for (const row of rows) checkIds('prompt', row, model.vocabSize);
  const length = rows.reduce((most, row) => Math.max(most, row.length), 0);
  let carried: ModelState | null = null;
  try {
    for (let start = 0; ; start += chunk) {
      onChunk?.();
      const count = Math.min(chunk, length - start);
      const isLast = start + count >= length;
      const before: ModelState | null = carried ?? state;
      const after = device.noGrad(() =>
        device.scope(() => {
          const { ids, flags } = pieceOf(device, rows, length, start, count);
          const { hidden, state: next } = model.forward(ids, { flags, state: before, wantState: true });
          return { hidden: isLast ? lastPosition(hidden) : null, next: next! };
        }),
      );
      carried?.dispose();
      carried = after.next;
      if (isLast) return { hidden: after.hidden!, state: carried };
      await device.sync();
    }
  } catch (error) {
    carried?.dispose();
    throw error;
  }
}
