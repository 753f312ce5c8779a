/**
 * Sequences of different lengths side by side without padding: all positions lie one after the other in [1, n, d], which
 * products and norms read as they read any rows; kernels that walk along sequences go piece by piece, each piece a
 * number of sequences of one length.
 */
import { KraitError, ShapeError } from '../../core/index.ts';
import { willRecord } from '../autograd.ts';
import type { Tensor } from '../tensor.ts';
import { narrow } from './shape.ts';

/** So many sequences of so many positions, one after the other. */
export interface Piece {
  readonly rows: number;
  readonly length: number;
}

/** Views of one piece; what is absent stays so. */
export interface PieceView extends Piece {
  /** Its positions of [1, n, d], or of [1, n] without `d`: [rows, length(, d)]. */
  positions<T extends Tensor | null>(t: T): T;
  /** Its sequences' rows of a state [all sequences, ...]. */
  sequences<T extends Tensor | null>(t: T): T;
}

/** How many sequences the pieces hold. */
export const sequencesOf = (pieces: readonly Piece[]): number => pieces.reduce((sum, { rows }) => sum + rows, 0);

/** @throws ShapeError unless the pieces take all positions; KraitError while gradients are recorded */
export function checkPieces(op: string, n: number, pieces: readonly Piece[], inputs: readonly (Tensor | null)[]): void {
  const positions = pieces.reduce((sum, { rows, length }) => sum + rows * length, 0);
  if (positions !== n) throw new ShapeError(op, 'pieces', `${n} positions in all`, `${positions}`);
  if (willRecord(...inputs)) throw new KraitError(`${op}: pieces have no gradients; give them inside noGrad()`);
}

/** Works on one piece after the other. The views end with the call. */
export function forPieces(pieces: readonly Piece[], work: (view: PieceView) => void): void {
  let position = 0;
  let sequence = 0;
  for (const { rows, length } of pieces) {
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
