/**
 * Ragged batches: sequences of different lengths without padding. All positions stand one after the other in [1, n, d].
 * Products and norms read them as rows. Kernels that walk along sequences run once for each part; a part is a number of
 * sequences of one length.
 */
import { KraitError, ShapeError } from '../../core/index.ts';
import { willRecord } from '../autograd.ts';
import type { Tensor } from '../tensor.ts';
import { narrow } from './shape.ts';

/** A part of a ragged batch: `rows` sequences of `length` positions, one after the other. */
export interface RaggedPart {
  readonly rows: number;
  readonly length: number;
}

/** Views of one part. A view of null is null. */
export interface RaggedView extends RaggedPart {
  /** Its positions of [1, n, d], or of [1, n] without `d`: [rows, length(, d)]. */
  positions<T extends Tensor | null>(t: T): T;
  /** Its sequences' rows of a state [all sequences, ...]. */
  sequences<T extends Tensor | null>(t: T): T;
}

/** Number of sequences in a ragged batch. */
export const sequencesOf = (parts: readonly RaggedPart[]): number => parts.reduce((sum, { rows }) => sum + rows, 0);

/** @throws ShapeError unless the parts have all positions; KraitError while gradients are recorded */
export function checkRagged(
  op: string,
  n: number,
  parts: readonly RaggedPart[],
  inputs: readonly (Tensor | null)[],
): void {
  const positions = parts.reduce((sum, { rows, length }) => sum + rows * length, 0);
  if (positions !== n) throw new ShapeError(op, 'ragged', `${n} positions in all`, `${positions}`);
  if (willRecord(...inputs)) throw new KraitError(`${op}: ragged batches have no gradients; give them inside noGrad()`);
}

/** Calls `work` with views of each part, in order. The views end with the call. */
export function forEachPart(parts: readonly RaggedPart[], work: (view: RaggedView) => void): void {
  let position = 0;
  let sequence = 0;
  for (const { rows, length } of parts) {
    const [from, first] = [position, sequence];
    const views: Tensor[] = [];
    const kept = <T extends Tensor>(view: T): T => {
      views.push(view);
      return view;
    };
    work({
      rows,
      length,
      positions: (t) => {
        if (t === null) return t;
        const [, , d] = t.shape;
        if (d === undefined) return kept(t.alias([rows, length], t.offset + from, length)) as typeof t;
        return kept(t.alias([rows, length, d], t.offset + from * t.ld, t.ld)) as typeof t;
      },
      sequences: (t) => {
        if (t === null) return t;
        return kept(narrow(t, 0, first, rows)) as typeof t;
      },
    });
    for (const view of views) view.dispose();
    position += rows * length;
    sequence += rows;
  }
}
