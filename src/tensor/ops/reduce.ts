/** Sums, means, extremes and softmax. */
import { REDUCE_OPS, type ReduceOp } from '../../backend/index.ts';
import { normalizeAxis, type Shape, ShapeError, sizeOf } from '../../core/index.ts';
import { record } from '../autograd.ts';
import type { Tensor } from '../tensor.ts';
import { scale } from './elementwise.ts';
import { contiguous, expand, reshape } from './shape.ts';

function launchReduce(op: ReduceOp, x: Tensor, axis: number, out: Shape): Tensor {
  const { device } = x;
  return device.noGrad(() =>
    device.scope(() => {
      const y = device.empty(out, x.dtype);
      const outer = sizeOf(x.shape.slice(0, axis));
      const inner = sizeOf(x.shape.slice(axis + 1));
      device.launch('reduce', { x: contiguous(x), y }, { outer, n: x.shape[axis], inner, op: REDUCE_OPS.indexOf(op) });
      return y;
    }),
  );
}

function outputShape(op: string, x: Tensor, axis: number): { axis: number; kept: number[]; out: number[] } {
  const a = normalizeAxis(axis, x.rank);
  if (!(a >= 0 && a < x.rank)) throw new ShapeError(op, 'axis', `one of 0..${x.rank - 1}`, `${axis}`);
  const kept = x.shape.map((d, i) => (i === a ? 1 : d));
  return { axis: a, kept, out: x.shape.filter((_, i) => i !== a) };
}

/** Sum over one axis, or over everything (a scalar) if none is given. */
export function sum(x: Tensor, axis?: number): Tensor {
  if (axis === undefined) return sum(reshape(contiguous(x), [x.size]), 0);
  const { axis: a, kept, out } = outputShape('sum', x, axis);
  const y = launchReduce('sum', x, a, out);
  const shape = x.shape;
  record('sum', [x], [y], [], ([dy]) => [expand(reshape(dy!, kept), shape).alias()]);
  return y;
}

/** Mean over one axis, or over everything. */
export function mean(x: Tensor, axis?: number): Tensor {
  const n = axis === undefined ? x.size : x.shape[normalizeAxis(axis, x.rank)];
  return scale(sum(x, axis), 1 / n);
}

/** Largest value along an axis. Not differentiable. */
export function max(x: Tensor, axis: number): Tensor {
  const { axis: a, out } = outputShape('max', x, axis);
  return launchReduce('max', x, a, out);
}

/** Column of the largest value of each row: i32 of the leading shape. The first one wins. */
export function argmax(x: Tensor): Tensor {
  const y = x.device.empty([x.rows, 1], 'i32');
  x.device.launch('argmax', { x, y }, { rows: x.rows, cols: x.cols });
  const out = y.alias(x.shape.slice(0, -1), 0);
  y.dispose();
  return out;
}

function softmaxOver(x: Tensor, log: 0 | 1): Tensor {
  const { device } = x;
  const y = device.empty(x.shape, x.dtype);
  const dims = { rows: x.rows, cols: x.cols, log };
  device.launch('softmax', { x, y }, dims);
  record(log ? 'logSoftmax' : 'softmax', [x], [y], [y], ([dy], [out]) => {
    const dx = device.empty(out.shape, out.dtype);
    device.launch('softmax_bwd', { y: out, dy, dx }, dims);
    return [dx];
  });
  return y;
}

/** Softmax over the last axis. */
export const softmax = (x: Tensor): Tensor => softmaxOver(x, 0);

/** Logarithm of the softmax over the last axis. */
export const logSoftmax = (x: Tensor): Tensor => softmaxOver(x, 1);
