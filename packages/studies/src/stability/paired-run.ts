/**
 * Runs side by side, and how far they are apart. Either rows of one batch against its first row, which read the same
 * text from states or streams that differ a little, or two models against each other on the same rows.
 */
import type { DType } from 'krait/core';
import { type LanguageModel, lastPosition, type ModelState, stateOf } from 'krait/models';
import { add, argmax, cast, narrow, reshape, square, sub, sum, type Tensor } from 'krait/tensor';

/** How far rows are from their references. */
export interface Distances {
  /** Root mean square over the stretch of |hidden - reference| / |reference|, after the final norm: [rows]. */
  readonly hidden: Float64Array;
  /** Root mean square over the vocabulary of the logits' differences, less their mean, at the end of the stretch: [rows]. */
  readonly logits: Float64Array;
  /** Whether the most probable token is the reference's, there. */
  readonly isSameBest: readonly boolean[];
  /** |state - reference| and |reference| of each layer's recurrent state, [layers][rows]; none without a recurrence. */
  readonly states: readonly { readonly difference: Float64Array; readonly size: Float64Array }[];
}

/** One side of a comparison after a stretch. */
export interface Side {
  readonly hidden: Tensor;
  /** At the last position, f32 [rows, vocabulary]. */
  readonly logits: Tensor;
  readonly state: ModelState;
}

export interface StretchInput {
  readonly state: ModelState | null;
  readonly streamOffset?: Tensor | null;
}

/** Reads a stretch of ids [rows][count]; the caller's to dispose. */
export function runStretch(model: LanguageModel, ids: readonly (readonly number[])[], input: StretchInput): Side {
  const { device } = model;
  return device.noGrad(() =>
    device.scope(() => {
      const rows = device.from(ids.flat(), [ids.length, ids[0].length], 'i32');
      const stream = model.embed(rows);
      const moved = input.streamOffset ? add(stream, input.streamOffset) : stream;
      const { hidden, state } = model.backbone.forward(moved, { state: input.state, wantState: true });
      return { hidden, logits: model.logits(lastPosition(hidden)), state: state! };
    }),
  );
}

const accurate = (dtype: DType): DType => (dtype === 'f64' ? 'f64' : 'f32');

/** Sums of squares along the last axis of [rows, n, size], in f32 or f64. */
const squares = (x: Tensor): Tensor => sum(square(x), 2);

/** Squares of |a - b| and |b| along the last axis, [rows, n] and [1 or rows, n]. */
function apart(a: Tensor, b: Tensor): [Tensor, Tensor] {
  const dtype = accurate(b.dtype);
  const reference = cast(b, dtype);
  return [squares(sub(cast(a, dtype), reference)), squares(reference)];
}

/** Recurrent states of the layers that have one, as [rows, 1, size]. */
function recurrent(state: ModelState): Tensor[] {
  return state.layers.flatMap(({ scan }) =>
    scan ? [reshape(scan, [scan.shape[0], 1, scan.size / scan.shape[0]])] : [],
  );
}

/** Everything that is compared, on the device. */
function differences(side: Side, reference: Side) {
  const [, v] = side.logits.shape;
  const flat = (t: Tensor) => reshape(t, [t.shape[0], 1, v]);
  const off = sub(cast(flat(side.logits), reference.logits.dtype), flat(reference.logits)); // [rows, 1, v]
  const theirs = recurrent(reference.state);
  return {
    hidden: apart(side.hidden, reference.hidden),
    logits: [sum(square(off), 2), sum(off, 2)],
    best: [argmax(side.logits), argmax(reference.logits)],
    states: recurrent(side.state).map((state, i) => apart(state, theirs[i])),
  };
}

const root = (values: ArrayLike<number>): Float64Array => Float64Array.from(values, Math.sqrt);

/** Root mean squares of |a - b| / |b| over positions, for rows [rows, n] against references [1 or rows, n]. */
function relative(difference: ArrayLike<number>, size: ArrayLike<number>, rows: number): Float64Array {
  const count = difference.length / rows;
  return Float64Array.from({ length: rows }, (_, row) => {
    let total = 0;
    for (let t = 0; t < count; t++) {
      const at = row * count + t;
      total += difference[at] / size[at % size.length];
    }
    return Math.sqrt(total / count);
  });
}

/** The first row of a side, as a reference for all of its rows. Views, gone with the scope that makes them. */
function firstRow({ hidden, logits, state }: Side): Side {
  const first = (t: Tensor) => narrow(t, 0, 0, 1);
  const layers = state.layers.map(
    (layer): Record<string, Tensor> => (layer['scan'] ? { scan: first(layer['scan']) } : {}),
  );
  return { hidden: first(hidden), logits: first(logits), state: stateOf(1, layers) };
}

/** Rows against those of `other`, or, without it, against the first of them. */
export async function compareSides(model: LanguageModel, side: Side, other: Side | null = null): Promise<Distances> {
  const { device, vocabSize } = model;
  const rows = side.hidden.shape[0];
  const found = device.noGrad(() => device.scope(() => differences(side, other ?? firstRow(side))));
  const read = async (t: Tensor) => {
    const values = await t.read();
    t.dispose();
    return values;
  };
  const [difference, size] = [await read(found.hidden[0]), await read(found.hidden[1])];
  const [total, shift] = [await read(found.logits[0]), await read(found.logits[1])];
  const [best, wanted] = [await read(found.best[0]), await read(found.best[1])];
  const states = [];
  for (const [apartness, norm] of found.states) {
    const sizes = root(await read(norm));
    const all = Float64Array.from({ length: rows }, (_, row) => sizes[row % sizes.length]);
    states.push({ difference: root(await read(apartness)), size: all });
  }
  return {
    hidden: relative(difference, size, rows),
    logits: Float64Array.from(total, (t, row) => Math.sqrt(Math.max(0, t / vocabSize - (shift[row] / vocabSize) ** 2))),
    isSameBest: Array.from(best, (token, row) => token === wanted[row % wanted.length]),
    states,
  };
}
