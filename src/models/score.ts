/** How probable a model finds the tokens of a text of any length. Continuations of contexts are in `continuations.ts`. */
import { argmax, crossEntropy, type Device, IGNORE_INDEX, narrow, reshape, type Tensor } from '../tensor/index.ts';
import { checkIds } from './ids.ts';
import type { CausalLM, ModelState } from './model.ts';
import { chunkFor } from './prefill.ts';
import { FLAG_PAD } from './sequence-flags.ts';

/** Bytes of logits that are alive at once. */
const LOGIT_BYTES = 32 * 2 ** 20;

/** Of each position: the log-probability of its target in nats, and whether the target was the most probable. */
export interface PositionScores {
  logprobs: Float32Array;
  isBest: boolean[];
}

/** hidden [n, d] against targets; IGNORE_INDEX gives 0. Logits exist for a block of rows at a time. */
export async function scorePositions(model: CausalLM, hidden: Tensor, targets: Int32Array): Promise<PositionScores> {
  const { device } = model;
  const rows = hidden.rows;
  const block = Math.max(1, Math.min(rows, Math.floor(LOGIT_BYTES / (4 * model.vocabSize))));
  const logprobs = new Float32Array(rows);
  const isBest: boolean[] = [];
  for (let at = 0; at < rows; at += block) {
    const part = targets.subarray(at, at + block);
    const { losses, best } = device.noGrad(() =>
      device.scope(() => {
        const logits = model.logits(narrow(hidden, 0, at, part.length));
        return { losses: crossEntropy(logits, device.from(part, [part.length], 'i32')), best: argmax(logits) };
      }),
    );
    const [lost, won] = await Promise.all([losses.read(), best.read()]);
    losses.dispose();
    best.dispose();
    part.forEach((target, i) => {
      logprobs[at + i] = -lost[i];
      isBest.push(won[i] === target);
    });
  }
  return { logprobs, isBest };
}

/** One piece of rows padded on the right; targets under padding carry no loss. */
function pieceOf(device: Device, rows: readonly ArrayLike<number>[], start: number, count: number) {
  const ids = new Int32Array(rows.length * count);
  const flags = new Int32Array(rows.length * count).fill(FLAG_PAD);
  const targets = new Int32Array(rows.length * count).fill(IGNORE_INDEX);
  rows.forEach((row, i) => {
    for (let t = 0; t < count && start + t + 1 < row.length; t++) {
      ids[i * count + t] = row[start + t];
      targets[i * count + t] = row[start + t + 1];
      flags[i * count + t] = 0;
    }
  });
  const shape = [rows.length, count];
  const isPadded = flags.includes(FLAG_PAD);
  return { ids: device.from(ids, shape, 'i32'), flags: isPadded ? device.from(flags, shape, 'i32') : null, targets };
}

/** Scores of each row's tokens after its first, the rows starting from `state` (not consumed). */
export async function scoreRows(
  model: CausalLM,
  rows: readonly ArrayLike<number>[],
  options: { state?: ModelState | null; chunk?: number; onProgress?: (share: number) => void },
): Promise<PositionScores[]> {
  const { device } = model;
  const { chunk = chunkFor(rows.length) } = options;
  const length = rows.reduce((most, row) => Math.max(most, row.length - 1), 0);
  const scores = rows.map((row) => ({
    logprobs: new Float32Array(Math.max(0, row.length - 1)),
    isBest: [] as boolean[],
  }));
  let carried: ModelState | null = null;
  try {
    for (let start = 0; start < length; start += chunk) {
      const count = Math.min(chunk, length - start);
      const before: ModelState | null = carried ?? options.state ?? null;
      const { hidden, state, targets } = device.noGrad(() =>
        device.scope(() => {
          const piece = pieceOf(device, rows, start, count);
          const after = model.forward(piece.ids, { flags: piece.flags, state: before, wantState: true });
          return {
            ...after,
            hidden: reshape(after.hidden, [rows.length * count, model.hiddenSize]),
            targets: piece.targets,
          };
        }),
      );
      carried?.dispose();
      carried = state;
      const scored = await scorePositions(model, hidden, targets);
      hidden.dispose();
      scores.forEach((row, i) => {
        const filled = Math.min(count, row.logprobs.length - start);
        for (let t = 0; t < filled; t++) {
          row.logprobs[start + t] = scored.logprobs[i * count + t];
          row.isBest.push(scored.isBest[i * count + t]);
        }
      });
      options.onProgress?.((start + count) / length);
    }
    return scores;
  } finally {
    carried?.dispose();
  }
}

/**
 * Log-probability (nats) of each token given all before it, for a text of any length: the state is carried from
 * chunk to chunk, so memory does not grow. The first is null: nothing comes before it.
 * @throws UsageError for an id that is not of the vocabulary
 */
export async function scoreTokens(
  model: CausalLM,
  ids: ArrayLike<number>,
  options: { chunk?: number; onProgress?: (share: number) => void } = {},
): Promise<(number | null)[]> {
  checkIds('tokens', ids, model.vocabSize);
  const [{ logprobs }] = await scoreRows(model, [ids], options);
  return [null, ...logprobs];
}
