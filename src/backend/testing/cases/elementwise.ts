/** Contract cases of the memory and elementwise kernels. */
import { BINARY_OPS, BROADCAST_MODES, UNARY_OPS, type UnaryOp } from '../../kernels.ts';
import { ELEMENT, EXACT, type Tolerance } from '../comparison.ts';
import type { Draw, Operand } from '../operands.ts';
import type { Launch } from '../runner.ts';
import { type CaseTable, type ContractCase, SHAPES, SMALL_SHAPES, single, sized, variants } from './case.ts';

const text = (shape: readonly number[]): string => shape.join('x');

const fill: ContractCase[] = [
  ...SHAPES.flatMap(([rows, cols]) =>
    sized(rows * cols, text([rows, cols]), EXACT, (draw) => ({
      kernel: 'fill',
      tensors: { y: draw.output(rows, cols) },
      dims: { rows, cols },
      scalars: { value: Math.SQRT2 },
    })),
  ),
  ...single('i32', EXACT, (draw) => ({
    kernel: 'fill',
    tensors: { y: draw.output(3, 7, 'i32') },
    dims: { rows: 3, cols: 7 },
    scalars: { value: 2 ** 24 + 1 },
  })),
];

const copying = (draw: Draw, x: Operand, to = draw.any()): Launch => ({
  kernel: 'copy',
  tensors: { x, y: draw.output(x.rows, x.cols, to) },
  dims: { rows: x.rows, cols: x.cols },
  scalars: {},
});

/** Values on and between the steps of every half type, large, small and subnormal, with both signs. */
const awkward = (draw: Draw, rows: number, cols: number): Operand =>
  draw.values(
    rows,
    cols,
    (i) => (i % 2 ? -1 : 1) * (1 + draw.random.integer(8192) / 8192) * 2 ** (draw.random.integer(56) - 40),
    'f32',
  );

/** Signed zeros, infinities, NaN, and both sides of the largest and smallest numbers of f16 and bf16. */
const SPECIAL = [
  0,
  -0,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  Number.NaN,
  65504,
  65519.99,
  65520,
  1e38,
  3.4e38,
  2 ** -14,
  2 ** -24,
  2 ** -25,
  1.5 * 2 ** -25,
];

/** i32 values that f32 cannot hold: a copy that goes through floats loses them. */
const bigIntegers = (draw: Draw, rows: number, cols: number): Operand => draw.integers(rows, cols, -(2 ** 31), 2 ** 31);

const copy: ContractCase[] = [
  ...SHAPES.flatMap(([rows, cols]) =>
    sized(rows * cols, text([rows, cols]), EXACT, (draw) => copying(draw, draw.normal(rows, cols))),
  ),
  ...(['f32', 'bf16', 'f16'] as const).flatMap((type) => [
    ...single(`rounding to ${type}`, EXACT, (draw) => copying(draw, awkward(draw, 9, 67), type)),
    ...single(`special values to ${type}`, EXACT, (draw) =>
      copying(
        draw,
        draw.values(2, 27, (i) => SPECIAL[i % SPECIAL.length], 'f32'),
        type,
      ),
    ),
    ...single(`special values from ${type}`, EXACT, (draw) =>
      copying(
        draw,
        draw.values(2, 27, (i) => SPECIAL[i % SPECIAL.length], type),
        'f32',
      ),
    ),
    ...single(`i32 to ${type}`, EXACT, (draw) => copying(draw, draw.integers(3, 17, -200, 200), type)),
    ...single(`whole ${type} to i32`, EXACT, (draw) =>
      copying(
        draw,
        draw.values(3, 17, () => draw.random.integer(400) - 200, type),
        'i32',
      ),
    ),
  ]),
  ...single('i32 to i32', EXACT, (draw) => copying(draw, bigIntegers(draw, 5, 33), 'i32')),
];

const accumulate: ContractCase[] = SHAPES.flatMap(([rows, cols]) =>
  sized(rows * cols, text([rows, cols]), { rel: 1e-6, floor: 2 }, (draw) => ({
    kernel: 'accumulate',
    tensors: { x: draw.normal(rows, cols), y: draw.normal(rows, cols) },
    dims: { rows, cols },
    scalars: { alpha: -0.75 },
  })),
);

interface Permutation {
  readonly label: string;
  readonly sizes: readonly number[];
  readonly strides: readonly number[];
  readonly start?: number;
}
const PERMUTATIONS: readonly Permutation[] = [
  { label: 'transpose', sizes: [1, 1, 1, 1, 37, 19], strides: [0, 0, 0, 0, 1, 37] },
  { label: 'transpose of whole vectors', sizes: [1, 1, 1, 1, 64, 48], strides: [0, 0, 0, 0, 1, 64] },
  { label: 'large transpose', sizes: [1, 1, 1, 1, 300, 210], strides: [0, 0, 0, 0, 1, 300] },
  { label: 'heads', sizes: [1, 1, 2, 3, 5, 7], strides: [0, 0, 105, 7, 21, 1] },
  { label: 'six axes reversed', sizes: [3, 2, 1, 4, 2, 5], strides: [1, 3, 6, 6, 24, 48] },
  { label: 'slice of columns', sizes: [1, 1, 1, 1, 9, 5], strides: [0, 0, 0, 0, 11, 1], start: 3 },
  { label: 'every second', sizes: [1, 1, 1, 1, 6, 8], strides: [0, 0, 0, 0, 32, 2] },
  { label: 'row broadcast', sizes: [1, 1, 1, 1, 6, 17], strides: [0, 0, 0, 0, 0, 1] },
  { label: 'column broadcast', sizes: [1, 1, 1, 3, 6, 9], strides: [0, 0, 0, 6, 1, 0] },
  { label: 'scalar', sizes: [1, 1, 1, 1, 1, 40], strides: [0, 0, 0, 0, 0, 0] },
  { label: 'rows from the last', sizes: [1, 1, 1, 1, 5, 6], strides: [0, 0, 0, 0, -6, 1], start: 24 },
  { label: 'nothing', sizes: [1, 2, 0, 3, 1, 4], strides: [0, 0, 0, 4, 0, 1] },
];

function permuting(draw: Draw, { sizes, strides, start = 0 }: Permutation, isInteger = false): Launch {
  const count = sizes.reduce((a, b) => a * b, 1);
  const last = count && sizes.reduce((sum, n, i) => sum + Math.max(0, (n - 1) * strides[i]), start);
  const x = isInteger ? bigIntegers(draw, 1, last + 1) : draw.normal(1, last + 1);
  const numbered = [...sizes.map((n, i) => [`n${i}`, n]), ...strides.map((s, i) => [`s${i}`, s])];
  return {
    kernel: 'permute',
    tensors: { x: { ...x, start }, y: draw.output(1, count, isInteger ? 'i32' : draw.any()) },
    dims: Object.fromEntries(numbered),
    scalars: {},
  };
}

const permute: ContractCase[] = PERMUTATIONS.flatMap((p) => [
  ...sized(
    p.sizes.reduce((a, b) => a * b),
    p.label,
    EXACT,
    (draw) => permuting(draw, p),
  ),
  ...single(`${p.label} i32`, EXACT, (draw) => permuting(draw, p, true)),
]);

/** Ops that are defined for positive numbers only. */
const POSITIVE: readonly UnaryOp[] = ['sqrt', 'rsqrt', 'log'];
/** Ops that lose digits where terms cancel: relative to 1, not to the result. */
const CANCELLING: readonly UnaryOp[] = ['gelu', 'tanh', 'sigmoid', 'silu', 'softplus', 'log', 'shift'];

const unaryTolerance = (op: UnaryOp): Tolerance => (CANCELLING.includes(op) ? { rel: 2e-6, floor: 1 } : ELEMENT);

/** Arguments from tiny to far out in the tails, away from the kink at 0. */
function argument(draw: Draw, op: UnaryOp, rows: number, cols: number, dtype = draw.any()): Operand {
  const sign = () => (POSITIVE.includes(op) || draw.random.uniform() < 0.5 ? 1 : -1);
  const widest = op === 'exp' ? 8 : 40;
  return draw.values(
    rows,
    cols,
    (i) => sign() * (i % 3 ? 0.05 + 3 * draw.random.uniform() : 0.05 + widest * draw.random.uniform()),
    dtype,
  );
}

const unary: ContractCase[] = UNARY_OPS.flatMap((op, code) => [
  ...(op === 'silu' || op === 'scale' ? SHAPES : SMALL_SHAPES).flatMap(([rows, cols]) =>
    sized(rows * cols, `${op} ${text([rows, cols])}`, unaryTolerance(op), (draw) => ({
      kernel: 'unary',
      tensors: { x: argument(draw, op, rows, cols), y: draw.output(rows, cols) },
      dims: { rows, cols, op: code },
      scalars: { param: 1.7 },
    })),
  ),
  ...variants(`${op} in place`, unaryTolerance(op), (draw) => {
    const x = argument(draw, op, 4, 37);
    return {
      kernel: 'unary',
      tensors: { x, y: x },
      dims: { rows: 4, cols: 37, op: code },
      scalars: { param: -0.3 },
      inPlace: { y: 'x' },
    };
  }),
]);

const unaryBwd: ContractCase[] = UNARY_OPS.flatMap((op, code) => [
  ...(op === 'silu' ? SHAPES : SMALL_SHAPES).flatMap(([rows, cols]) =>
    sized(rows * cols, `${op} ${text([rows, cols])}`, unaryBwdTolerance(op), (draw) => ({
      kernel: 'unary_bwd',
      tensors: { x: argument(draw, op, rows, cols), dy: draw.normal(rows, cols), dx: draw.output(rows, cols) },
      dims: { rows, cols, op: code },
      scalars: { param: 1.7 },
    })),
  ),
  ...variants(`${op} in place`, unaryBwdTolerance(op), (draw) => {
    const dy = draw.normal(4, 37);
    return {
      kernel: 'unary_bwd',
      tensors: { x: argument(draw, op, 4, 37), dy, dx: dy },
      dims: { rows: 4, cols: 37, op: code },
      scalars: { param: -0.3 },
      inPlace: { dx: 'dy' },
    };
  }),
]);

function unaryBwdTolerance(op: UnaryOp): Tolerance {
  return CANCELLING.includes(op) ? { rel: 3e-6, floor: 1 } : { ...ELEMENT, rel: 4e-6 };
}

const B_SHAPE: Record<(typeof BROADCAST_MODES)[number], (rows: number, cols: number) => [number, number]> = {
  same: (rows, cols) => [rows, cols],
  row: (_rows, cols) => [1, cols],
  column: (rows) => [rows, 1],
  scalar: () => [1, 1],
};

/** |b| >= 0.5 and |a| >= 0.5, so that divisions stay moderate. */
const divisor = (draw: Draw, rows: number, cols: number, dtype = draw.any()): Operand =>
  draw.values(rows, cols, () => (draw.random.uniform() < 0.5 ? -1 : 1) * (0.5 + 2 * draw.random.uniform()), dtype);

const binary: ContractCase[] = BINARY_OPS.flatMap((op, code) =>
  BROADCAST_MODES.flatMap((mode, modeCode) => [
    ...(op === 'mul' ? SHAPES : SMALL_SHAPES.slice(0, 4)).flatMap(([rows, cols]) =>
      sized(rows * cols, `${op} ${mode} ${text([rows, cols])}`, ELEMENT, (draw) => ({
        kernel: 'binary',
        tensors: {
          a: divisor(draw, rows, cols),
          b: divisor(draw, ...B_SHAPE[mode](rows, cols)),
          y: draw.output(rows, cols),
        },
        dims: { rows, cols, op: code, mode: modeCode },
        scalars: {},
      })),
    ),
    ...variants(`${op} ${mode} in place`, ELEMENT, (draw) => {
      const a = divisor(draw, 3, 29);
      return {
        kernel: 'binary',
        tensors: { a, b: divisor(draw, ...B_SHAPE[mode](3, 29)), y: a },
        dims: { rows: 3, cols: 29, op: code, mode: modeCode },
        scalars: {},
        inPlace: { y: 'a' },
      };
    }),
  ]),
);

const dropout: ContractCase[] = [
  ...SHAPES.flatMap(([rows, cols]) =>
    sized(rows * cols, text([rows, cols]), ELEMENT, (draw) => ({
      kernel: 'dropout',
      tensors: { x: divisor(draw, rows, cols), y: draw.output(rows, cols) },
      dims: { rows, cols, seed: draw.random.integer(2 ** 32), stream: draw.random.integer(2 ** 32) },
      scalars: { p: 0.3 },
    })),
  ),
  ...[0, 0.1, 0.5, 0.9].flatMap((p) =>
    variants(`in place p=${p}`, ELEMENT, (draw) => {
      const x = divisor(draw, 5, 61);
      return {
        kernel: 'dropout',
        tensors: { x, y: x },
        dims: { rows: 5, cols: 61, seed: 7, stream: 1 },
        scalars: { p },
        inPlace: { y: 'x' },
      };
    }),
  ),
];

const randomUniform: ContractCase[] = SHAPES.flatMap(([rows, cols]) =>
  sized(rows * cols, text([rows, cols]), { rel: 1e-6, floor: 3 }, (draw) => ({
    kernel: 'random_uniform',
    tensors: { y: draw.output(rows, cols) },
    dims: { rows, cols, seed: draw.random.integer(2 ** 32), stream: draw.random.integer(2 ** 32) },
    scalars: { low: -1.25, high: 3 },
  })),
);

export const elementwiseCases: CaseTable<
  'fill' | 'copy' | 'accumulate' | 'permute' | 'unary' | 'unary_bwd' | 'binary' | 'dropout' | 'random_uniform'
> = {
  fill,
  copy,
  accumulate,
  permute,
  unary,
  unary_bwd: unaryBwd,
  binary,
  dropout,
  random_uniform: randomUniform,
};
