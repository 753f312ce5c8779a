/** Contract cases of the matrix product, and of embedding, its sparse sister. */
import { ELEMENT, EXACT, SUM } from '../comparison.ts';
import type { Draw, Operand } from '../operands.ts';
import type { Launch } from '../runner.ts';
import { type CaseTable, type ContractCase, single, sized, variants } from './case.ts';

interface Product {
  readonly batch?: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transA?: boolean;
  readonly transB?: boolean;
  readonly alpha?: number;
  readonly beta?: number;
  readonly bias?: boolean;
  /** Operands that all batches share. */
  readonly share?: 'a' | 'b';
  /** Whether b is i8 with scales. */
  readonly quantised?: boolean;
}

/** `batch` matrices below one another, and the distance between them in elements. */
function stack(
  draw: Draw,
  batch: number,
  rows: number,
  cols: number,
  { isShared = false, isQuantised = false } = {},
): { x: Operand; stride: number } {
  const total = isShared ? rows : batch * rows;
  const x = isQuantised ? draw.quantised(total, cols) : draw.normal(total, cols);
  return { x, stride: isShared ? 0 : rows * x.ld };
}

function product(draw: Draw, p: Product): Launch {
  const { batch = 1, m, n, k, alpha = 1, beta = 0 } = p;
  const [rowsA, colsA] = p.transA ? [k, m] : [m, k];
  const [rowsB, colsB] = p.transB ? [n, k] : [k, n];
  const a = stack(draw, batch, rowsA, colsA, { isShared: p.share === 'a' });
  const b = stack(draw, batch, rowsB, colsB, { isShared: p.share === 'b', isQuantised: p.quantised });
  const c = beta === 0 ? draw.output(batch * m, n) : draw.normal(batch * m, n);
  return {
    kernel: 'matmul',
    tensors: {
      a: a.x,
      b: b.x,
      bias: p.bias ? draw.normal(1, n) : null,
      c,
      scale: p.quantised ? draw.scales(n) : null,
    },
    dims: {
      batch,
      m,
      n,
      k,
      transA: p.transA ? 1 : 0,
      transB: p.transB ? 1 : 0,
      strideA: a.stride,
      strideB: b.stride,
      strideC: m * c.ld,
    },
    scalars: { alpha, beta },
  };
}

const SIZES: readonly (readonly [m: number, n: number, k: number])[] = [
  [0, 4, 4],
  [4, 0, 4],
  [1, 1, 1],
  [1, 37, 19],
  [37, 1, 19],
  [5, 7, 1],
  [6, 16, 8],
  [13, 33, 17],
  [50, 70, 90],
];
const TRANSPOSITIONS = [
  { transA: false, transB: false },
  { transA: false, transB: true },
  { transA: true, transB: false },
  { transA: true, transB: true },
];

const SPECIAL: readonly (readonly [label: string, p: Product])[] = [
  ['k=0', { m: 3, n: 5, k: 0 }],
  ['k=0 with beta and bias', { m: 3, n: 5, k: 0, beta: -0.5, bias: true }],
  ['bias', { m: 9, n: 21, k: 13, bias: true, transB: true }],
  ['alpha, beta, bias', { m: 9, n: 21, k: 13, alpha: -0.3, beta: 0.7, bias: true }],
  ['beta 1', { m: 17, n: 35, k: 40, beta: 1, transA: true }],
  ['alpha 0', { m: 4, n: 6, k: 3, alpha: 0, beta: 1 }],
  ['batches', { batch: 3, m: 5, n: 9, k: 7 }],
  ['batches transposed', { batch: 4, m: 6, n: 11, k: 8, transA: true, transB: true, beta: 1 }],
  ['no batch', { batch: 0, m: 5, n: 9, k: 7 }],
  ['shared a', { batch: 3, m: 5, n: 9, k: 7, share: 'a' }],
  ['shared b', { batch: 3, m: 5, n: 9, k: 7, share: 'b', bias: true, transB: true }],
  ['vector by matrix', { m: 1, n: 300, k: 257, transB: true, bias: true }],
  ['long sums', { m: 3, n: 5, k: 3000, transB: true }],
  ['large', { m: 130, n: 161, k: 197, transB: true }],
  ['tall', { m: 301, n: 3, k: 65, transB: true, bias: true }],
];

const productCases = (quantised: boolean, note: string): ContractCase[] => [
  ...TRANSPOSITIONS.flatMap((t) =>
    SIZES.flatMap(([m, n, k]) =>
      variants(`${note}${m}x${n}x${k} transA=${t.transA} transB=${t.transB}`, SUM, (draw) =>
        product(draw, { ...t, m, n, k, quantised }),
      ),
    ),
  ),
  ...SPECIAL.flatMap(([label, p]) =>
    sized((p.m * p.n * p.k * (p.batch ?? 1)) / 20, `${note}${label}`, SUM, (draw) =>
      product(draw, { ...p, quantised }),
    ),
  ),
];
const matmul = [...productCases(false, ''), ...productCases(true, 'i8 ')];

/** Ids with repetitions, and with some outside the table. */
const ids = (draw: Draw, n: number, v: number): Operand => draw.integers(n, 1, -1, v + 2);

const LOOKUPS: readonly (readonly [n: number, d: number, v: number])[] = [
  [0, 5, 3],
  [4, 0, 3],
  [1, 1, 1],
  [9, 33, 7],
  [40, 8, 5],
  [300, 130, 50],
];

const embedding: ContractCase[] = [
  ...LOOKUPS.flatMap(([n, d, v]) => [
    ...sized(n * d, `${n}x${d} of ${v}`, EXACT, (draw) => ({
      kernel: 'embedding',
      tensors: { table: draw.normal(v, d), ids: ids(draw, n, v), y: draw.output(n, d) },
      dims: { n, d, v },
      scalars: {},
    })),
    // Rounded to f32 before it is rounded to a half type.
    ...sized(n * d, `i8 ${n}x${d} of ${v}`, ELEMENT, (draw) => ({
      kernel: 'embedding',
      tensors: { table: draw.quantised(v, d), ids: ids(draw, n, v), y: draw.output(n, d), scale: draw.scales(v) },
      dims: { n, d, v },
      scalars: {},
    })),
  ]),
  ...single('ids far outside', EXACT, (draw) => ({
    kernel: 'embedding',
    tensors: {
      table: draw.normal(3, 9),
      ids: draw.values(4, 1, (i) => [2 ** 31 - 1, -(2 ** 31), 2, 3][i], 'i32'),
      y: draw.output(4, 9),
    },
    dims: { n: 4, d: 9, v: 3 },
    scalars: {},
  })),
];

const embeddingBwd: ContractCase[] = LOOKUPS.flatMap(([n, d, v]) =>
  sized(n * d, `${n}x${d} of ${v}`, SUM, (draw) => ({
    kernel: 'embedding_bwd',
    tensors: { dy: draw.normal(n, d), ids: ids(draw, n, v), dtable: draw.normal(v, d, 'f32') },
    dims: { n, d, v },
    scalars: {},
  })),
);

export const matmulCases: CaseTable<'matmul' | 'embedding' | 'embedding_bwd'> = {
  matmul,
  embedding,
  embedding_bwd: embeddingBwd,
};
