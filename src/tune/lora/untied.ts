/**
 * The ablation of tied adapters. The rows of `x_proj` are the step's input, B and C. LoRA on it shares one down-projection
 * among these three row groups: W + s U V with V [r, k]. Untied, each group has its own, of a third of the rank:
 *
 *   rows of group p:  y_p += s U_p V_p x,   U_p [n_p, r/3], V_p [r/3, k],   p in {step, B, C}
 *
 * The three V_p are stacked in A [r, k], which is as large as the shared one. The U_p are stacked in B [n, r/3], a third of
 * U [n, r]. So untied trains n r 2/3 fewer numbers of r (n + k).
 * Source of the question: Halloran, Gulati and Roysdon 2024, the theorem on weight tying, which comes without an ablation.
 *
 * PEFT has no such adapter. It can be trained, merged and measured here, but not saved as an adapter.
 */
import { ConfigError } from '../../core/index.ts';
import type { AdaptableLayer } from '../../nn/index.ts';
import { productDims, record, type Tensor } from '../../tensor/index.ts';

/** Row groups of a layer's weight, each with its own down-projection: number of rows of each, in order, of all rows. */
export type RowGroups = readonly number[];

/** Row groups of a layer; null for a layer that shares one down-projection. */
export type RowGroupsOf = (layer: AdaptableLayer) => RowGroups | null;

/** @throws ConfigError for a rank that the groups cannot share evenly, or groups that are not all rows of the layer */
export function untiedShapes(layer: AdaptableLayer, groups: RowGroups, rank: number): { A: number[]; B: number[] } {
  const [n, k] = layer.weight.shape;
  const rows = groups.reduce((sum, count) => sum + count, 0);
  if (layer.kind !== 'linear' || rows !== n) {
    throw new ConfigError(`untied: ${layer.name} is no linear layer of ${rows} rows (${groups.join(' + ')})`);
  }
  if (rank % groups.length !== 0) {
    const nearest = Math.max(1, Math.round(rank / groups.length)) * groups.length;
    throw new ConfigError(`untied: rank ${rank} does not share out to ${groups.length}; give ${nearest}, say`);
  }
  return { A: [rank, k], B: [n, rank / groups.length] };
}

/** First row of each group. */
const startsOf = (groups: RowGroups): number[] => groups.map((_, p) => groups.slice(0, p).reduce((a, b) => a + b, 0));

/** Columns `from` to `from + count` of a tensor, in place. */
const columns = (x: Tensor, from: number, count: number): Tensor =>
  x.alias([...x.shape.slice(0, -1), count], x.offset + from, x.ld);

/** Rows of a dense matrix, in place. */
const rows = (x: Tensor, from: number, count: number): Tensor => x.alias([count, x.cols], x.offset + from * x.ld);

/** For each group: its columns of y, its rows of B, its columns of h. */
function* placesOf(groups: RowGroups, q: number): Generator<{ from: number; count: number; low: number }> {
  const starts = startsOf(groups);
  for (const [p, count] of groups.entries()) yield { from: starts[p], count, low: p * q };
}

/**
 * y_p + scale * h_p b_p^T for each group p: y [..., n], h [..., q groups], b [n, q]. The result takes the memory of y, as
 * with the tied product.
 */
export function addRowGroups(y: Tensor, h: Tensor, b: Tensor, groups: RowGroups, scale: number): Tensor {
  const { device } = y;
  const [, q] = b.shape;
  const m = y.rows;
  const out = y.alias();
  device.scope(() => {
    for (const { from, count, low } of placesOf(groups, q)) {
      const tensors = { a: columns(h, low, q), b: rows(b, from, count), c: columns(out, from, count) };
      device.launch('matmul', tensors, productDims({ m, n: count, k: q, transB: true }), { alpha: scale, beta: 1 });
    }
  });
  record('addRowGroups', [y, h, b], [out], [h, b], ([dy], [hidden, factor], needs) => {
    const g = dy!;
    const alpha = { alpha: scale, beta: 0 };
    const dh = needs[1] ? device.empty(hidden.shape, hidden.dtype) : null;
    const db = needs[2] ? device.empty(factor.shape, factor.dtype) : null;
    device.scope(() => {
      for (const { from, count, low } of placesOf(groups, q)) {
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

/** Change of the weight, [n, k]: s U_p V_p in the rows of each group. */
export function untiedChange(A: Tensor, B: Tensor, groups: RowGroups, scale: number): Tensor {
  const { device } = A;
  const [n, q] = B.shape;
  const change = device.empty([n, A.cols], A.dtype);
  device.scope(() => {
    for (const { from, count, low } of placesOf(groups, q)) {
      const tensors = { a: rows(B, from, count), b: rows(A, low, q), c: rows(change, from, count) };
      device.launch('matmul', tensors, productDims({ m: count, n: A.cols, k: q }), { alpha: scale, beta: 0 });
    }
  });
  return change;
}
