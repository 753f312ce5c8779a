/**
 * Low-rank changes of a layer: W + s B A, with A [r, k] and B [n, r] trained and W frozen. The product is never formed
 * in training: a linear layer adds s (x A^T) B^T to its output.
 * Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1.
 *
 * | layer       | A       | B       | dropout | file format                                              |
 * |-------------|---------|---------|---------|----------------------------------------------------------|
 * | linear      | [r, k]  | [n, r]  | on x    | PEFT's                                                   |
 * | embedding   | [r, v]  | [d, r]  | none    | PEFT's                                                   |
 * | convolution | [r', k] | [d, r'] | none    | Krait's own: PEFT cannot adapt a depthwise convolution.  |
 * |             |         |         |         | r' = min(r, kernel size): more cannot change more        |
 *
 * Factors are f32 whatever the layer's weights and activations are.
 */
import type { RandomSource } from '../../core/index.ts';
import type { AdaptableLayer, DepthwiseConv, Embedding, Linear } from '../../nn/index.ts';
import {
  add,
  cast,
  dropout,
  embedding,
  linear,
  matmul,
  permute,
  productDims,
  record,
  reshape,
  type Tensor,
} from '../../tensor/index.ts';
import { addRowGroups, type RowGroups, untiedChange, untiedShapes } from './untied.ts';

/** The pair of factors on one layer. */
export interface Factors {
  readonly layer: AdaptableLayer;
  readonly A: Tensor;
  readonly B: Tensor;
  readonly rank: number;
  /** s: alpha / r, or alpha / sqrt(r). */
  readonly scale: number;
  /** Row groups with their own parts of A (`untied.ts`); null if all rows share A, as in PEFT's adapters. */
  readonly rowGroups: RowGroups | null;
}

/** State shared by all adapters of a model. Dropout draws only while `random` is set, that is in training. */
export interface DropoutMode {
  random: RandomSource | null;
  readonly probability: number;
}

/**
 * y + scale * h b^T: y [..., n], h [..., r], b [n, r]. Takes y over and adds in its memory, which must be fresh: the
 * output of a layer, not needed for a gradient.
 */
function addProduct(y: Tensor, h: Tensor, b: Tensor, scale: number): Tensor {
  const { device } = y;
  const [n, r] = b.shape;
  const m = y.rows;
  const out = y.alias();
  const forward = productDims({ m, n, k: r, transB: true });
  device.launch('matmul', { a: h, b, c: out }, forward, { alpha: scale, beta: 1 });
  record('addProduct', [y, h, b], [out], [h, b], ([dy], [hidden, factor], needs) => {
    const g = dy!;
    const alpha = { alpha: scale, beta: 0 };
    const dh = needs[1] ? device.empty(hidden.shape, hidden.dtype) : null;
    const db = needs[2] ? device.empty(factor.shape, factor.dtype) : null;
    const toHidden = productDims({ m, n: r, k: n });
    if (dh) device.launch('matmul', { a: g, b: factor, c: dh }, toHidden, alpha);
    const toFactor = productDims({ m: n, n: r, k: m, transA: true });
    if (db) device.launch('matmul', { a: g, b: hidden, c: db }, toFactor, alpha);
    return [needs[0] ? g.alias() : null, dh, db];
  });
  return out;
}

/** Puts the factors to work on their layer. */
export function activate(factors: Factors, mode: DropoutMode): void {
  const { layer, A, B, scale, rowGroups } = factors;
  switch (layer.kind) {
    case 'linear':
      layer.adapter = {
        apply(x, y) {
          const input = mode.random && mode.probability > 0 ? dropout(x, mode.probability, mode.random) : x;
          const low = linear(input, A, null, { dtype: A.dtype });
          return rowGroups ? addRowGroups(y, low, B, rowGroups, scale) : addProduct(y, low, B, scale);
        },
      };
      break;
    case 'embedding':
      layer.adapter = { apply: (ids, y) => addProduct(y, embedding(permute(A, [1, 0]), ids), B, scale) };
      break;
    case 'conv':
      layer.adapter = { weight: (base) => add(base, reshape(matmul(B, A, { alpha: scale }), base.shape)) };
      break;
  }
}

/** Takes the factors off their layer, which is then as it was. */
export function deactivate({ layer }: Factors): void {
  (layer as Linear | Embedding | DepthwiseConv).adapter = null;
}

/** Shapes of the factors on a layer. @throws ConfigError for rowGroups that the rank or the layer does not have */
export function factorShapes(
  layer: AdaptableLayer,
  rank: number,
  rowGroups: RowGroups | null,
): { rank: number; A: number[]; B: number[] } {
  if (rowGroups) return { rank, ...untiedShapes(layer, rowGroups, rank) };
  const [n] = layer.weight.shape;
  const columns = layer.weight.size / n;
  if (layer.kind === 'embedding') return { rank, A: [rank, n], B: [columns, rank] };
  const r = layer.kind === 'conv' ? Math.min(rank, columns) : rank;
  return { rank: r, A: [r, columns], B: [n, r] };
}

/** W + s B A as a new tensor in the layer's type; computed in f32 and rounded once. */
export function mergedWeight({ layer, A, B, scale, rowGroups }: Factors): Tensor {
  const base = layer.weight;
  const { device } = base;
  return device.noGrad(() =>
    device.scope(() => {
      const change = rowGroups ? untiedChange(A, B, rowGroups, scale) : matmul(B, A, { alpha: scale });
      const placed = layer.kind === 'embedding' ? permute(change, [1, 0]) : reshape(change, base.shape);
      const merged = cast(add(cast(base, A.dtype), placed), base.dtype);
      return device.keep(merged);
    }),
  );
}
