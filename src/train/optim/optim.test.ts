import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createReferenceBackend } from '../../backend/reference/index.ts';
import { ConfigError, fromBf16, HostRandom, toBf16 } from '../../core/index.ts';
import { Device, type Tensor } from '../../tensor/index.ts';
import { AdamW, checkSchedule, LossScale, learningRateAt, readReport, type ScheduleOptions } from '../index.ts';

function near(got: number, expected: number, tolerance = 1e-6): void {
  assert.ok(Math.abs(got - expected) <= tolerance, `${got} is not ${expected}`);
}

function nearAll(got: ArrayLike<number>, expected: (i: number) => number, tolerance?: number): void {
  for (let i = 0; i < got.length; i++) near(got[i], expected(i), tolerance);
}

test('schedules: warm-up, then constant, linear or cosine', () => {
  const base: ScheduleOptions = { schedule: 'constant', learningRate: 1, steps: 10, warmup: 4, minLearningRate: 0.1 };
  const curve = (schedule: ScheduleOptions['schedule']) =>
    Array.from({ length: 10 }, (_, i) => learningRateAt(i, { ...base, schedule }));
  assert.deepEqual(curve('constant'), [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]);
  const warm = (i: number) => (i + 1) / 4;
  nearAll(curve('linear'), (i) => (i < 4 ? warm(i) : 0.1 + 0.9 * (1 - (i - 4) / 6)));
  nearAll(curve('cosine'), (i) => (i < 4 ? warm(i) : 0.1 + 0.45 * (1 + Math.cos((Math.PI * (i - 4)) / 6))));
  assert.equal(learningRateAt(10, { ...base, schedule: 'cosine' }), 0.1);
  assert.equal(learningRateAt(99, { ...base, schedule: 'linear' }), 0.1);
  // A share of the steps; no warm-up at all.
  assert.equal(learningRateAt(0, { ...base, warmup: 0.4 }), 0.25);
  assert.equal(learningRateAt(0, { ...base, warmup: 0, schedule: 'cosine' }), 1);
});

test('settings that make no schedule are errors that name the value', () => {
  const base: ScheduleOptions = { schedule: 'linear', learningRate: 1, steps: 10 };
  for (const [wrong, message] of [
    [{ learningRate: 0 }, /learning_rate: .* got 0/],
    [{ learningRate: Number.NaN }, /learning_rate/],
    [{ steps: 1.5 }, /steps: .* got 1.5/],
    [{ warmup: -1 }, /warmup/],
    [{ minLearningRate: 2 }, /min_lr/],
    [{ schedule: 'cosin' }, /cosin/],
  ] as const) {
    assert.throws(
      () => checkSchedule({ ...base, ...wrong } as ScheduleOptions),
      (error: Error) => {
        return error instanceof ConfigError && message.test(error.message);
      },
    );
  }
});

test('the loss scale halves on overflow, doubles after a while without, and has ends', () => {
  const scale = new LossScale({ initialScale: 8, growthInterval: 3 });
  const scales = [true, true, true, true, false, true, true, true, false, false, false, false, false, false].map(
    (ok) => {
      scale.record(ok);
      return scale.scale;
    },
  );
  assert.deepEqual(scales, [8, 8, 16, 16, 8, 8, 8, 16, 8, 4, 2, 1, 1, 1]);
  assert.equal(scale.canShrink, false);
  const copy = new LossScale({ growthInterval: 3 });
  copy.restore({ scale: 4, goodSteps: 2 });
  copy.record(true);
  assert.deepEqual(copy.state(), { scale: 8, goodSteps: 0 });
});

const setGrad = (tensor: Tensor, values: number[], dtype = tensor.dtype) => {
  tensor.zeroGrad();
  tensor.grad = tensor.device.from(values, tensor.shape, dtype);
};

/** AdamW in plain numbers. */
function plainAdamW(start: number[], grads: number[][], { lr = 0.1, decay = 0.1, clip = 0 }) {
  const [b1, b2, eps] = [0.9, 0.999, 1e-8];
  const w = [...start];
  const m = w.map(() => 0);
  const v = w.map(() => 0);
  grads.forEach((grad, t) => {
    const norm = Math.hypot(...grad);
    const factor = clip > 0 ? Math.min(1, clip / (norm + 1e-6)) : 1;
    grad.forEach((raw, i) => {
      const g = raw * factor;
      m[i] = b1 * m[i] + (1 - b1) * g;
      v[i] = b2 * v[i] + (1 - b2) * g * g;
      w[i] -= lr * decay * w[i];
      w[i] -= (lr * (m[i] / (1 - b1 ** (t + 1)))) / (Math.sqrt(v[i] / (1 - b2 ** (t + 1))) + eps);
    });
  });
  return w;
}

test('AdamW decays what it should, clips by the norm of all, and leaves what has no gradient', async () => {
  const device = new Device(createReferenceBackend());
  const random = new HostRandom(5);
  const a = device.from([1, -2]).trainable();
  const b = device.from([3]).trainable();
  const idle = device.from([7]).trainable();
  const optimizer = new AdamW(
    [
      { name: 'a', tensor: a, isDecayed: true },
      { name: 'b', tensor: b, isDecayed: false },
      { name: 'idle', tensor: idle, isDecayed: true },
    ],
    { weightDecay: 0.1 },
  );
  const grads = Array.from({ length: 4 }, () => [random.normal(), random.normal(), random.normal()]);
  for (const [x, y, z] of grads) {
    setGrad(a, [x, y]);
    setGrad(b, [z]);
    const control = optimizer.update({ learningRate: 0.1, clipNorm: 0.5 });
    const report = await readReport(control);
    near(report.gradNorm, Math.hypot(x, y, z), 1e-5);
    assert.equal(report.isApplied, true);
    optimizer.zeroGrad();
  }
  const decayed = plainAdamW([1, -2, 3], grads, { decay: 0.1, clip: 0.5 });
  const plain = plainAdamW([1, -2, 3], grads, { decay: 0, clip: 0.5 });
  nearAll(await a.read(), (i) => decayed[i], 1e-5);
  near((await b.read())[0], plain[2], 1e-5);
  assert.deepEqual([...(await idle.read())], [7]);
});

test('a half parameter follows its f32 master; updates too small for the half type are not lost', async () => {
  const device = new Device(createReferenceBackend());
  const half = device.from([1, -1], [2], 'bf16').trainable();
  const full = device.from([1, -1]).trainable();
  const named = (tensor: Tensor) => [{ name: 'w', tensor, isDecayed: false }];
  const [low, high] = [new AdamW(named(half)), new AdamW(named(full))];
  for (let step = 0; step < 40; step++) {
    for (const [tensor, optimizer] of [
      [half, low],
      [full, high],
    ] as const) {
      setGrad(tensor, [1, 1]);
      optimizer.update({ learningRate: 2 ** -12 }).dispose(); // a sixteenth of what bf16 tells apart near 1
    }
  }
  const exact = await full.read();
  assert.deepEqual(await low.state().get('master.w')!.read(), exact);
  assert.deepEqual(
    [...(await half.read())],
    Array.from(exact, (x) => fromBf16(toBf16(x))),
  );
  assert.ok((await half.read())[0] < 1);
});

test('gradients that are not finite change nothing', async () => {
  const device = new Device(createReferenceBackend());
  const w = device.from([1, 2]).trainable();
  const optimizer = new AdamW([{ name: 'w', tensor: w, isDecayed: true }]);
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
    setGrad(w, [bad, 1]);
    const report = await readReport(optimizer.update({ learningRate: 0.1, inverseScale: 1 / 8 }));
    assert.equal(report.isApplied, false);
    assert.equal(Number.isFinite(report.gradNorm), false);
    optimizer.uncount();
  }
  assert.equal(optimizer.step, 0);
  assert.deepEqual([...(await w.read())], [1, 2]);
  for (const tensor of optimizer.state().values()) assert.deepEqual([...(await tensor.read())], [0, 0]);
});

test('no parameters, or two of a name, are errors', () => {
  const device = new Device(createReferenceBackend());
  const one = { name: 'w', tensor: device.zeros([1]), isDecayed: true };
  assert.throws(() => new AdamW([]), /no parameters/);
  assert.throws(() => new AdamW([one, one]), /stands twice/);
});
