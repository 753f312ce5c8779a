/** Matrix products. Half-precision operands are multiplied with f32 accumulation; the result is rounded once. */
import { type DType, formatShape, ShapeError, sameShape, sizeOf } from '../../core/index.ts';
import { record } from '../autograd.ts';
import type { Tensor } from '../tensor.ts';
import { cast } from './elementwise.ts';
import { checkRowScale } from './row-scale.ts';
import { contiguous } from './shape.ts';

export interface ProductOptions {
  transA?: boolean;
  transB?: boolean;
  /** Element type of the result; that of `a` unless given. */
  dtype?: DType;
  /** Factor on the product. */
  alpha?: number;
}

/** Rows and columns of the result, the inner size, and which operands are read transposed. */
export interface ProductSizes {
  m: number;
  n: number;
  k: number;
  transA?: boolean;
  transB?: boolean;
}

/**
 * Dims of a launch of `matmul` that is not batched. Written out in one literal: V8 makes a new hidden class of every
 * object that is a spread with more after it, and hidden classes stay on the heap until it is collected as a whole.
 */
export const productDims = ({ m, n, k, transA = false, transB = false }: ProductSizes): Record<string, number> => ({
  batch: 1,
  m,
  n,
  k,
  transA: Number(transA),
  transB: Number(transB),
  strideA: 0,
  strideB: 0,
  strideC: 0,
});

interface Layout {
  batch: number;
  m: number;
  n: number;
  k: number;
  strideA: number;
  strideB: number;
}

function layoutOf(a: Tensor, b: Tensor, transA: boolean, transB: boolean): Layout {
  if (a.rank < 2 || b.rank < 2)
    throw new ShapeError('matmul', a.rank < 2 ? 'a' : 'b', 'at least 2 axes', (a.rank < 2 ? a : b).shape);
  const [ar, ac] = a.shape.slice(-2);
  const [br, bc] = b.shape.slice(-2);
  const [m, k] = transA ? [ac, ar] : [ar, ac];
  const [kb, n] = transB ? [bc, br] : [br, bc];
  if (k !== kb)
    throw new ShapeError(
      'matmul',
      'b',
      `${k} ${transB ? 'columns' : 'rows'} to fit a ${formatShape(a.shape)}`,
      b.shape,
    );
  const leadA = a.shape.slice(0, -2);
  const leadB = b.shape.slice(0, -2);
  const shared = leadB.length === 0;
  if (!shared && !sameShape(leadA, leadB)) {
    throw new ShapeError('matmul', 'b', `leading axes ${formatShape(leadA)} or none`, b.shape);
  }
  return { batch: sizeOf(leadA), m, n, k, strideA: ar * a.ld, strideB: shared ? 0 : br * b.ld };
}

function product(
  a: Tensor,
  b: Tensor,
  { transA = false, transB = false, dtype = a.dtype, alpha = 1 }: ProductOptions,
): Tensor {
  const { batch, m, n, k, strideA, strideB } = layoutOf(a, b, transA, transB);
  const c = a.device.empty([...a.shape.slice(0, -2), m, n], dtype);
  const dims = { batch, m, n, k, transA: Number(transA), transB: Number(transB), strideA, strideB, strideC: m * n };
  a.device.launch('matmul', { a, b, c }, dims, { alpha, beta: 0 });
  return c;
}

/**
 * alpha * op(a) op(b). a is [..., m, k] ([..., k, m] if transA); b is [..., k, n] ([..., n, k] if transB) with the same
 * leading axes, or a plain matrix shared by all of them. Result [..., m, n].
 * @throws ShapeError naming the operand that does not fit.
 */
export function matmul(a: Tensor, b: Tensor, options: ProductOptions = {}): Tensor {
  const { transA = false, transB = false, alpha = 1 } = options;
  const c = product(a, b, options);
  record('matmul', [a, b], [c], [a, b], ([dc], [x, y], needs) => {
    // c = op(x) op(y): d op(x) = dc op(y)^T, d op(y) = op(x)^T dc, each transposed back where it was stored so.
    const g = contiguous(dc!);
    const flat = (t: Tensor) => t.alias([t.rows, t.cols], t.offset, t.ld);
    const dx = !needs[0]
      ? null
      : transA
        ? product(y.rank < x.rank ? broadcastLike(y, x) : y, g, { transA: transB, transB: true, dtype: x.dtype, alpha })
        : product(g, y, { transB: !transB, dtype: x.dtype, alpha });
    if (!needs[1]) return [dx, null];
    const sharedB = y.rank < x.rank;
    if (!sharedB) {
      const dy = transB
        ? product(g, x, { transA: true, transB: transA, dtype: y.dtype, alpha })
        : product(x, g, { transA: !transA, dtype: y.dtype, alpha });
      return [dx, dy];
    }
    if (transA)
      throw new ShapeError('matmul', 'a', 'no transA where b is shared by a batch and wants a gradient', x.shape);
    const dy = transB
      ? product(flat(g), flat(x), { transA: true, dtype: y.dtype, alpha })
      : product(flat(x), flat(g), { transA: true, dtype: y.dtype, alpha });
    return [dx, dy];
  });
  return c;
}

/** A matrix repeated over the leading axes of `like`. */
function broadcastLike(matrix: Tensor, like: Tensor): Tensor {
  const lead = like.shape.slice(0, -2);
  const copies = sizeOf(lead);
  const out = matrix.device.empty([...lead, ...matrix.shape], matrix.dtype);
  const dims = {
    n0: 1,
    n1: 1,
    n2: 1,
    n3: copies,
    n4: matrix.rows,
    n5: matrix.cols,
    s0: 0,
    s1: 0,
    s2: 0,
    s3: 0,
    s4: matrix.ld,
    s5: 1,
  };
  matrix.device.launch('permute', { x: matrix, y: out }, dims);
  return out;
}

const isHalf = (dtype: DType) => dtype === 'bf16' || dtype === 'f16';

/**
 * y = x W^T + bias: x [..., k], weight [n, k], bias [n] -> [..., n].
 *
 * Mixed precision: where x is a half type and the weight is f32 (a master weight), the product is taken in x's
 * type, and the weight's gradient is accumulated and returned in f32 without being rounded on the way.
 *
 * A weight of i8 comes with `scale` f32 [n]: y = (x W^T) * scale + bias. It has no gradient, nor has x through it.
 * @throws ShapeError if the weight's columns are not x's; as `checkRowScale`.
 */
export function linear(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null = null,
  { dtype = x.dtype, scale = null }: { dtype?: DType; scale?: Tensor | null } = {},
): Tensor {
  const [n, k] = weight.shape;
  if (weight.rank !== 2 || k !== x.cols) throw new ShapeError('linear', 'weight', `[n, ${x.cols}]`, weight.shape);
  if (bias && bias.size !== n) throw new ShapeError('linear', 'bias', `[${n}]`, bias.shape);
  checkRowScale('linear', 'weight', weight, scale, [x]);
  const { device } = x;
  const m = x.rows;
  const y = device.empty([...x.shape.slice(0, -1), n], dtype);
  const inComputeType = (w: Tensor) => (isHalf(x.dtype) && w.dtype === 'f32' ? cast(w, x.dtype) : w);
  device.noGrad(() =>
    device.scope(() => {
      const tensors = { a: x, b: inComputeType(weight), bias, c: y, scale };
      device.launch('matmul', tensors, productDims({ m, n, k, transB: true }), { alpha: 1, beta: 0 });
    }),
  );
  record('linear', bias ? [x, weight, bias] : [x, weight], [y], [x, weight], ([dy], [input, w], needs, take) => {
    const g = dy!;
    let dx: Tensor | null = null;
    let dw: Tensor | null = null;
    let db: Tensor | null = null;
    if (needs[0]) {
      const before = take(0); // of an adapter beside this layer, say
      dx = before ?? device.empty(input.shape, input.dtype);
      const tensors = { a: g, b: inComputeType(w), c: dx };
      device.launch('matmul', tensors, productDims({ m, n: k, k: n }), { alpha: 1, beta: before ? 1 : 0 });
    }
    if (needs[1]) {
      dw = device.empty(w.shape, w.dtype);
      device.launch('matmul', { a: g, b: input, c: dw }, productDims({ m: n, n: k, k: m, transA: true }), {
        alpha: 1,
        beta: 0,
      });
    }
    if (needs[2]) {
      db = device.empty([n], bias!.dtype);
      device.launch('reduce', { x: contiguous(g), y: db }, { outer: 1, n: m, inner: n, op: 0 });
    }
    return needs.length === 3 ? [dx, dw, db] : [dx, dw];
  });
  return y;
}
