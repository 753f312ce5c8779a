/** Blocks of tokens on a device, and the mean loss of held-out examples. */
import { KraitError } from '../core/index.ts';
import { choiceLoss, detachState, FLAG_PAD, keepLast, type LanguageModel, type ModelState } from '../models/index.ts';
import { type Device, embedding, type HeadLossOptions, IGNORE_INDEX, reshape, type Tensor } from '../tensor/index.ts';
import type { Evaluation } from '../train/index.ts';
import { isTarget, type TokenBatch, type TokenExample } from './batches/index.ts';

/** The tensors of a block: ids, targets, flags i32 [rows, length]. */
export function batchTensors(
  device: Device,
  { rows, length, ids, targets, flags }: TokenBatch,
): { ids: Tensor; targets: Tensor; flags: Tensor | null } {
  const tensor = (values: Int32Array) => device.from(values, [rows, length], 'i32');
  return { ids: tensor(ids), targets: tensor(targets), flags: flags && tensor(flags) };
}

/**
 * What is carried from one block of a text to the next of `length` positions: the state, cut off from the graph that made
 * it; of one that grows, as many positions as with the block fill the model's memory. A new state; the old one stays.
 */
export function carriedState(model: LanguageModel, state: ModelState, length: number): ModelState {
  const { contextLength, backbone } = model;
  if (contextLength === null) return detachState(state);
  return keepLast(state, backbone.stateKind, Math.max(0, contextLength - length));
}

/**
 * The positions of a block that carry loss, or the first where none does: hidden states [n, d], and the token that is right
 * at each.
 */
function pickTargets(hidden: Tensor, { targets }: Pick<TokenBatch, 'targets'>): { hidden: Tensor; ids: Int32Array } {
  const { device } = hidden;
  const carrying = Int32Array.from(targets.keys()).filter((i) => targets[i] !== IGNORE_INDEX);
  const positions = carrying.length > 0 ? carrying : Int32Array.of(0);
  const rows = reshape(hidden, [targets.length, hidden.shape[hidden.rank - 1]]);
  const picked = embedding(rows, device.from(positions, [positions.length], 'i32'));
  return { hidden: picked, ids: positions.map((i) => targets[i]) };
}

/**
 * Most of the positions that are picked out. Of 512, 55, 75 and 95 % took a head of 4,096 or 50,280 tokens 0.6, 0.8 and 0.9 to
 * 1.0 of the time that all take. Picking itself takes what 2 % of a head of 4,096 do, and 6 % of one of 1,024 (Cascade Lake).
 */
const MOST_PICKED = 0.9;

/**
 * Loss of a block; hidden [rows, length, d], targets i32 [rows, length], the same as the block's. Where some positions
 * carry none (prompts before answers, padding), the output head, a large share of a small model's work, is computed for
 * the others alone. With `choices`, token ids, the loss is that of choosing among them.
 * @throws KraitError if a target is not among the choices
 */
export function blockLoss(
  model: LanguageModel,
  hidden: Tensor,
  targets: Tensor,
  batch: TokenBatch,
  { choices, ...options }: HeadLossOptions & { choices?: readonly number[] },
): Tensor {
  if (!choices && batch.targetCount > MOST_PICKED * batch.targets.length) return model.loss(hidden, targets, options);
  const picked = pickTargets(hidden, batch);
  const right = picked.ids.map((id) => (choices && id !== IGNORE_INDEX ? choices.indexOf(id) : id));
  const missing = right.indexOf(-1);
  if (missing >= 0) throw new KraitError(`choices: ${choices} lack the target ${picked.ids[missing]}; add it`);
  const wanted = model.device.from(right, [right.length], 'i32');
  if (!choices) return model.loss(picked.hidden, wanted, options);
  return choiceLoss(model.logits(picked.hidden), choices, wanted, options);
}

/** Positions from `start` of some examples, a row each, padded on the right. */
function pieceOf(examples: readonly TokenExample[], start: number, length: number): TokenBatch {
  const rows = examples.length;
  const ids = new Int32Array(rows * length);
  const targets = new Int32Array(rows * length).fill(IGNORE_INDEX);
  const flags = new Int32Array(rows * length).fill(FLAG_PAD);
  let targetCount = 0;
  let tokenCount = 0;
  examples.forEach((example, r) => {
    for (let t = start; t < Math.min(start + length, example.ids.length); t++) {
      const at = r * length + t - start;
      ids[at] = example.ids[t];
      flags[at] = 0;
      tokenCount++;
      if (t + 1 >= example.ids.length || !isTarget(example, t + 1)) continue;
      targets[at] = example.ids[t + 1];
      targetCount++;
    }
  });
  return { rows, length, ids, targets, flags, targetCount, tokenCount, isContinued: start > 0 };
}

/** Every example once: rows of like length together, pieces of `maxLength` positions one after the other. */
function* piecesOf(examples: readonly TokenExample[], batchSize: number, maxLength: number): Generator<TokenBatch> {
  const sorted = [...examples].sort((a, b) => a.ids.length - b.ids.length);
  for (let at = 0; at < sorted.length; at += batchSize) {
    const rows = sorted.slice(at, at + batchSize);
    const longest = rows[rows.length - 1].ids.length;
    for (let start = 0; start < longest; start += maxLength) {
      yield pieceOf(rows, start, Math.min(maxLength, longest - start));
    }
  }
}

export interface LanguageEvaluationOptions {
  /** Examples that are read at the same time. */
  batchSize: number;
  /** Positions that are computed at once; longer examples go on with their state carried, as `carriedState` has it. */
  maxLength: number;
  signal?: AbortSignal;
}

/**
 * Mean loss over the targets of all examples, in nats; `perplexity`, and `bits_per_byte` where bytes are known.
 * Gradients are off. Queues a piece while the one before runs.
 */
export async function evaluateLanguage(
  model: LanguageModel,
  examples: readonly TokenExample[],
  { batchSize, maxLength, signal }: LanguageEvaluationOptions,
): Promise<Evaluation> {
  const { device } = model;
  let state: ModelState | null = null;
  let nats = 0;
  let targets = 0;
  let before: Promise<number> | null = null;
  try {
    for (const piece of piecesOf(examples, batchSize, maxLength)) {
      if (signal?.aborted) break;
      const from: ModelState | null = piece.isContinued ? state : null;
      const after = device.noGrad(() =>
        device.scope(() => {
          const { ids, targets: wanted, flags } = batchTensors(device, piece);
          const { hidden, state: next } = model.forward(ids, { flags, state: from, wantState: true });
          const loss = blockLoss(model, hidden, wanted, piece, { normalizer: 1 });
          return { loss, next: carriedState(model, next!, maxLength) };
        }),
      );
      state?.dispose();
      state = after.next;
      const loss: Promise<number> = after.loss.item();
      after.loss.dispose();
      loss.catch(() => undefined);
      targets += piece.targetCount;
      if (before) nats += await before;
      before = loss;
    }
    if (before) nats += await before;
  } finally {
    state?.dispose();
  }
  const loss = nats / targets;
  const bytes = examples.reduce((sum, example) => sum + example.bytes, 0);
  return { loss, perplexity: Math.exp(loss), ...(bytes > 0 && { bits_per_byte: nats / Math.LN2 / bytes }) };
}
