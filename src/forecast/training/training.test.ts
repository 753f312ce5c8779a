import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { createReferenceBackend } from '../../backend/reference/index.ts';
import { HostRandom, RandomSource } from '../../core/index.ts';
import { NodeFileSystem } from '../../platform/node/index.ts';
import { Device } from '../../tensor/index.ts';
import { shareSplit } from '../data/index.ts';
import { createForecaster, forecastConfig } from '../models/index.ts';
import { type FitInput, ForecastTask, fitForecaster, forecastWindows, scoreWindows, windowsOf } from './index.ts';

const device = new Device(createReferenceBackend());
const files = new NodeFileSystem();
const folders: string[] = [];
after(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true }))));

/** Waves of period 6 with noise; each variable has its phase. */
function waves(rows: number, variables: number, noise = 0.1): Float32Array[] {
  const random = new HostRandom(2);
  return Array.from({ length: variables }, (_, k) =>
    Float32Array.from({ length: rows }, (_, i) => Math.sin((i + 2 * k) * (Math.PI / 3)) + noise * random.normal()),
  );
}

const SIZES = { lookback: 12, horizon: 4 };
const SMALL = { patch: 4, layers: 1, width: 4, stateSize: 2 };
const SERIES = waves(200, 3);
const WINDOWS = windowsOf(SERIES, null, shareSplit(200, 0.2, 0.2), SIZES);
const OPTIONS = { epochs: 2, patience: 3, batchSize: 16, learningRate: 0.01, seed: 1 };
const inputOf = (more: Partial<FitInput> = {}): FitInput => ({
  device,
  config: forecastConfig('mambats', SIZES, SMALL),
  windows: WINDOWS,
  options: OPTIONS,
  ...more,
});

describe('training a forecaster', () => {
  it('DLinear learns waves that drift does not follow', async () => {
    const config = forecastConfig('dlinear', SIZES, { window: 5 });
    const { model, order } = await fitForecaster(inputOf({ config, options: { ...OPTIONS, epochs: 10 } }));
    const drift = createForecaster(device, forecastConfig('drift', SIZES), 0);
    const [learned, rule] = [
      await scoreWindows(device, model, WINDOWS.test, order),
      await scoreWindows(device, drift, WINDOWS.test, null),
    ];
    assert.equal(learned.windows, 40 - 4 + 1);
    assert.ok(learned.mse < 0.1 * rule.mse, `${learned.mse} against ${rule.mse}`);
    model.dispose();
    drift.dispose();
  });

  it('the best validation is what the model is left with, its order too, and no memory is lost', async () => {
    const blocks = device.memory().blocks;
    const seen: number[] = [];
    const fitted = await fitForecaster(
      inputOf({ onEval: (_, { loss }) => seen.push(loss), options: { ...OPTIONS, epochs: 4, learningRate: 0.3 } }),
    );
    assert.equal(fitted.validationMse, Math.min(...seen));
    assert.deepEqual([...fitted.order!].sort(), [0, 1, 2]);
    const again = await scoreWindows(device, fitted.model, WINDOWS.validation, fitted.order);
    assert.ok(Math.abs(again.mse - fitted.validationMse!) < 1e-9);
    fitted.model.dispose();
    assert.equal(device.memory().blocks, blocks);
  });

  it('a run that is stopped and resumed is the run that never stopped, bit for bit', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'krait-forecast-'));
    folders.push(folder);
    const straight = await fitForecaster(inputOf());
    const stop = new AbortController();
    const onStep: FitInput['onStep'] = ({ step }) => step === 9 && stop.abort();
    const place = { files, folder };
    const first = await fitForecaster(inputOf({ place, signal: stop.signal, onStep }));
    assert.equal(first.training!.status, 'aborted');
    const resumed = await fitForecaster(inputOf({ place: { ...place, resume: true } }));
    assert.equal(resumed.validationMse, straight.validationMse);
    assert.deepEqual(resumed.order, straight.order);
    for (const [name, tensor] of straight.model.parameters) {
      assert.deepEqual(await resumed.model.parameters.get(name)!.read(), await tensor.read(), name);
    }
    for (const { model } of [straight, first, resumed]) model.dispose();
  });

  it('halves the rate after each pass but the first', () => {
    const model = createForecaster(device, forecastConfig('mambats', SIZES, SMALL), 1);
    const task = new ForecastTask({
      device,
      model,
      ...WINDOWS,
      batchSize: 16,
      seed: 1,
      permute: true,
      order: 'annealing',
    });
    assert.equal(task.stepsPerEpoch, Math.floor((120 - 12 - 4 + 1) / 16));
    const rates = [0, 1, 2, 3].map((epoch) => task.rateFactor(epoch * task.stepsPerEpoch));
    assert.deepEqual(rates, [1, 1, 0.5, 0.25]);
    model.dispose();
  });

  it('the cost of a sample goes to its own order', async () => {
    const config = forecastConfig('mambats', SIZES, { ...SMALL, dropout: 0 });
    const model = createForecaster(device, config, 1);
    const task = new ForecastTask({ device, model, ...WINDOWS, batchSize: 4, seed: 1, permute: true, order: 'local' });
    const { microBatches, normalizer } = await task.nextStep();
    const [batch] = microBatches;
    const shared = { gradScale: 1, random: new RandomSource(1), checkpointing: false };
    const whole = device.noGrad(() => task.loss(batch, { normalizer, ...shared }));
    const costs: number[] = [];
    for (let i = 0; i < 4; i++) {
      const part = (values: Float32Array, width: number) => values.slice(i * 3 * width, (i + 1) * 3 * width);
      const one = { ...batch, b: 1, past: part(batch.past, 12), future: part(batch.future, 4), orders: null };
      costs.push(await device.noGrad(() => task.loss(one, { normalizer: 12, ...shared })).item());
    }
    const mean = costs.reduce((a, b) => a + b, 0) / 4;
    assert.ok(Math.abs((await whole.item()) - mean) < 1e-6);
    await task.nextStep(); // waits for what was read
    const deviation = Math.sqrt(costs.reduce((s, c) => s + (c - mean) ** 2, 0) / 3);
    const { cost, count } = task.transitions!.toJson();
    const expected = new Array<number>(9).fill(0);
    costs.forEach((c, i) => {
      const [a, b, d] = batch.orders!.slice(i * 3, i * 3 + 3);
      for (const at of [a * 3 + a, a * 3 + b, b * 3 + d]) expected[at] += c / deviation;
    });
    assert.equal(
      count.reduce((a, b) => a + b, 0),
      12,
    );
    expected.forEach((value, i) => {
      assert.ok(Math.abs(value - cost[i]) < 1e-4, `${i}: ${value}, ${cost[i]}`);
    });
    model.dispose();
  });

  it('what was filled counts neither in the loss nor in scores', async () => {
    const wild = SERIES.map((s) => s.slice());
    const observed = SERIES.map((s) => new Uint8Array(s.length).fill(1));
    for (let i = 20; i < 200; i += 17) {
      wild[1][i] = 1e4;
      observed[1][i] = 0;
    }
    const windows = windowsOf(wild, observed, shareSplit(200, 0.2, 0.2), { lookback: 2, horizon: 4 });
    const drift = createForecaster(device, forecastConfig('drift', { lookback: 2, horizon: 4 }), 0);
    const { past } = windows.test.batch([0]);
    assert.ok(past.every((v) => v < 1e3));
    const one = windows.test.batch([11]); // row 171 + 2: its targets hold a filled value
    assert.ok(
      [...one.future].some((v) => v > 1e3),
      'the case shows nothing',
    );
    const clean = windowsOf(SERIES, null, shareSplit(200, 0.2, 0.2), { lookback: 2, horizon: 4 });
    const part = { start: 170, end: 176 };
    const only = (w: typeof windows) => Object.assign(Object.create(w.test), { part });
    const masked = await scoreWindows(device, drift, only(windows), null);
    const plain = await scoreWindows(device, drift, only(clean), null);
    assert.ok(masked.mse < 3 * plain.mse + 1, `${masked.mse}, ${plain.mse}`);
    drift.dispose();
  });

  it('forecasts of windows come in the order of the file', async () => {
    const { model } = await fitForecaster(inputOf());
    const { past } = WINDOWS.test.batch([0, 5]);
    const sizes = { windows: 2, variables: 3 };
    const ordered = await forecastWindows(device, model, past, sizes, [2, 0, 1]);
    const batch = WINDOWS.test.batch([0, 5], [2, 0, 1, 2, 0, 1]);
    const raw = await forecastWindows(device, model, batch.past, sizes, null);
    for (const w of [0, 1]) {
      [2, 0, 1].forEach((v, row) => {
        const at = (w * 3 + row) * 4;
        assert.deepEqual(ordered.slice((w * 3 + v) * 4, (w * 3 + v + 1) * 4), raw.slice(at, at + 4));
      });
    }
    model.dispose();
  });
});
