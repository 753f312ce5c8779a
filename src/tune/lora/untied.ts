/**
 * The ablation of tied adapters. LoRA on `x_proj`, whose rows are the step's input, B and C, shares one down-projection
 * among the three: W + s U V with V [r, k]. Untied, each of them has its own, of a third of the rank:
 *
 *   rows of piece p:  y_p += s U_p V_p x,   U_p [n_p, r/3], V_p [r/3, k],   p in {step, B, C}
 *
 * The three V_p lie one above the other in A [r, k], which is as large as the shared one; the U_p lie one above the other
 * in B [n, r/3], a third of what U [n, r] was. So untied trains n r 2/3 fewer numbers of r (n + k).
 * Source of the question: Halloran, Gulati and Roysdon 2024, the theorem on weight tying, which comes without an ablation.
 *
 * This is no form of adapter that PEFT knows: it is trained, merged and measured here, and not saved as an adapter.
 */
import { ConfigError } from '../../core/index.ts';
import type { AdaptableLayer } from '../../nn/index.ts';
import { productDims, record, type Tensor } from '../../tensor/index.ts';

/** Rows of a layer's weight that have a down-projection to themselves: their numbers, in order, all rows of the layer. */
export type Pieces = readonly number[];

/** Matrices of B that tell the pieces of a model's layers apart, by the layer's name; null for a layer with one piece. */
export type PiecesOf = (layer: AdaptableLayer) => Pieces | null;

/** @throws ConfigError for a rank that the pieces cannot share evenly, or pieces that are not the layer's rows */
export function untiedShapes(layer: AdaptableLayer, pieces: Pieces, rank: number): { A: number[]; B: number[] } {
  const [n, k] = layer.weight.shape;
  const rows = pieces.reduce((sum, count) => sum + count, 0);
  if (layer.kind !== 'linear' || rows !== n) {
    throw new ConfigError(`untied: ${layer.name} is no linear layer of ${rows} rows (${pieces.join(' + ')})`);
  }
  if (rank % pieces.length !== 0) {
    const nearest = Math.max(1, Math.round(rank / pieces.length)) * pieces.length;
    throw new ConfigError(`untied: rank ${rank} does not share out to ${pieces.length}; give ${nearest}, say`);
  }
  return { A: [rank, k], B: [n, rank / pieces.length] };
}

/** Where each piece begins. */
const startsOf = (pieces: Pieces): number[] => pieces.map((_, p) => pieces.slice(0, p).reduce((a, b) => a + b, 0));

/** Columns `from` to `from + count` of a tensor, in place. */
const columns = (x: Tensor, from: number, count: number): Tensor =>
  x.alias([...x.shape.slice(0, -1), count], x.offset + from, x.ld);

/** Rows of a dense matrix, in place. */
const rows = (x: Tensor, from: number, count: number): Tensor => x.alias([count, x.cols], x.offset + from * x.ld);

/** For every piece: its columns of y, its rows of B, its columns of h. */
function* placesOf(pieces: Pieces, q: number): Generator<{ from: number; count: number; low: number }> {
  const starts = startsOf(pieces);
  for (const [p, count] of pieces.entries()) yield { from: starts[p], count, low: p * q };
}

/**
 * y_p + scale * h_p b_p^T for every piece p: y [..., n], h [..., q pieces], b [n, q]. Takes y over and adds in its memory,
 * as the tied product does.
 */
export function addPieces(y: Tensor, h: Tensor, b: Tensor, pieces: Pieces, scale: number): Tensor {
  const { device } = y;
  const [, q] = b.shape;
  const m = y.rows;
  const out = y.alias();
  device.scope(() => {
    for (const { from, count, low } of placesOf(pieces, q)) {
      const tensors = { a: columns(h, low, q), b: rows(b, from, count), c: columns(out, from, count) };
      device.launch('matmul', tensors, productDims({ m, n: count, k: q, transB: true }), { alpha: scale, beta: 1 });
    }
  });
  record('addPieces', [y, h, b], [out], [h, b], ([dy], [hidden, factor], needs) => {
    const g = dy!;
    const alpha = { alpha: scale, beta: 0 };
    const dh = needs[1] ? device.empty(hidden.shape, hidden.dtype) : null;
    const db = needs[2] ? device.empty(factor.shape, factor.dtype) : null;
    device.scope(() => {
      for (const { from, count, low } of placesOf(pieces, q)) {
        const own = columns(g, from, count);
        const toHidden = productDims({ m, n: q, k: count });
        const inner = dh && columns(dh, low, q);
        if (inner) device.launch('matmul', { a: own, b: rows(factor, from, count), c: inner }, toHidden, alpha);
        const toFactor = productDims({ m: count, n: q, k: m, transA: true });
        const outer = db && rows(db, from, count);
        if (outer) device.launch('matmul', { a: own, b: columns(hidden, low, q), c: outer }, toFactor, alpha);
      }
    });
    return [needs[0] ? g.alias() : null, dh, db];
  });
  return out;
}

/** The change of the weight that the pieces amount to: s U_p V_p in the rows of each; [n, k]. */
export function untiedChange(A: Tensor, B: Tensor, pieces: Pieces, scale: number): Tensor {
  const { device } = A;
  const [n, q] = B.shape;
  const change = device.empty([n, A.cols], A.dtype);
  device.scope(() => {
    for (const { from, count, low } of placesOf(pieces, q)) {
      const tensors = { a: rows(B, from, count), b: rows(A, low, q), c: rows(change, from, count) };
      device.launch('matmul', tensors, productDims({ m: count, n: A.cols, k: q }), { alpha: scale, beta: 0 });
    }
  });
  return change;
}
