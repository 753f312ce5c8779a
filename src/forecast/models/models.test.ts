import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createReferenceBackend } from '../../backend/reference/index.ts';
import { HostRandom, RandomSource } from '../../core/index.ts';
import { backward, Device, gradCheck, square, sum, type Tensor } from '../../tensor/index.ts';
import {
  createForecaster,
  EVALUATION,
  type ForecastConfig,
  forecastConfig,
  forecasterOf,
  MODEL_NAMES,
  newParameters,
} from './index.ts';

const device = new Device(createReferenceBackend());
const SIZES = { lookback: 24, horizon: 5 };
const SMALL: Record<string, Record<string, unknown>> = {
  seasonal: { season: 6 },
  patchtst: { patch: 8, layers: 1, width: 4, heads: 2, inner: 6 },
  mamba: { patch: 8, layers: 1, width: 4, stateSize: 3 },
  mambats: { patch: 8, layers: 2, width: 4, stateSize: 3 },
};

const windows = (b: number, k: number, l: number, seed = 3): number[] => {
  const random = new HostRandom(seed);
  return Array.from({ length: b * k * l }, (_, i) => 2 * Math.sin(i / 3) + random.normal());
};

async function forecast(config: ForecastConfig, past: number[], b: number, k: number) {
  const model = createForecaster(device, config, 1);
  const y = device.noGrad(() =>
    device.scope(() => model.forward(device.from(past, [b, k, config.lookback]), EVALUATION)),
  );
  const { shape } = y;
  const values = [...(await y.read())];
  y.dispose();
  model.dispose();
  return { shape, values };
}

const close = (a: readonly number[], b: readonly number[], within: number) =>
  assert.ok(
    a.length === b.length && a.every((v, i) => Math.abs(v - b[i]) <= within * (1 + Math.abs(b[i]))),
    `${a.slice(0, 6)} is not ${b.slice(0, 6)}`,
  );

describe('forecasters', () => {
  for (const kind of MODEL_NAMES) {
    it(`${kind}: a forecast for each variable, and no memory left behind`, async () => {
      const before = device.memory().blocks;
      const { shape, values } = await forecast(forecastConfig(kind, SIZES, SMALL[kind]), windows(2, 3, 24), 2, 3);
      assert.deepEqual([...shape], [2, 3, 5]);
      assert.ok(values.every(Number.isFinite));
      assert.equal(device.memory().blocks, before);
    });

    it(`${kind}: follows the level and, if it norms windows, the scale`, async () => {
      const config = forecastConfig(kind, SIZES, SMALL[kind]);
      const past = windows(1, 2, 24);
      const isNormed = kind !== 'dlinear';
      const { values } = await forecast(config, past, 1, 2);
      const moved = await forecast(
        config,
        past.map((v) => 50 * v + 7),
        1,
        2,
      );
      if (isNormed)
        close(
          moved.values,
          values.map((v) => 50 * v + 7),
          1e-3,
        );
      else assert.ok(moved.values.some((v, i) => Math.abs(v - 50 * values[i] - 7) > 1e-3));
    });
  }

  it('mambats depends on the order of its variables and on all before, mamba and patchtst on neither', async () => {
    const past = windows(1, 3, 24);
    const rows = [past.slice(0, 24), past.slice(24, 48), past.slice(48)];
    const turned = [rows[2], rows[0], rows[1]].flat();
    for (const [kind, depends] of [
      ['mambats', true],
      ['mamba', false],
      ['patchtst', false],
    ] as const) {
      const config = forecastConfig(kind, SIZES, SMALL[kind]);
      const first = await forecast(config, past, 1, 3);
      const second = await forecast(config, turned, 1, 3);
      const same = second.values.slice(5, 10).every((v, i) => Math.abs(v - first.values[i]) < 1e-5);
      assert.equal(same, !depends, kind);
    }
  });

  it('the baselines say what their names say', async () => {
    const past = Array.from({ length: 24 }, (_, i) => i);
    const drift = await forecast(forecastConfig('drift', SIZES), past, 1, 1);
    close(drift.values, [24, 25, 26, 27, 28], 1e-5);
    const seasonal = await forecast(forecastConfig('seasonal', SIZES, { season: 3 }), past, 1, 1);
    assert.deepEqual(seasonal.values, [21, 22, 23, 21, 22]);
  });

  it('refuses settings that do not fit, in one line', () => {
    assert.throws(() => forecastConfig('arima' as 'drift', SIZES), /model: expected seasonal, .* got arima/);
    assert.throws(() => forecastConfig('drift', SIZES, { width: 3 }), /drift: no setting width/);
    const create = (kind: 'mambats' | 'patchtst' | 'seasonal', given: Record<string, unknown>) => () =>
      createForecaster(device, forecastConfig(kind, SIZES, given), 0);
    assert.throws(create('mambats', { patch: 48 }), /patch: expected at most the look-back, 24, got 48/);
    assert.throws(create('patchtst', { heads: 3 }), /heads: expected a divisor of the width, 16, got 3/);
    assert.throws(create('seasonal', { season: 25 }), /season: .* 24, got 25/);
  });

  for (const [name, kind, given] of [
    ['MambaTS, variable-major', 'mambats', {}],
    ['MambaTS, time-major', 'mambats', { scan: 'time-major' }],
    ['Mamba per variable, with convolution', 'mamba', {}],
    ['PatchTST', 'patchtst', {}],
    ['DLinear', 'dlinear', { window: 5 }],
  ] as const) {
    it(`${name}: gradients of all parameters, with dropout, are those of finite differences`, async () => {
      const config = forecastConfig(kind, SIZES, { ...SMALL[kind], ...given });
      const drawn = newParameters(device, config, 4, 'f64');
      const names = [...drawn.keys()];
      const start = await Promise.all([...drawn.values()].map(async (t) => Array.from(await t.read())));
      const random = new HostRandom(9);
      const run = (...tensors: Tensor[]) => {
        const model = forecasterOf(device, config, new Map(names.map((n, i) => [n, tensors[i]])));
        const past = device.from(windows(2, 2, 24), [2, 2, 24], 'f64');
        return model.forward(past, { random: new RandomSource(5) });
      };
      const shapes = [...drawn.values()].map((t) => t.shape);
      // Away from zero biases and ones, where a mistake could hide.
      const values = (i: number) => start[i].map((v) => v + 0.1 * random.normal());
      const error = await gradCheck(device, run, shapes, { values });
      assert.ok(error < 1e-5, `relative error ${error}`);
    });
  }

  it('draws dropout anew in each pass while training, and none in evaluation', async () => {
    const model = createForecaster(device, forecastConfig('mambats', SIZES, SMALL['mambats']), 1);
    const random = new RandomSource(1);
    const past = device.from(windows(1, 2, 24), [1, 2, 24]);
    const run = async (r: RandomSource | null) => [...(await model.forward(past, { random: r }).read())];
    assert.notDeepEqual(await run(random), await run(random));
    assert.deepEqual(await run(null), await run(null));
    for (const t of model.parameters.values()) t.trainable();
    backward(sum(square(model.forward(past, { random }))));
    for (const [name, t] of model.parameters) {
      assert.ok(t.grad && (await t.grad.read()).some((v) => v !== 0), `${name} gets no gradient`);
      t.zeroGrad();
    }
    model.dispose();
  });
});
