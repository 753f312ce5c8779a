/** Ridge regression in closed form, against sums over windows one by one; as a forecaster, and beside a model. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { createReferenceBackend } from '../../backend/reference/index.ts';
import { HostRandom, UsageError } from '../../core/index.ts';
import { NodeFileSystem } from '../../platform/node/index.ts';
import { Device } from '../../tensor/index.ts';
import { cutWindows, type ScaledSeries, shareSplits, windowStarts } from '../data/index.ts';
import { fitForecaster } from '../fit.ts';
import { everyStart, scoreWindows } from '../forecaster.ts';
import { fitSettings } from '../recipes.ts';
import { fitRidge, windowMoments } from './index.ts';

const random = new HostRandom(6);
const length = 200;
const wave = (phase: number) => {
  let drift = 0;
  return Float32Array.from({ length }, (_, t) => {
    drift += 0.1 * random.normal();
    return Math.sin((t + phase) / 3) + drift;
  });
};
const series: ScaledSeries = {
  names: ['a', 'b'],
  start: 0,
  frequency: { ms: 3_600_000 },
  length,
  values: [wave(0), wave(4)],
  masks: [null, null],
};
const splits = shareSplits(length);
const size = { lookback: 9, horizon: 4 };
const range = windowStarts(splits.train, size);

/** Centred inputs and targets of every window and variable. */
function rows(): { x: number[]; y: number[] }[] {
  const { inputs, targets, b } = cutWindows(series, everyStart(range), size);
  return Array.from({ length: b * 2 }, (_, r) => {
    const x = [...inputs.subarray(r * 9, r * 9 + 9)];
    const mean = x.reduce((sum, v) => sum + v, 0) / 9;
    return { x: x.map((v) => v - mean), y: [...targets.subarray(r * 4, r * 4 + 4)].map((v) => v - mean) };
  });
}

const close = (a: number, b: number, within: number) =>
  assert.ok(Math.abs(a - b) <= within * Math.max(1, Math.abs(b)), `${a}, expected ${b}`);

describe('ridge regression', () => {
  it('sums the products of all windows', () => {
    const { inputs, cross, targets, rows: count } = windowMoments(series, range, size);
    const all = rows();
    assert.equal(count, all.length);
    const sum = (of: (row: { x: number[]; y: number[] }) => number) => all.reduce((total, row) => total + of(row), 0);
    for (let i = 0; i < 9; i++) {
      for (let j = 0; j < 9; j++)
        close(
          inputs[i * 9 + j],
          sum(({ x }) => x[i] * x[j]),
          1e-5,
        );
      for (let h = 0; h < 4; h++)
        close(
          cross[i * 4 + h],
          sum(({ x, y }) => x[i] * y[h]),
          1e-5,
        );
    }
    close(
      targets,
      sum(({ y }) => y.reduce((total, v) => total + v * v, 0)),
      1e-5,
    );
  });

  it('leaves out windows of a variable whose targets were mostly filled, and those alone', () => {
    // A gap that is 7 steps long: starts whose 4 targets have 3 or 4 of it are out, from 60 - 9 - 1 to 60 + 7 - 9 - 3.
    const mask = Uint8Array.from({ length }, (_, t) => Number(t < 60 || t >= 67));
    const bent = series.values[0].map((x, t) => (mask[t] ? x : 1e3));
    const holes = { ...series, values: [bent, series.values[1]], masks: [mask, null] };
    const alone = (k: number, from: number, to: number) =>
      windowMoments({ ...holes, values: [holes.values[k]], masks: [null] }, { start: from, end: to }, size);
    const pieces = [alone(0, range.start, 50), alone(0, 56, range.end), alone(1, range.start, range.end)];
    const found = windowMoments(holes, range, size);
    assert.equal(found.rows, 2 * (range.end - range.start) - 6);
    for (const key of ['inputs', 'cross'] as const) {
      const scale = Math.max(...found[key].map(Math.abs));
      for (const [i, value] of found[key].entries()) {
        close(value / scale, pieces.reduce((sum, p) => sum + p[key][i], 0) / scale, 1e-9);
      }
    }
    const nothing = new Uint8Array(length);
    const { rows: none } = windowMoments({ ...holes, masks: [nothing, null] }, range, size);
    assert.equal(none, range.end - range.start);
  });

  it('has a solution for fewer windows than the look-back has steps, for series that never move, and for nothing at all', () => {
    const few = { lookback: 60, horizon: 4 };
    const [taught, judged] = [
      { start: 0, end: 5 },
      { start: 80, end: 90 },
    ];
    const { weight, validation } = fitRidge(series, taught, judged, few);
    assert.ok(weight.every(Number.isFinite) && weight.some((w) => w !== 0) && Number.isFinite(validation));
    const still = { ...series, values: series.values.map((x) => x.map(() => 0.3)) };
    assert.ok(fitRidge(still, taught, judged, few).weight.every((w) => Math.abs(w) < 1e-3));
    const nothing = { ...series, masks: [new Uint8Array(length), new Uint8Array(length)] };
    assert.ok(fitRidge(nothing, taught, judged, few).weight.every((w) => w === 0));
  });

  it('refuses a look-back whose products no memory holds', () => {
    const long = { lookback: 3069, horizon: 4 };
    const none = { start: 0, end: 1 };
    assert.throws(
      () => fitRidge(series, none, none, long),
      (error: Error) =>
        error instanceof UsageError && /3073 steps.*3072 at most; give a smaller one/.test(error.message),
    );
  });

  it('solves for the least of errors and penalty, and tells the error of the windows that chose', () => {
    const validation = windowStarts(splits.validation, size);
    const { weight, penalty, validation: error } = fitRidge(series, range, validation, size);
    const { inputs } = windowMoments(series, range, size);
    const unit = Array.from({ length: 9 }, (_, i) => inputs[i * 10]).reduce((a, b) => a + b, 0) / 9;
    // The gradient of the objective is 0 in every entry of W.
    const all = rows();
    for (let h = 0; h < 4; h++) {
      for (let j = 0; j < 9; j++) {
        const own = (x: number[]) => x.reduce((sum, v, i) => sum + v * weight[h * 9 + i], 0);
        const slope = all.reduce((sum, { x, y }) => sum + (own(x) - y[h]) * x[j], penalty * unit * weight[h * 9 + j]);
        close(slope, 0, 1e-3);
      }
    }
    assert.ok(error > 0);
  });

  it('is a forecaster that is not trained; a model beside it starts from it and is kept only where it is better', async () => {
    const changes = { ...size, batchSize: 8, epochs: 2, learningRate: 1e-2 };
    const fitOf = (model: 'ridge' | 'mambats', rate: number) =>
      fitSettings(model, '', size.horizon, 3, {
        ...changes,
        learningRate: rate,
        settings: { layers: 1, d: 4, patch: 3, shortcut: true },
      });
    const trainAs = (model: 'ridge' | 'mambats', rate = 1e-2) =>
      fitForecaster({ device: new Device(createReferenceBackend()), series, splits, fit: fitOf(model, rate) });
    const alone = await trainAs('ridge');
    assert.deepEqual([alone.epochs, alone.parameters], [0, 36]);
    const validation = windowStarts(splits.validation, size);
    close(alone.validation, fitRidge(series, range, validation, size).validation, 1e-4);
    const ruined = await trainAs('mambats', 1);
    assert.equal(ruined.epochs, 2);
    assert.equal(ruined.validation, alone.validation);
    const test = windowStarts(splits.test, size);
    const scores = await Promise.all([ruined, alone].map(({ forecaster }) => scoreWindows(forecaster, series, test)));
    assert.equal(scores[0].mse, scores[1].mse);
    const trained = await trainAs('mambats');
    assert.ok(trained.validation <= alone.validation);
  });

  it('ends training by patience where no epoch is better than it, cut and resumed too', async () => {
    const settings = { layers: 1, d: 4, patch: 3, shortcut: true };
    const changes = { ...size, batchSize: 8, epochs: 9, patience: 2, learningRate: 1, settings };
    const fit = fitSettings('mambats', '', size.horizon, 3, changes);
    const common = { series, splits, fit };
    const epochs: number[] = [];
    const onEpoch = (epoch: number) => void epochs.push(epoch);
    const whole = await fitForecaster({ device: new Device(createReferenceBackend()), ...common, onEpoch });
    assert.deepEqual([whole.epochs, whole.bestEpoch, whole.status, epochs], [2, 0, 'completed', [0, 1, 2]]);
    for (const stop of [1, 17]) {
      const folder = await mkdtemp(join(tmpdir(), 'krait-ridge-'));
      const abort = new AbortController();
      const onStep = ({ step }: { step: number }) => step === stop && abort.abort();
      const place = { files: new NodeFileSystem(), folder, resume: true };
      const run = (more: object) =>
        fitForecaster({ device: new Device(createReferenceBackend()), ...common, place, ...more });
      assert.equal((await run({ signal: abort.signal, onStep })).status, 'aborted');
      const again = await run({});
      assert.deepEqual([again.epochs, again.bestEpoch, again.validation], [2, 0, whole.validation]);
      const test = windowStarts(splits.test, size);
      const scores = await Promise.all([again, whole].map((f) => scoreWindows(f.forecaster, series, test)));
      assert.equal(scores[0].mse, scores[1].mse);
      await rm(folder, { recursive: true });
    }
  });
});
