/** Views and rearrangements. A slice of the last axis, or of the first of a dense tensor, is free; the rest copies. */
import { asMatrix, formatShape, normalizeAxis, type Shape, ShapeError, sameShape, sizeOf } from '../../core/index.ts';
import { record } from '../autograd.ts';
import type { Tensor } from '../tensor.ts';

const MAX_RANK = 6;

function copyOf(x: Tensor): Tensor {
  const y = x.device.empty(x.shape, x.dtype);
  x.device.launch('copy', { x, y }, { rows: x.rows, cols: x.cols });
  return y;
}

/** The tensor itself if it is dense, else a dense copy. */
export function contiguous(x: Tensor): Tensor {
  if (x.isDense) return x;
  const y = copyOf(x);
  record('contiguous', [x], [y], [], ([dy]) => [dy!.alias()]);
  return y;
}

/** Same elements in another shape; one size may be -1. A view, except for slices of columns, which are copied. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const known = shape.reduce((n, d) => (d === -1 ? n : n * d), 1);
  const wanted = shape.map((d) => (d === -1 ? x.size / known : d));
  if (sizeOf(wanted) !== x.size || wanted.some((d) => !Number.isInteger(d))) {
    throw new ShapeError('reshape', 'shape', `${x.size} elements (from ${formatShape(x.shape)})`, shape);
  }
  const keepsRows = wanted.at(-1) === x.cols;
  const source = x.isDense || keepsRows ? x : contiguous(x);
  const y = source.isDense ? source.alias(wanted) : source.alias(wanted, source.offset, source.ld);
  const original = x.shape;
  record('reshape', [source], [y], [], ([dy]) => [reshape(contiguous(dy!), original)]);
  return y;
}

/** Strides in elements of a dense tensor. */
function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = strides[i + 1] * shape[i + 1];
  return strides;
}

function gather(x: Tensor, shape: Shape, strides: readonly number[], offset = 0): Tensor {
  const y = x.device.empty(shape, x.dtype);
  if (shape.length > MAX_RANK) throw new ShapeError('permute', 'shape', `at most ${MAX_RANK} axes`, shape);
  const source = offset ? x.alias([x.size - offset], x.offset + offset) : x;
  const dims: Record<string, number> = {};
  const lead = MAX_RANK - shape.length;
  for (let i = 0; i < MAX_RANK; i++) {
    dims[`n${i}`] = i < lead ? 1 : shape[i - lead];
    dims[`s${i}`] = i < lead ? 0 : strides[i - lead];
  }
  x.device.launch('permute', { x: source, y }, dims);
  if (offset) source.dispose();
  return y;
}

/** Axes in a new order: output axis i is input axis `order[i]`. */
export function permute(x: Tensor, order: readonly number[]): Tensor {
  if (order.length !== x.rank || new Set(order).size !== x.rank || order.some((a) => a < 0 || a >= x.rank)) {
    throw new ShapeError('permute', 'order', `each of the ${x.rank} axes once`, order as number[]);
  }
  const { device } = x;
  const y = device.noGrad(() =>
    device.scope(() => {
      const dense = contiguous(x);
      const strides = stridesOf(dense.shape);
      return gather(
        dense,
        order.map((a) => dense.shape[a]),
        order.map((a) => strides[a]),
      );
    }),
  );
  const inverse = order.map((_, i) => order.indexOf(i));
  record('permute', [x], [y], [], ([dy]) => [permute(dy!, inverse)]);
  return y;
}

/** Swaps the last two axes. */
export function transpose(x: Tensor): Tensor {
  const order = [...x.shape.keys()];
  const n = order.length;
  [order[n - 1], order[n - 2]] = [order[n - 2], order[n - 1]];
  return permute(x, order);
}

/** x repeated along its axes of size 1 (and along new leading axes) up to `shape`. */
export function expand(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  const lead = shape.length - x.rank;
  if (lead < 0 || x.shape.some((d, i) => d !== 1 && d !== shape[i + lead])) {
    throw new ShapeError('expand', 'shape', `a shape that ${formatShape(x.shape)} broadcasts to`, shape);
  }
  const { device } = x;
  const y = device.noGrad(() =>
    device.scope(() => {
      const dense = contiguous(x);
      const own = stridesOf(dense.shape);
      return gather(
        dense,
        shape,
        shape.map((_, i) => (i < lead || x.shape[i - lead] === 1 ? 0 : own[i - lead])),
      );
    }),
  );
  const original = x.shape;
  record('expand', [x], [y], [], ([dy]) => [sumTo(dy!.alias(), original)]);
  return y;
}

/** Sum over the axes that broadcasting stretched, back to `shape`: the gradient of `expand`. Not differentiable itself. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  const { device } = x;
  return device.noGrad(() =>
    device.scope(() => {
      let y = contiguous(x);
      const lead = y.rank - shape.length;
      for (let axis = 0; axis < x.rank; axis++) {
        if (axis >= lead && (shape[axis - lead] === y.shape[axis] || y.shape[axis] === 1)) continue;
        if (y.shape[axis] === 1) continue;
        const out = [...y.shape];
        out[axis] = 1;
        const z = device.empty(out, y.dtype);
        const outer = sizeOf(y.shape.slice(0, axis));
        device.launch(
          'reduce',
          { x: y, y: z },
          { outer, n: y.shape[axis], inner: sizeOf(y.shape.slice(axis + 1)), op: 0 },
        );
        y = z;
      }
      return y.alias(shape, y.offset, asMatrix(shape).cols);
    }),
  );
}

/** `length` entries of one axis from `start`. A view on the last axis, or on the first of a dense tensor. */
export function narrow(x: Tensor, axis: number, start: number, length: number): Tensor {
  const a = normalizeAxis(axis, x.rank);
  if (!(a >= 0 && a < x.rank) || start < 0 || length < 0 || start + length > x.shape[a]) {
    throw new ShapeError('narrow', `axis ${axis}`, `a range inside 0..${x.shape[a]}`, `${start}..${start + length}`);
  }
  const shape = x.shape.map((d, i) => (i === a ? length : d));
  let y: Tensor;
  if (a === x.rank - 1) y = x.alias(shape, x.offset + start, x.ld);
  else if (a === 0) y = x.alias(shape, x.offset + start * (x.rows / Math.max(1, x.shape[0])) * x.ld, x.ld);
  else {
    y = x.device.noGrad(() =>
      x.device.scope(() => {
        const dense = contiguous(x);
        const strides = stridesOf(dense.shape);
        return gather(dense, shape, strides, start * strides[a]);
      }),
    );
  }
  const whole = x.shape;
  record('narrow', [x], [y], [], ([dy]) => [placed(dy!, whole, a, start)]);
  return y;
}

/** Zeros of shape `whole` with `part` written at `start` along `axis`. */
function placed(part: Tensor, whole: Shape, axis: number, start: number): Tensor {
  const { device } = part;
  const y = device.zeros(whole, part.dtype);
  writeInto(y, part, axis, start);
  return y;
}

/** Copies `part` into the dense tensor `whole` at `start` along `axis`. */
function writeInto(whole: Tensor, part: Tensor, axis: number, start: number): void {
  const { device } = whole;
  const inner = sizeOf(whole.shape.slice(axis + 1));
  const outer = sizeOf(whole.shape.slice(0, axis));
  const span = part.shape[axis] * inner;
  const ld = whole.shape[axis] * inner;
  const last = axis === whole.rank - 1;
  // On the last axis the part may itself be a slice of columns; elsewhere it has to be dense.
  device.scope(() => {
    const source = last ? part : contiguous(part);
    const x = last ? source : source.alias([outer, span]);
    const y = whole.alias([outer, span], whole.offset + start * inner, ld);
    device.launch('copy', { x, y }, { rows: outer, cols: span });
  });
}

/** Starts of consecutive parts of these sizes. */
const startsOf = (sizes: readonly number[]): number[] =>
  sizes.map((_, i) => sizes.slice(0, i).reduce((n, d) => n + d, 0));

/** Consecutive slices of the last axis, as views whose gradients are gathered in one piece. */
export function split(x: Tensor, sizes: readonly number[]): Tensor[] {
  const total = sizes.reduce((n, d) => n + d, 0);
  if (total !== x.cols) throw new ShapeError('split', 'sizes', `a sum of ${x.cols}`, `${sizes.join(' + ')} = ${total}`);
  const starts = startsOf(sizes);
  const lead = x.shape.slice(0, -1);
  const parts = sizes.map((n, i) => x.alias([...lead, n], x.offset + starts[i], x.ld));
  record('split', [x], parts, [], (grads) => {
    const some = grads.find((g) => g !== null)!;
    const shape = [...lead, total];
    const dx = grads.every((g) => g !== null)
      ? some.device.empty(shape, some.dtype)
      : some.device.zeros(shape, some.dtype);
    grads.forEach((g, i) => {
      if (g) writeInto(dx, g, shape.length - 1, starts[i]);
    });
    return [dx];
  });
  return parts;
}

/** Tensors joined along one axis. */
export function concat(parts: readonly Tensor[], axis: number): Tensor {
  const first = parts[0];
  const a = normalizeAxis(axis, first.rank);
  for (const p of parts) {
    if (p.rank !== first.rank || p.shape.some((d, i) => i !== a && d !== first.shape[i])) {
      throw new ShapeError('concat', 'parts', `the shape ${formatShape(first.shape)} but for axis ${a}`, p.shape);
    }
  }
  const lengths = parts.map((p) => p.shape[a]);
  const starts = startsOf(lengths);
  const total = lengths.reduce((n, d) => n + d, 0);
  const y = first.device.empty(
    first.shape.map((d, i) => (i === a ? total : d)),
    first.dtype,
  );
  parts.forEach((p, i) => {
    writeInto(y, p, a, starts[i]);
  });
  record('concat', parts, [y], [], ([dy], _saved, needs) =>
    lengths.map((n, i) => (needs[i] ? narrow(dy!, a, starts[i], n) : null)),
  );
  return y;
}
