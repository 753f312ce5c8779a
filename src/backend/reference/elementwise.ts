/**
 * Memory and elementwise kernels: y[r, c] = f(x[r, c], ...). Each element is read before it is written, so that
 * y may be x where the table says so.
 */
import { philoxBlock, toUnit } from '../../core/index.ts';
import { BINARY_OPS, type BinaryOp, BROADCAST_MODES, UNARY_OPS, type UnaryOp } from '../kernels.ts';
import { gelu, geluSlope, sigmoid, silu, siluSlope, softplus, softplusSlope } from './functions.ts';
import type { Numbers, Tensors } from './view.ts';

function eachElement({ rows, cols }: Numbers, visit: (row: number, col: number) => void): void {
  for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) visit(r, c);
}

export function fill({ y }: Tensors<'y'>, d: Numbers, { value }: Numbers): void {
  eachElement(d, (r, c) => y.set(r, c, value));
}

export function copy({ x, y }: Tensors<'x' | 'y'>, d: Numbers): void {
  eachElement(d, (r, c) => y.set(r, c, x.get(r, c)));
}

export function accumulate({ x, y }: Tensors<'x' | 'y'>, d: Numbers, { alpha }: Numbers): void {
  eachElement(d, (r, c) => y.add(r, c, alpha * x.get(r, c)));
}

/** y[i0, ..., i5] = x[i0*s0 + ... + i5*s5], y dense. */
export function permute({ x, y }: Tensors<'x' | 'y'>, d: Numbers): void {
  let out = 0;
  for (let i0 = 0; i0 < d.n0; i0++)
    for (let i1 = 0; i1 < d.n1; i1++)
      for (let i2 = 0; i2 < d.n2; i2++)
        for (let i3 = 0; i3 < d.n3; i3++)
          for (let i4 = 0; i4 < d.n4; i4++)
            for (let i5 = 0; i5 < d.n5; i5++) {
              const from = i0 * d.s0 + i1 * d.s1 + i2 * d.s2 + i3 * d.s3 + i4 * d.s4 + i5 * d.s5;
              y.set(0, out++, x.get(0, from));
            }
}

const UNARY: Record<UnaryOp, (x: number, param: number) => number> = {
  neg: (x) => -x,
  abs: (x) => Math.abs(x),
  square: (x) => x * x,
  sqrt: (x) => Math.sqrt(x),
  rsqrt: (x) => 1 / Math.sqrt(x),
  reciprocal: (x) => 1 / x,
  exp: (x) => Math.exp(x),
  log: (x) => Math.log(x),
  sigmoid,
  silu,
  softplus,
  tanh: (x) => Math.tanh(x),
  relu: (x) => Math.max(x, 0),
  gelu,
  scale: (x, param) => x * param,
  shift: (x, param) => x + param,
};

/** Derivatives; at the kink of abs and relu the slope is 0. */
const SLOPE: Record<UnaryOp, (x: number, param: number) => number> = {
  neg: () => -1,
  abs: (x) => Math.sign(x),
  square: (x) => 2 * x,
  sqrt: (x) => 0.5 / Math.sqrt(x),
  rsqrt: (x) => -0.5 / (x * Math.sqrt(x)),
  reciprocal: (x) => -1 / (x * x),
  exp: (x) => Math.exp(x),
  log: (x) => 1 / x,
  sigmoid: (x) => sigmoid(x) * (1 - sigmoid(x)),
  silu: siluSlope,
  softplus: softplusSlope,
  tanh: (x) => 1 - Math.tanh(x) ** 2,
  relu: (x) => (x > 0 ? 1 : 0),
  gelu: geluSlope,
  scale: (_x, param) => param,
  shift: () => 1,
};

export function unary({ x, y }: Tensors<'x' | 'y'>, d: Numbers, { param }: Numbers): void {
  const f = UNARY[UNARY_OPS[d.op]];
  eachElement(d, (r, c) => y.set(r, c, f(x.get(r, c), param)));
}

export function unaryBwd({ x, dy, dx }: Tensors<'x' | 'dy' | 'dx'>, d: Numbers, { param }: Numbers): void {
  const slope = SLOPE[UNARY_OPS[d.op]];
  eachElement(d, (r, c) => dx.set(r, c, dy.get(r, c) * slope(x.get(r, c), param)));
}

const BINARY: Record<BinaryOp, (a: number, b: number) => number> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  max: (a, b) => Math.max(a, b),
  rsub: (a, b) => b - a,
  rdiv: (a, b) => b / a,
};

export function binary({ a, b, y }: Tensors<'a' | 'b' | 'y'>, d: Numbers): void {
  const f = BINARY[BINARY_OPS[d.op]];
  const mode = BROADCAST_MODES[d.mode];
  eachElement(d, (r, c) => {
    const bRow = mode === 'same' || mode === 'column' ? r : 0;
    const bCol = mode === 'same' || mode === 'row' ? c : 0;
    y.set(r, c, f(a.get(r, c), b.get(bRow, bCol)));
  });
}

/** Number i of the stream, in [0, 1): word i & 3 of block i >> 2. */
const uniform = (seed: number, stream: number, i: number): number =>
  toUnit(philoxBlock(seed, stream, Math.floor(i / 4))[i % 4]);

/** The threshold is p as f32: draws are multiples of 2^-24, so every device keeps the same elements. */
export function dropout({ x, y }: Tensors<'x' | 'y'>, d: Numbers, { p }: Numbers): void {
  const threshold = Math.fround(p);
  eachElement(d, (r, c) => {
    const isKept = uniform(d.seed, d.stream, r * d.cols + c) >= threshold;
    y.set(r, c, isKept ? x.get(r, c) / (1 - p) : 0);
  });
}

export function randomUniform({ y }: Tensors<'y'>, d: Numbers, { low, high }: Numbers): void {
  eachElement(d, (r, c) => y.set(r, c, low + (high - low) * uniform(d.seed, d.stream, r * d.cols + c)));
}
