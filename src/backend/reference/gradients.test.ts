/** Every backward kernel of the table against finite differences in f64, over random shapes and options. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { isAll } from '../../core/testing/only-in-all.ts';
import { KERNEL_NAMES, UNARY_OPS } from '../kernels.ts';
import { attentionBackward, attentionForward } from '../testing/cases/attention.ts';
import { convBackward, convForward } from '../testing/cases/causal-conv.ts';
import { FLAG_MODES } from '../testing/cases/flags.ts';
import { normBackward, normForward } from '../testing/cases/norm.ts';
import { scanBackward, scanForward } from '../testing/cases/selective-scan.ts';
import { checkGradients, type GradientCheck } from '../testing/gradients.ts';
import { Draw, STRIDED } from '../testing/operands.ts';
import { evaluate, type Launch } from '../testing/runner.ts';

const drawFrom = (seed: number): Draw => new Draw(seed, 'f64', STRIDED);
const size = (min: number, max: number) => fc.integer({ min, max });
const bit = fc.constantFrom(0 as const, 1 as const);
const seed = fc.nat(1e9);
const checked = new Set<string>();
const RUNS = isAll ? 60 : 12;

/** Checks the gradients of everything that `arbitrary` comes up with; some of it must have elements. */
async function holds<T>(
  arbitrary: fc.Arbitrary<T>,
  make: (x: T) => Promise<GradientCheck> | GradientCheck,
  runs = RUNS,
) {
  let compared = 0;
  const property = fc.asyncProperty(arbitrary, async (x) => {
    const check = await make(x);
    checked.add(check.backward.kernel);
    compared += await checkGradients(check);
  });
  await fc.assert(property, { numRuns: runs, seed: 20 });
  assert.ok(compared > runs, `only ${compared} derivatives were compared`);
}

const matrix = { rows: size(0, 4), cols: size(1, 7), seed };

describe('gradients by finite differences', () => {
  for (const [op, name] of UNARY_OPS.entries()) {
    it(`unary_bwd ${name}`, () =>
      holds(
        fc.record(matrix),
        ({ rows, cols, seed }) => {
          const draw = drawFrom(seed);
          const sign = () => (['sqrt', 'rsqrt', 'log'].includes(name) || draw.random.uniform() < 0.5 ? 1 : -1);
          // Away from the kinks at 0 and, for softplus, at 20; some far out.
          const x = draw.values(rows, cols, (i) => sign() * (0.1 + (i % 5 ? 2 : 9) * draw.random.uniform()));
          const dims = { rows, cols, op };
          const scalars = { param: 1.5 };
          return {
            forward: { kernel: 'unary', tensors: { x, y: draw.output(rows, cols) }, dims, scalars },
            backward: {
              kernel: 'unary_bwd',
              tensors: { x, dy: draw.normal(rows, cols), dx: draw.output(rows, cols) },
              dims,
              scalars,
            },
            cotangents: { y: 'dy' },
            gradients: { x: 'dx' },
          };
        },
        12,
      ));
  }

  it('softmax_bwd, and of its logarithm', () =>
    holds(fc.record({ ...matrix, log: bit }), async ({ rows, cols, log, seed }) => {
      const draw = drawFrom(seed);
      const dims = { rows, cols, log };
      const x = draw.normal(rows, cols);
      const forward: Launch = { kernel: 'softmax', tensors: { x, y: draw.output(rows, cols) }, dims, scalars: {} };
      const { y } = await evaluate(forward);
      return {
        forward,
        backward: {
          kernel: 'softmax_bwd',
          tensors: { y: draw.place(rows, cols, y, 'f64'), dy: draw.normal(rows, cols), dx: draw.output(rows, cols) },
          dims,
          scalars: {},
        },
        cotangents: { y: 'dy' },
        gradients: { x: 'dx' },
      };
    }));

  it('dropout is its own gradient', () =>
    holds(fc.record({ ...matrix, p: fc.constantFrom(0, 0.25, 0.5) }), ({ rows, cols, p, seed }) => {
      const draw = drawFrom(seed);
      const dims = { rows, cols, seed, stream: 3 };
      const dropping = (x: Launch['tensors'][string]): Launch => ({
        kernel: 'dropout',
        tensors: { x, y: draw.output(rows, cols) },
        dims,
        scalars: { p },
      });
      return {
        forward: dropping(draw.normal(rows, cols)),
        backward: dropping(draw.normal(rows, cols)),
        cotangents: { y: 'x' },
        gradients: { x: 'y' },
      };
    }));

  const products = { batch: size(1, 2), m: size(0, 4), n: size(1, 4), k: size(0, 4), transA: bit, transB: bit, seed };
  for (const operand of ['a', 'b'] as const) {
    it(`matmul with respect to ${operand}, as a matmul`, () =>
      holds(fc.record(products), (p) => matmulCheck(p, operand)));
  }

  it('embedding_bwd', () =>
    holds(fc.record({ n: size(0, 6), d: size(1, 5), v: size(1, 4), seed }), ({ n, d, v, seed }) => {
      const draw = drawFrom(seed);
      const ids = draw.integers(n, 1, -1, v + 1);
      const dims = { n, d, v };
      return {
        forward: {
          kernel: 'embedding',
          tensors: { table: draw.normal(v, d), ids, y: draw.output(n, d) },
          dims,
          scalars: {},
        },
        backward: {
          kernel: 'embedding_bwd',
          tensors: { dy: draw.normal(n, d), ids, dtable: draw.normal(v, d) },
          dims,
          scalars: {},
        },
        cotangents: { y: 'dy' },
        gradients: { table: 'dtable' },
      };
    }));

  for (const kind of ['rms', 'layer'] as const) {
    const options = { residual: fc.boolean(), weight: fc.boolean(), withSum: fc.boolean() };
    it(`${kind}_norm_bwd`, () =>
      holds(fc.record({ ...matrix, cols: size(2, 7), ...options }), async (x) => {
        const draw = drawFrom(x.seed);
        const forward = normForward(draw, kind, x.rows, x.cols, { ...x, training: true });
        // Rows without variance have a curvature that differences cannot follow.
        const tensors = { ...forward.tensors, x: draw.normal(x.rows, x.cols) };
        const launch = { ...forward, tensors };
        return {
          forward: launch,
          backward: await normBackward(draw, kind, launch, { withSum: x.withSum, withParameters: true }),
          cotangents: { y: 'dy', sum: 'dsum' },
          gradients: { x: 'dx', residual: 'dx', weight: 'dweight', bias: 'dbias' },
        };
      }));
  }

  it('cross_entropy', () =>
    holds(fc.record(matrix), ({ rows, cols, seed }) => {
      const draw = drawFrom(seed);
      const ignore = -1;
      const launch: Launch = {
        kernel: 'cross_entropy',
        tensors: {
          logits: draw.normal(rows, cols),
          targets: draw.integers(rows, 1, ignore, cols),
          losses: draw.output(rows, 1),
          dlogits: draw.output(rows, cols),
        },
        dims: { rows, cols, ignore },
        scalars: { gradScale: -0.75 },
      };
      const ones = draw.values(rows, 1, () => 1);
      return {
        forward: launch,
        // The kernel takes no cotangents: the loss is the sum over rows, times gradScale.
        backward: { ...launch, tensors: { ...launch.tensors, losses: { ...ones } } },
        cotangents: { losses: 'losses' },
        gradients: { logits: 'dlogits' },
        scale: -0.75,
      };
    }));

  it('causal_conv_bwd', () =>
    holds(
      fc.record({
        b: size(0, 2),
        l: size(0, 7),
        d: size(1, 3),
        k: size(1, 5),
        silu: bit,
        flags: fc.constantFrom(...FLAG_MODES),
        bias: fc.boolean(),
        stateIn: fc.boolean(),
        stateOut: fc.boolean(),
        seed,
      }),
      ({ b, l, d, k, silu, seed, ...options }) => {
        const draw = drawFrom(seed);
        const forward = convForward(draw, { b, l, d, k, silu }, options);
        return {
          forward,
          backward: convBackward(draw, forward),
          cotangents: { y: 'dy', stateOut: 'dstateOut' },
          gradients: { x: 'dx', weight: 'dweight', bias: 'dbias', stateIn: 'dstateIn' },
        };
      },
      150,
    ));

  it('selective_scan_bwd', () =>
    holds(
      fc.record({
        b: size(0, 2),
        l: size(0, 7),
        d: size(1, 3),
        n: size(1, 3),
        chunk: size(1, 4),
        softplus: bit,
        flags: fc.constantFrom(...FLAG_MODES),
        skip: fc.boolean(),
        gate: fc.boolean(),
        dtBias: fc.boolean(),
        stateIn: fc.boolean(),
        stateOut: fc.boolean(),
        largeSteps: fc.boolean(),
        seed,
      }),
      async ({ b, l, d, n, chunk, softplus, seed, ...options }) => {
        const draw = drawFrom(seed);
        const forward = scanForward(draw, { b, l, d, n, chunk, softplus }, { ...options, checkpoints: false });
        return {
          forward,
          backward: await scanBackward(draw, forward),
          cotangents: { y: 'dy', stateOut: 'dstateOut' },
          gradients: {
            u: 'du',
            dt: 'ddt',
            a: 'da',
            b: 'db',
            c: 'dc',
            d: 'dd',
            z: 'dz',
            dtBias: 'ddtBias',
            stateIn: 'dstateIn',
          },
        };
      },
      150,
    ));

  it('attention_bwd', () =>
    holds(
      fc.record({
        b: size(1, 2),
        lq: size(0, 5),
        past: size(0, 3),
        kvHeads: size(1, 2),
        d: size(1, 3),
        mode: fc.constantFrom(...FLAG_MODES),
        group: size(1, 2),
        seed,
      }),
      async ({ seed, group, ...shape }) => {
        const draw = drawFrom(seed);
        const forward = await attentionForward(draw, { ...shape, heads: group * shape.kvHeads });
        const backward = await attentionBackward(draw, forward);
        return {
          forward: { ...forward, tensors: { ...forward.tensors, lse: null } },
          backward,
          cotangents: { y: 'dy' },
          gradients: { q: 'dq', k: 'dk', v: 'dv' },
        };
      },
    ));

  it('leaves no backward kernel of the table out', () => {
    const backward = KERNEL_NAMES.filter((name) => name.endsWith('_bwd'));
    assert.deepEqual(
      backward.filter((name) => !checked.has(name)),
      [],
    );
  });
});

interface Product {
  batch: number;
  m: number;
  n: number;
  k: number;
  transA: 0 | 1;
  transB: 0 | 1;
  seed: number;
}

/** dA = alpha dC op(B)^T and dB = alpha op(A)^T dC, transposed as A and B are stored. */
function matmulCheck({ batch, m, n, k, transA, transB, seed }: Product, operand: 'a' | 'b'): GradientCheck {
  const draw = drawFrom(seed);
  const scalars = { alpha: 0.5, beta: 0 };
  const stored = (rows: number, cols: number, isTransposed: number) =>
    isTransposed ? draw.normal(batch * cols, rows) : draw.normal(batch * rows, cols);
  const a = stored(m, k, transA);
  const b = stored(k, n, transB);
  const dc = draw.normal(batch * m, n);
  const stride = (x: { rows: number; ld: number }) => (x.rows / batch) * x.ld;
  const launch = (
    left: typeof a,
    right: typeof a,
    c: typeof a,
    sizes: { m: number; n: number; k: number; transA: number; transB: number },
  ): Launch => ({
    kernel: 'matmul',
    tensors: { a: left, b: right, bias: null, c },
    dims: { batch, ...sizes, strideA: stride(left), strideB: stride(right), strideC: stride(c) },
    scalars,
  });
  const forward = launch(a, b, draw.output(batch * m, n), { m, n, k, transA, transB });
  if (operand === 'a') {
    const da = draw.output(a.rows, a.cols);
    const backward = transA
      ? launch(b, dc, da, { m: k, n: m, k: n, transA: transB, transB: 1 })
      : launch(dc, b, da, { m, n: k, k: n, transA: 0, transB: 1 - transB });
    return { forward, backward, cotangents: { c: transA ? 'b' : 'a' }, gradients: { a: 'c' } };
  }
  const db = draw.output(b.rows, b.cols);
  const backward = transB
    ? launch(dc, a, db, { m: n, n: k, k: m, transA: 1, transB: transA })
    : launch(a, dc, db, { m: k, n, k: m, transA: 1 - transA, transB: 0 });
  return { forward, backward, cotangents: { c: transB ? 'a' : 'b' }, gradients: { b: 'c' } };
}
