/** Elementwise arithmetic with NumPy broadcasting, activations, and dtype conversion. */
import {
  BINARY_OPS,
  type BinaryOp,
  BROADCAST_MODES,
  type BroadcastMode,
  UNARY_OPS,
  type UnaryOp,
} from '../../backend/index.ts';
import { broadcastShapes, type DType, DTypeError, formatShape, ShapeError, sameShape } from '../../core/index.ts';
import { record } from '../autograd.ts';
import type { Tensor } from '../tensor.ts';
import { expand, sumTo } from './shape.ts';

const matrix = (x: Tensor) => ({ rows: x.rows, cols: x.cols });

function unary(op: UnaryOp, x: Tensor, param = 0): Tensor {
  const { device } = x;
  const y = device.empty(x.shape, x.dtype);
  const dims = { ...matrix(x), op: UNARY_OPS.indexOf(op) };
  device.launch('unary', { x, y }, dims, { param });
  record(op, [x], [y], [x], ([dy], [input]) => {
    const dx = device.empty(input.shape, input.dtype);
    device.launch('unary_bwd', { x: input, dy, dx }, dims, { param });
    return [dx];
  });
  return y;
}

export const neg = (x: Tensor) => unary('neg', x);
export const abs = (x: Tensor) => unary('abs', x);
export const square = (x: Tensor) => unary('square', x);
export const sqrt = (x: Tensor) => unary('sqrt', x);
export const rsqrt = (x: Tensor) => unary('rsqrt', x);
export const reciprocal = (x: Tensor) => unary('reciprocal', x);
export const exp = (x: Tensor) => unary('exp', x);
export const log = (x: Tensor) => unary('log', x);
export const sigmoid = (x: Tensor) => unary('sigmoid', x);
/** x * sigmoid(x) */
export const silu = (x: Tensor) => unary('silu', x);
/** log(1 + exp(x)) without the usual loss of accuracy at small steps. */
export const softplus = (x: Tensor) => unary('softplus', x);
export const tanh = (x: Tensor) => unary('tanh', x);
export const relu = (x: Tensor) => unary('relu', x);
/** Exact (erf) GELU. */
export const gelu = (x: Tensor) => unary('gelu', x);
/** x * factor, for a plain number. */
export const scale = (x: Tensor, factor: number) => unary('scale', x, factor);
/** x + term, for a plain number. */
export const shift = (x: Tensor, term: number) => unary('shift', x, term);

/** x itself, with gradients multiplied by `factor` on their way back. */
export function scaleGradient(x: Tensor, factor: number): Tensor {
  if (factor === 1) return x;
  const y = x.alias();
  record('scaleGradient', [x], [y], [], ([dy]) => [scale(dy!, factor)]);
  return y;
}

/** How b, of shape `shape`, can be read by the kernel against a's shape, or undefined if it must be expanded first. */
function kernelMode(a: readonly number[], b: Tensor): BroadcastMode | undefined {
  if (sameShape(a, b.shape)) return 'same';
  if (b.size === 1) return 'scalar';
  const cols = a.at(-1);
  const leadOnes = (shape: readonly number[]) => shape.slice(0, -1).every((d) => d === 1);
  if (b.shape.at(-1) === cols && leadOnes(b.shape)) return 'row';
  if (b.rank === a.length && b.shape.at(-1) === 1 && sameShape(a.slice(0, -1), b.shape.slice(0, -1))) return 'column';
  return undefined;
}

function launchBinary(op: BinaryOp, a: Tensor, b: Tensor, mode: BroadcastMode): Tensor {
  const y = a.device.empty(a.shape, a.dtype);
  const dims = { ...matrix(a), op: BINARY_OPS.indexOf(op), mode: BROADCAST_MODES.indexOf(mode) };
  a.device.launch('binary', { a, b, y }, dims);
  return y;
}

const SWAPPED: Partial<Record<BinaryOp, BinaryOp>> = { add: 'add', mul: 'mul', max: 'max', sub: 'rsub', div: 'rdiv' };

function binary(
  op: BinaryOp,
  a: Tensor,
  b: Tensor,
  rule: (dy: Tensor, a: Tensor, b: Tensor, needs: readonly boolean[]) => (Tensor | null)[],
): Tensor {
  if (a.dtype !== b.dtype) throw new DTypeError(op, 'b', a.dtype, `${b.dtype}; cast one of them`);
  const shape = broadcastShapes(a.shape, b.shape);
  if (!shape) throw new ShapeError(op, 'b', `a shape that broadcasts with ${formatShape(a.shape)}`, b.shape);
  const { device } = a;
  const y = device.noGrad(() =>
    device.scope(() => {
      const bMode = sameShape(shape, a.shape) ? kernelMode(shape, b) : undefined;
      if (bMode) return launchBinary(op, a, b, bMode);
      const aMode = sameShape(shape, b.shape) && SWAPPED[op] ? kernelMode(shape, a) : undefined;
      if (aMode) return launchBinary(SWAPPED[op]!, b, a, aMode);
      return launchBinary(op, expand(a, shape), expand(b, shape), 'same');
    }),
  );
  record(op, [a, b], [y], [a, b], ([dy], [left, right], needs) => {
    const grads = rule(dy!, left, right, needs);
    return [grads[0] && sumTo(grads[0], left.shape), grads[1] && sumTo(grads[1], right.shape)];
  });
  return y;
}

export const add = (a: Tensor, b: Tensor): Tensor =>
  binary('add', a, b, (dy, _a, _b, needs) => [needs[0] ? dy.alias() : null, needs[1] ? dy.alias() : null]);

export const sub = (a: Tensor, b: Tensor): Tensor =>
  binary('sub', a, b, (dy, _a, _b, needs) => [needs[0] ? dy.alias() : null, needs[1] ? neg(dy) : null]);

export const mul = (a: Tensor, b: Tensor): Tensor =>
  binary('mul', a, b, (dy, x, y, needs) => [needs[0] ? mul(dy, y) : null, needs[1] ? mul(dy, x) : null]);

export const div = (a: Tensor, b: Tensor): Tensor =>
  binary('div', a, b, (dy, x, y, needs) => [
    needs[0] ? div(dy, y) : null,
    needs[1] ? neg(div(mul(dy, x), square(y))) : null,
  ]);

/** The same values in another dtype; the gradient is converted back. */
export function cast(x: Tensor, dtype: DType): Tensor {
  if (x.dtype === dtype) return x;
  const { device } = x;
  const y = device.empty(x.shape, dtype);
  device.launch('copy', { x, y }, matrix(x));
  const from = x.dtype;
  record('cast', [x], [y], [], ([dy]) => [cast(dy!, from)]);
  return y;
}
