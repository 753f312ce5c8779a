/** Lion against the equations in f64, against lion-pytorch, and what a skipped update leaves. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceCandidate } from '../../backend/select.ts';
import { type DType, fromBf16, HostRandom, toBf16 } from '../../core/index.ts';
import { testDevices } from '../../models/testing/devices.ts';
import { Device, type Tensor } from '../../tensor/index.ts';
import { distance, readFixture, readFixtureJson } from '../../tune/testing/fixtures.ts';
import { createOptimizer, Lion, type Optimizer, readReport } from '../index.ts';

const devices = await testDevices();

interface Given {
  betas: [number, number];
  given: { steps: number; learning_rate: number; weight_decay: number; clip_norm: number; gradient_norms: number[] };
}
const { betas, given } = readFixtureJson<Given>('lion.json');
const tensors = await readFixture('lion.safetensors');

/** Lion in plain f64: one parameter, gradients as they are after clipping. */
function plainLion(start: ArrayLike<number>, grads: readonly ArrayLike<number>[], rate: number, decay: number) {
  const w = Array.from(start);
  const m = w.map(() => 0);
  for (const grad of grads) {
    w.forEach((value, i) => {
      const c = 0.9 * m[i] + 0.1 * grad[i];
      w[i] = value - rate * decay * value - rate * Math.sign(c);
      m[i] = 0.99 * m[i] + 0.01 * grad[i];
    });
  }
  return { w, m };
}

function setGrad(tensor: Tensor, values: ArrayLike<number>, dtype: DType = tensor.dtype): void {
  tensor.zeroGrad();
  tensor.grad = tensor.device.keep(tensor.device.from(values, tensor.shape, dtype));
}

const normals = (random: HostRandom, count: number) => Array.from({ length: count }, () => random.normal());
const momentOf = (optimizer: Optimizer, name: string) => optimizer.state().get(`m.${name}`)!;

/** Bytes of parameter and moment after five updates from gradients that are drawn. */
async function bytesAfter(device: Device): Promise<unknown> {
  const random = new HostRandom(4);
  const w = device.from(normals(random, 60_000), [300, 200]).trainable();
  const optimizer = new Lion([{ name: 'w', tensor: w, isDecayed: true }]);
  for (let step = 0; step < 5; step++) {
    setGrad(w, normals(random, 60_000));
    optimizer.update({ learningRate: 0.01, clipNorm: 1 }).dispose();
  }
  const values = await Promise.all([w, momentOf(optimizer, 'w')].map((tensor) => tensor.read()));
  device.close();
  return values;
}

for (const name of ['native', 'wasm'] as const) {
  const skip = devices.find((device) => device.name === name)!.skip;
  test(`${name}: Lion gives the same bytes for any number of threads, and again`, { skip }, async () => {
    const open = async (threads: number) => new Device(await (await deviceCandidate(name, threads)).open());
    const one = await bytesAfter(await open(1));
    assert.deepEqual(await bytesAfter(await open(1)), one);
    assert.deepEqual(await bytesAfter(await open(3)), one);
  });
}

for (const { name: deviceName, skip, open } of devices) {
  test(`${deviceName}: Lion follows its equations, decays what it should, leaves what has no gradient`, {
    skip,
  }, async () => {
    const device = await open();
    const random = new HostRandom(12);
    const [wide, bias, idle] = [normals(random, 300), normals(random, 5), [7, -7]];
    const parameters = [
      { name: 'wide', tensor: device.from(wide, [20, 15]).trainable(), isDecayed: true },
      { name: 'bias', tensor: device.from(bias).trainable(), isDecayed: false },
      { name: 'idle', tensor: device.from(idle).trainable(), isDecayed: true },
    ];
    const optimizer = createOptimizer('lion', parameters, { weightDecay: 0.5 });
    const grads = Array.from({ length: 7 }, () => [normals(random, 300), normals(random, 5)]);
    const clipped: number[][][] = [[], []];
    for (const [ofWide, ofBias] of grads) {
      setGrad(parameters[0].tensor, ofWide);
      setGrad(parameters[1].tensor, ofBias);
      const control = optimizer.update({ learningRate: 0.01, clipNorm: 2, inverseScale: 0.25 });
      const { gradNorm, isApplied } = await readReport(control);
      control.dispose();
      const norm = Math.hypot(...ofWide, ...ofBias) * 0.25;
      assert.ok(Math.abs(gradNorm - norm) < 1e-5 * norm && isApplied);
      const factor = 0.25 * Math.min(1, 2 / (norm + 1e-6));
      clipped[0].push(ofWide.map((g) => g * factor));
      clipped[1].push(ofBias.map((g) => g * factor));
    }
    for (const [i, [start, decay]] of (
      [
        [wide, 0.5],
        [bias, 0],
      ] as const
    ).entries()) {
      const { w, m } = plainLion(start, clipped[i], 0.01, decay);
      assert.ok(distance(await parameters[i].tensor.read(), w) < 1e-5, parameters[i].name);
      assert.ok(distance(await momentOf(optimizer, parameters[i].name).read(), m) < 1e-6, parameters[i].name);
    }
    assert.deepEqual(Array.from(await parameters[2].tensor.read()), idle);
    assert.deepEqual([...optimizer.state().keys()], ['m.wide', 'm.bias', 'm.idle']);
    assert.equal(optimizer.step, 7);
    device.close();
  });

  test(`${deviceName}: Lion agrees with lion-pytorch`, { skip }, async () => {
    const device = await open();
    const parameters = ['matrix', 'vector', 'idle'].map((name) => {
      const { shape, values } = tensors.get(`given.start.${name}`)!;
      return { name, tensor: device.from(values, shape).trainable(), isDecayed: name !== 'vector' };
    });
    const optimizer = new Lion(parameters, { betas, weightDecay: given.weight_decay });
    for (let step = 0; step < given.steps; step++) {
      for (const { name, tensor } of parameters) {
        const grad = tensors.get(`given.grad.${step}.${name}`);
        if (grad) setGrad(tensor, grad.values);
      }
      const control = optimizer.update({ learningRate: given.learning_rate, clipNorm: given.clip_norm });
      optimizer.zeroGrad();
      const norm = given.gradient_norms[step];
      assert.ok(Math.abs((await readReport(control)).gradNorm - norm) < 1e-6 * norm);
    }
    for (const { name, tensor } of parameters) {
      assert.ok(distance(await tensor.read(), tensors.get(`given.final.${name}`)!.values) < 1e-6, name);
      const moment = await momentOf(optimizer, name).read();
      assert.ok(distance(moment, tensors.get(`given.moment.${name}`)!.values) < 1e-7, name);
    }
    device.close();
  });

  test(`${deviceName}: gradients that are not finite change nothing`, { skip }, async () => {
    const device = await open();
    const w = device.from([1, -2, 0.1, 4], [2, 2]).trainable();
    const other = device.from([5]).trainable();
    const optimizer = new Lion([
      { name: 'w', tensor: w, isDecayed: true },
      { name: 'other', tensor: other, isDecayed: true },
    ]);
    const update = async (grad: number[]) => {
      setGrad(w, grad);
      setGrad(other, [1]);
      const report = await readReport(optimizer.update({ learningRate: 0.1, clipNorm: 1 }));
      if (!report.isApplied) optimizer.uncount();
      return report.isApplied;
    };
    assert.equal(await update([1, -1, 2, 3]), true);
    const all = () => Promise.all([w, other, ...optimizer.state().values()].map((tensor) => tensor.read()));
    const before = await all();
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      assert.equal(await update([bad, 1, 1, 1]), false);
    }
    assert.equal(optimizer.step, 1);
    assert.deepEqual(await all(), before);
    device.close();
  });

  test(`${deviceName}: a half parameter under Lion follows its f32 master`, { skip }, async () => {
    const device = await open();
    const half = device.from([1, -1], [2], 'bf16').trainable();
    const optimizer = new Lion([{ name: 'w', tensor: half, isDecayed: false }]);
    for (let step = 0; step < 40; step++) {
      setGrad(half, [1, 1]);
      optimizer.update({ learningRate: 2 ** -12 }).dispose(); // a sixteenth of what bf16 tells apart near 1
    }
    const master = await optimizer.state().get('master.w')!.read();
    assert.deepEqual(Array.from(master), [1 - 40 * 2 ** -12, -1 - 40 * 2 ** -12]);
    assert.deepEqual(
      Array.from(await half.read()),
      Array.from(master, (x) => fromBf16(toBf16(x))),
    );
    device.close();
  });
}
