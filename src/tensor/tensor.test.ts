import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import type { Command } from '../backend/index.ts';
import { createReferenceBackend } from '../backend/reference/index.ts';
import { HostRandom, RandomSource, type Shape, sizeOf } from '../core/index.ts';
import * as T from './index.ts';

const device = new T.Device(createReferenceBackend());
after(() => device.close());

const normal = (shape: Shape, seed = 1, dtype: 'f32' | 'f64' | 'bf16' = 'f64') => {
  const random = new HostRandom(seed);
  return device.from(
    Array.from({ length: sizeOf(shape) }, () => random.normal()),
    shape,
    dtype,
  );
};
const values = async (t: T.Tensor) => Array.from(await t.read());
const near = (a: number[], b: number[], tolerance: number, what = '') => {
  assert.equal(a.length, b.length, what);
  for (const [i, x] of a.entries()) {
    assert.ok(Math.abs(x - b[i]) <= tolerance * Math.max(1, Math.abs(b[i])), `${what}[${i}]: ${x} against ${b[i]}`);
  }
};

describe('gradients against central differences', () => {
  const positive = (_i: number, n: number, r: HostRandom) => Array.from({ length: n }, () => 0.5 + r.uniform());
  const packed = () => device.from([0, 0, 1, 0, 2, 2, 0, 0, 1, 0], [2, 5], 'i32');
  const cases: Record<string, [(...x: T.Tensor[]) => T.Tensor | T.Tensor[], Shape[], T.GradCheckOptions?]> = {
    'add, broadcast rows': [T.add, [[2, 3, 4], [4]]],
    'add, broadcast middle': [
      T.add,
      [
        [2, 1, 4],
        [3, 1],
      ],
    ],
    'sub, scalar': [T.sub, [[], [2, 3]]],
    'mul, column': [
      T.mul,
      [
        [2, 3, 4],
        [2, 3, 1],
      ],
    ],
    'mul, both stretched': [
      T.mul,
      [
        [3, 1],
        [1, 4],
      ],
    ],
    div: [T.div, [[2, 3], [3]], { values: positive }],
    'div, swapped broadcast': [T.div, [[3], [2, 3]], { values: positive }],
    neg: [T.neg, [[5]]],
    square: [T.square, [[5]]],
    abs: [T.abs, [[5]]],
    sqrt: [T.sqrt, [[5]], { values: positive }],
    rsqrt: [T.rsqrt, [[5]], { values: positive }],
    reciprocal: [T.reciprocal, [[5]], { values: positive }],
    exp: [T.exp, [[5]]],
    log: [T.log, [[5]], { values: positive }],
    sigmoid: [T.sigmoid, [[5]]],
    silu: [T.silu, [[5]]],
    softplus: [T.softplus, [[5]]],
    tanh: [T.tanh, [[5]]],
    relu: [T.relu, [[5]]],
    gelu: [T.gelu, [[5]]],
    'scale and shift': [(x) => T.shift(T.scale(x, -2.5), 3), [[5]]],
    'sum over an axis': [(x) => T.sum(x, 1), [[2, 3, 4]]],
    mean: [(x) => T.mean(x, 0), [[3, 2]]],
    'mean of all': [(x) => T.mean(x), [[3, 2]]],
    softmax: [T.softmax, [[3, 5]]],
    logSoftmax: [T.logSoftmax, [[3, 5]]],
    reshape: [(x) => T.reshape(x, [6, -1]), [[2, 3, 4]]],
    permute: [(x) => T.permute(x, [2, 0, 1]), [[2, 3, 4]]],
    expand: [(x) => T.expand(x, [2, 3, 4]), [[3, 1]]],
    'narrow last': [(x) => T.narrow(x, -1, 1, 2), [[2, 3, 4]]],
    'narrow middle': [(x) => T.narrow(x, 1, 1, 2), [[2, 3, 4]]],
    'narrow first': [(x) => T.narrow(x, 0, 1, 1), [[2, 3, 4]]],
    'split, one part unused': [
      (x) => {
        const [a, , c] = T.split(x, [1, 2, 2]);
        return T.concat([c, a], 1);
      },
      [[3, 5]],
    ],
    'split then reshape a view': [(x) => T.reshape(T.split(x, [2, 3])[1], [2, 6]), [[4, 5]]],
    concat: [
      (x, y) => T.concat([x, y], 1),
      [
        [2, 2, 3],
        [2, 1, 3],
      ],
    ],
    matmul: [
      (a, b) => T.matmul(a, b),
      [
        [3, 4],
        [4, 2],
      ],
    ],
    'matmul transposed': [
      (a, b) => T.matmul(a, b, { transA: true, transB: true, alpha: 0.5 }),
      [
        [4, 3],
        [2, 4],
      ],
    ],
    'matmul batched': [
      (a, b) => T.matmul(a, b, { transB: true }),
      [
        [2, 3, 4],
        [2, 5, 4],
      ],
    ],
    'matmul batched transA': [
      (a, b) => T.matmul(a, b, { transA: true }),
      [
        [2, 4, 3],
        [2, 4, 5],
      ],
    ],
    'matmul shared b': [
      (a, b) => T.matmul(a, b),
      [
        [2, 3, 4],
        [4, 2],
      ],
    ],
    linear: [(x, w, b) => T.linear(x, w, b), [[2, 3, 4], [5, 4], [5]]],
    'linear on a view': [
      (x, w) => T.linear(T.split(x, [2, 4])[1], w),
      [
        [3, 6],
        [2, 4],
      ],
    ],
    embedding: [(t) => T.embedding(t, device.from([2, 0, 2, 7], [2, 2], 'i32')), [[4, 3]]],
    'same tensor twice': [(x) => T.mul(x, x), [[4]]],
    'rmsNorm with residual': [
      (x, w, r) => {
        const n = T.rmsNorm(x, w, { residual: r });
        return [n.y, n.sum];
      },
      [[3, 4], [4], [3, 4]],
    ],
    'rmsNorm, sum alone': [
      (x, r) => T.rmsNorm(x, null, { residual: r }).sum,
      [
        [3, 4],
        [3, 4],
      ],
    ],
    'layerNorm with residual': [
      (x, w, b, r) => {
        const n = T.layerNorm(x, w, b, { residual: r });
        return [n.y, n.sum];
      },
      [[3, 4], [4], [4], [3, 4]],
    ],
    'causalConv with state': [
      (x, w, b, s) => {
        const c = T.causalConv(x, w, { bias: b, state: s, activation: true, wantState: true });
        return [c.y, c.state!];
      },
      [[2, 5, 3], [3, 4], [3], [2, 3, 3]],
    ],
    'causalConv, state alone': [
      (x, w) => T.causalConv(x, w, { wantState: true }).state!,
      [
        [1, 2, 3],
        [3, 4],
      ],
    ],
    rotary: [
      (x) => T.rotary(x, device.from([0, 3, 40, 1, 2, 9], [2, 3]), { heads: 2, rotated: 4, base: 100 }),
      [[2, 3, 10]],
    ],
    'attention over remembered keys, grouped heads': [
      (q, k, v) => T.attention(q, k, v, { heads: 4, kvHeads: 2, scale: 0.7 }),
      [
        [2, 3, 12],
        [2, 5, 6],
        [2, 5, 6],
      ],
    ],
    'attention within documents': [
      (q, k, v) => {
        const { documents } = T.sequencePositions(packed(), 2, 5, null, device);
        return T.attention(q, k, v, { heads: 2, queryDocuments: documents, keyDocuments: documents });
      },
      [
        [2, 5, 6],
        [2, 5, 6],
        [2, 5, 6],
      ],
    ],
    crossEntropy: [(x) => T.crossEntropy(x, device.from([1, -100, 0], [3], 'i32')), [[3, 4]]],
    linearCrossEntropy: [
      (x, w) => T.linearCrossEntropy(x, w, device.from([1, -100, 4], [3], 'i32'), { normalizer: 2 }),
      [
        [3, 4],
        [5, 4],
      ],
    ],
    'linearCrossEntropy in a sum': [
      (x, w) => T.scale(T.linearCrossEntropy(x, w, device.from([1, 2], [2], 'i32'), { normalizer: 2 }), 3),
      [
        [2, 4],
        [5, 4],
      ],
    ],
  };
  for (const [name, [fn, shapes, options]] of Object.entries(cases)) {
    it(name, async () => {
      const blocks = device.memory().blocks;
      const worst = await device_(() => T.gradCheck(device, fn, shapes, options));
      assert.ok(worst < 1e-6, `worst relative error ${worst}`);
      assert.equal(device.memory().blocks, blocks, 'tensors leaked');
    });
  }
  // Inputs that a case makes outside any scope (targets, ids) live in fn's scope inside gradCheck.
  const device_ = <R>(work: () => Promise<R>) => work();

  it('selectiveScan with every option', async () => {
    const n = 2;
    const flags = device.from([0, 0, 1, 2, 0, 0, 2, 0, 0, 1], [2, 5], 'i32');
    for (const fl of [null, flags]) {
      const fn = (
        u: T.Tensor,
        dt: T.Tensor,
        a: T.Tensor,
        B: T.Tensor,
        C: T.Tensor,
        D: T.Tensor,
        z: T.Tensor,
        dtBias: T.Tensor,
        state: T.Tensor,
      ) => {
        const r = T.selectiveScan(
          { u, dt, A: T.neg(T.exp(a)), B, C, D, z, dtBias },
          { flags: fl, state, wantState: true },
        );
        return [r.y, r.state!];
      };
      const shapes = [[2, 5, 3], [2, 5, 3], [n, 3], [2, 5, n], [2, 5, n], [3], [2, 5, 3], [3], [2, n, 3]];
      const worst = await T.gradCheck(device, fn as never, shapes);
      assert.ok(worst < 1e-6, `worst relative error ${worst}`);
    }
    flags.dispose();
  });
});

describe('fused operations and their composed twins', () => {
  const same = async (a: T.Tensor[], b: T.Tensor[]) => {
    for (const [i, t] of a.entries()) near(await values(t), await values(b[i]), 1e-10, `output ${i}`);
  };
  it('rmsNorm and layerNorm', async () => {
    const [x, r, w, b] = [normal([3, 5]), normal([3, 5], 2), normal([5], 3), normal([5], 4)];
    const list = (n: T.NormResult) => [n.y, n.sum];
    await same(list(T.rmsNorm(x, w, { residual: r, eps: 1e-3 })), list(T.rmsNormRef(x, w, { residual: r, eps: 1e-3 })));
    await same(list(T.layerNorm(x, w, b, { residual: r })), list(T.layerNormRef(x, w, b, { residual: r })));
  });
  it('causalConv and selectiveScan, forward and gradients', async () => {
    const run = async (fused: boolean) => {
      const [x, w, b] = [normal([2, 7, 3]).trainable(), normal([3, 4], 2).trainable(), normal([3], 3).trainable()];
      const [dt, a, B, C, D, z] = [
        normal([2, 7, 3], 4),
        normal([2, 3], 5),
        normal([2, 7, 2], 6),
        normal([2, 7, 2], 7),
        normal([3], 8),
        normal([2, 7, 3], 9),
      ];
      for (const t of [dt, a, B, C, D, z]) t.trainable();
      const conv = (fused ? T.causalConv : T.causalConvRef)(x, w, { bias: b, activation: true, wantState: true });
      const scan = (fused ? T.selectiveScan : T.selectiveScanRef)(
        { u: conv.y, dt, A: T.neg(T.exp(a)), B, C, D, z, dtBias: b },
        { wantState: true },
      );
      T.backward(T.add(T.sum(T.square(scan.y)), T.sum(scan.state!)));
      return [scan.y, scan.state!, conv.state!, ...[x, w, b, dt, a, B, C, D, z].map((t) => t.grad!)];
    };
    await same(await run(true), await run(false));
  });
  it('attention and rotary, forward and gradients, with documents and without', async () => {
    const places = [0, 7, 300, 2, 4, 1, 90, 0, 1, 2];
    const run = async (isFused: boolean, hasDocuments: boolean) => {
      const shapes = [
        [2, 5, 18],
        [2, 7, 9],
        [2, 7, 9],
      ];
      const [q, k, v] = shapes.map((shape, i) => normal(shape, i + 1).trainable());
      const seen = T.sequencePositions(
        device.from(
          Array.from({ length: 14 }, (_, i) => [0, 0, 1, 2, 0][i % 5]),
          [2, 7],
          'i32',
        ),
        2,
        7,
        null,
        device,
      );
      const documents = T.contiguous(seen.documents);
      const own = T.contiguous(T.narrow(documents, 1, 2, 5));
      const options = {
        heads: 6,
        kvHeads: 3,
        ...(hasDocuments && { queryDocuments: own, keyDocuments: documents }),
      };
      const turning = { heads: 6, rotated: 2, base: 100 };
      const turned = isFused ? T.rotary(q, device.from(places, [2, 5]), turning) : T.rotaryRef(q, places, turning);
      const y = (isFused ? T.attention : T.attentionRef)(turned, k, v, options);
      T.backward(T.sum(T.square(y)));
      return [y, ...[q, k, v].map((t) => t.grad!)];
    };
    for (const hasDocuments of [false, true]) await same(await run(true, hasDocuments), await run(false, hasDocuments));
  });

  it('linearCrossEntropy of no rows is 0', async () => {
    const [x, w] = [device.zeros([0, 3]).trainable(), device.zeros([5, 3])];
    const loss = T.linearCrossEntropy(x, w, device.empty([0], 'i32'), { normalizer: 1 });
    assert.equal(await loss.item(), 0);
  });

  it('linearCrossEntropy equals crossEntropy of the logits, over several blocks of rows', async () => {
    const [x, w] = [normal([40, 8]).trainable(), normal([300_000 / 8, 8], 2).trainable()];
    const targets = device.from(
      Array.from({ length: 40 }, (_, i) => (i % 7 ? i * 31 : -100)),
      [40],
      'i32',
    );
    const fused = T.linearCrossEntropy(x, w, targets, { normalizer: 34 });
    T.backward(fused);
    const [gx, gw] = [await values(x.grad!), await values(w.grad!)];
    x.zeroGrad();
    w.zeroGrad();
    const plain = T.scale(T.sum(T.crossEntropy(T.linear(x, w), targets)), 1 / 34);
    T.backward(plain);
    near([await fused.item()], [await plain.item()], 1e-12);
    near(gx, await values(x.grad!), 1e-10);
    near(gw, await values(w.grad!), 1e-10);
  });
});

describe('gradients of what several layers read', () => {
  const columnSums = (m: number[], columns: number) =>
    Array.from({ length: columns }, (_, j) => m.reduce((sum, v, i) => (i % columns === j ? sum + v : sum), 0));
  const ofEachRow = async (work: (inner: T.Tensor) => T.Tensor, expected: number[]) => {
    const x = normal([4, 3]).trainable();
    const once = (t: T.Tensor) => T.mul(t, device.full([], 1, 'f64'));
    // Not a leaf: its gradient waits where layers can add to it; and a dense gradient, which that of a sum is not.
    T.backward(T.sum(once(work(once(x)))));
    near(
      await values(x.grad!),
      [0, 1, 2, 3].flatMap(() => expected),
      1e-12,
    );
  };

  it('are added in the memory of the first', async () => {
    const [w, v] = [normal([5, 3], 2), normal([5, 3], 3)];
    const [a, b] = [columnSums(await values(w), 3), columnSums(await values(v), 3)];
    const expected = a.map((sum, j) => sum + b[j]);
    await ofEachRow((inner) => T.add(T.linear(inner, w), T.linear(inner, v)), expected);
  });

  it('are not added in memory that others still read', async (t) => {
    const w = normal([3, 3], 4);
    const sums = columnSums(await values(w), 3);
    const products: Command[] = [];
    const launch = device.backend.launch.bind(device.backend);
    t.mock.method(device.backend, 'launch', (command: Command) => {
      if (command.kernel === 'matmul') products.push(command);
      launch(command);
    });
    // The sum passes one gradient on to the stream and to the layer beside it.
    await ofEachRow(
      (inner) => T.add(inner, T.linear(inner, w)),
      sums.map((sum) => 1 + sum),
    );
    assert.equal(products.length, 2);
    for (const { tensors } of products) {
      const blocks = tensors.flatMap((own) => own?.block ?? []);
      assert.equal(new Set(blocks).size, blocks.length, 'a product reads what it writes');
    }
  });
});

describe('lifetimes', () => {
  it('a scope frees what is not returned, and gradients keep what they need', async () => {
    const start = device.memory().blocks;
    const x = normal([4]).trainable();
    const loss = device.scope(() => T.sum(T.square(T.exp(x))));
    T.backward(loss);
    near(
      await values(x.grad!),
      (await values(x)).map((v) => 2 * Math.exp(2 * v)),
      1e-12,
    );
    assert.throws(() => T.backward(loss), /already used/);
    x.zeroGrad();
    x.dispose();
    loss.dispose();
    loss.dispose();
    assert.equal(device.memory().blocks, start);
  });
  it('refuses a disposed tensor and an async scope', () => {
    const x = normal([2]);
    x.dispose();
    assert.throws(() => T.neg(x), /disposed/);
    assert.throws(() => device.scope(async () => 1), /async/);
  });
  it('a discarded graph is freed', () => {
    const start = device.memory().blocks;
    const x = normal([4]).trainable();
    const y = device.scope(() => T.square(T.exp(x)));
    T.discardGraph(y);
    y.dispose();
    x.dispose();
    assert.equal(device.memory().blocks, start);
  });
  it('checkpoint gives the same gradients, dropout included, and saves only its inputs', async () => {
    const grads: number[][] = [];
    for (const on of [false, true]) {
      const random = new RandomSource(7);
      const [x, w] = [normal([4, 4]).trainable(), normal([4, 4], 2).trainable()];
      const start = device.memory().blocks;
      const block = (h: T.Tensor) => [T.dropout(T.silu(T.linear(h, w)), 0.5, random)];
      const [y] = device.scope(() => (on ? T.checkpoint([x], block, random) : block(x)));
      assert.ok(!on || device.memory().blocks === start + 1, 'only the output is new');
      T.backward(device.scope(() => T.sum(T.square(y))));
      grads.push([...(await values(x.grad!)), ...(await values(w.grad!))]);
    }
    assert.deepEqual(grads[0], grads[1]);
  });
  it('a recomputed result takes no memory, and is computed again once, dropout included, for the same gradients', async () => {
    const grads: number[][] = [];
    for (const on of [false, true]) {
      const random = new RandomSource(7);
      const [x, w] = [normal([4, 4]).trainable(), normal([4, 4], 2).trainable()];
      const start = device.memory().blocks;
      let times = 0;
      const work = (h: T.Tensor) => {
        times++;
        return T.dropout(T.silu(h), 0.5, random);
      };
      const y = device.scope(() => {
        const drawn = { random, stream: random.stream };
        const inner = work(x);
        const out = T.linear(inner, w);
        T.dropout(x, 0.5, random); // so that the source stands elsewhere later
        if (on) T.recompute(inner, [x], work, drawn);
        return out;
      });
      const kept = device.memory().blocks - start;
      T.backward(device.scope(() => T.sum(T.add(T.square(y), y))));
      grads.push([kept, times, ...(await values(x.grad!)), ...(await values(w.grad!))]);
    }
    const [[held, once, ...plain], [heldLess, twice, ...again]] = grads;
    assert.deepEqual([held - heldLess, once, twice], [1, 1, 2]);
    assert.deepEqual(again, plain);
  });
  it('a recomputed result that no gradient reads frees the inputs that were kept for it', () => {
    const start = device.memory().blocks;
    const w = normal([4, 4]).trainable();
    const y = device.scope(() => {
      const x = normal([4, 4], 2);
      const h = T.mul(x, w);
      const out = T.square(h);
      T.recompute(h, [x], (again) => T.mul(again, w));
      return out;
    });
    T.discardGraph(y);
    y.dispose();
    w.dispose();
    assert.equal(device.memory().blocks, start);
    const shared = device.scope(() => {
      const v = normal([2]).trainable();
      const h = T.exp(v);
      const out = T.square(h);
      T.recompute(h, [v], (again) => device.keep(T.exp(again)).alias());
      return out;
    });
    assert.throws(() => T.backward(T.sum(shared)), /held by others/);
  });
});

describe('mixed precision', () => {
  it('linear on bf16 activations returns the f32 gradient of its f32 weight', async () => {
    const x = normal([3, 4], 1, 'bf16').trainable();
    const w = normal([5, 4], 2, 'f32').trainable();
    const y = T.linear(x, w);
    assert.equal(y.dtype, 'bf16');
    T.backward(T.sum(T.cast(y, 'f32')));
    assert.equal(w.grad!.dtype, 'f32');
    assert.equal(x.grad!.dtype, 'bf16');
    const sums = await values(T.sum(T.cast(x, 'f32'), 0));
    near(
      await values(T.reshape(w.grad!, [20])),
      Array.from({ length: 20 }, (_, i) => sums[i % 4]),
      1e-6,
    );
  });
});

describe('errors', () => {
  it('name the argument, the expectation and what came', () => {
    const [a, b] = [normal([2, 3]), normal([2, 4])];
    assert.throws(() => T.add(a, b), /\[add\] b: expected a shape that broadcasts with \[2, 3\], got \[2, 4\]/);
    assert.throws(() => T.matmul(a, b), /\[matmul\] b: expected 3 rows/);
    assert.throws(() => T.linear(a, b), /\[linear\] weight/);
    assert.throws(() => T.reshape(a, [4]), /\[reshape\] shape/);
    assert.throws(() => T.narrow(a, 1, 2, 2), /\[narrow\]/);
    assert.throws(() => T.backward(a), /scalar/);
    assert.throws(() => T.add(a, T.cast(b, 'f32')), /cast one of them/);
    assert.throws(() => T.embedding(a, b), /i32/);
  });
});
