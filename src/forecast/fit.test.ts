/** Training by the protocol: what is learned, what is kept, and runs that are cut and go on. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { createReferenceBackend } from '../backend/reference/index.ts';
import { createWasmBackend, wasmAvailability } from '../backend/wasm/index.ts';
import { HostRandom } from '../core/index.ts';
import { isAll } from '../core/testing/only-in-all.ts';
import { NodeFileSystem } from '../platform/node/index.ts';
import { Device } from '../tensor/index.ts';
import {
  analyse,
  type CalendarPart,
  createForecastModel,
  cutWindows,
  everyStart,
  type FitSettings,
  FORECAST_LOSSES,
  ForecastTask,
  fitForecaster,
  ModelForecaster,
  naiveForecast,
  RuleForecaster,
  type ScaledSeries,
  scoreWindows,
  shareSplits,
  windowStarts,
} from './index.ts';

const files = new NodeFileSystem();
const folders: string[] = [];
const newFolder = async (): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'krait-fit-'));
  folders.push(folder);
  return folder;
};
after(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true }))));

const newDevice = () => new Device(createReferenceBackend());
/** For what needs hundreds of steps. */
const fastDevice = async () => {
  const { available } = await wasmAvailability();
  return available ? new Device(await createWasmBackend({ threads: 0, relaxed: false })) : newDevice();
};

/** Two waves of which the second follows the first, and noise. */
function waves(length: number, masked = false): ScaledSeries {
  const random = new HostRandom(4);
  const wave = (phase: number) =>
    Float32Array.from({ length }, (_, t) => Math.sin((t + phase) / 3) + 0.1 * random.normal());
  const mask = masked ? Uint8Array.from({ length }, (_, t) => Number(t % 5 !== 0)) : null;
  const frequency = { ms: 3_600_000 };
  return {
    names: ['a', 'b', 'c'],
    start: 0,
    frequency,
    length,
    values: [wave(0), wave(4), wave(7)],
    masks: [mask, null, null],
  };
}

const FIT: FitSettings = {
  model: 'mambats',
  settings: { layers: 1, d: 6, stateSize: 4, patch: 6, dropout: 0.1 },
  lookback: 12,
  horizon: 4,
  learningRate: 1e-2,
  weightDecay: 0,
  loss: 'mse',
  batchSize: 8,
  epochs: 3,
  patience: 2,
  permutes: true,
  solver: 'annealing',
  seed: 5,
};
const series = waves(140);
const splits = shareSplits(140);
const size = { lookback: 12, horizon: 4 };

describe('training', () => {
  it('beats the rules', async () => {
    const test = windowStarts(splits.test, size);
    const rules = [naiveForecast('drift', 1), naiveForecast('seasonal-naive', 1)];
    const naive = await Promise.all(rules.map((rule) => scoreWindows(new RuleForecaster(rule, size), series, test)));
    for (const model of ['mambats', 'dlinear'] as const) {
      const fitted = await fitForecaster({ device: newDevice(), series, splits, fit: { ...FIT, model } });
      const score = await scoreWindows(fitted.forecaster, series, test);
      assert.ok(score.mse < 0.7 * Math.min(...naive.map(({ mse }) => mse)), `${model}: ${score.mse}`);
      assert.equal(score.windows, 28 - 4 + 1);
    }
  });

  it('that is cut anywhere goes on to the same bytes, order and costs', async () => {
    const weights = async ({ forecaster }: Awaited<ReturnType<typeof fitForecaster>>) =>
      Promise.all([...forecaster.model.parameters.values()].map(async (tensor) => Array.from(await tensor.read())));
    const whole = await fitForecaster({ device: newDevice(), series, splits, fit: FIT });
    const perEpoch = Math.floor((98 - 16 + 1) / FIT.batchSize);
    for (const stop of [3, perEpoch, perEpoch + 4]) {
      const folder = await newFolder();
      const abort = new AbortController();
      const onStep = ({ step }: { step: number }) => step === stop && abort.abort();
      const place = { files, folder };
      const first = { device: newDevice(), series, splits, fit: FIT, place };
      const cut = await fitForecaster({ ...first, signal: abort.signal, onStep });
      assert.equal(cut.status, 'aborted');
      const again = await fitForecaster({ ...first, device: newDevice(), place: { ...place, resume: true } });
      assert.deepEqual(await weights(again), await weights(whole), `stopped at ${stop}`);
      assert.deepEqual(again.forecaster.order, whole.forecaster.order);
      assert.equal(again.validation, whole.validation);
    }
  });

  it('has the rates of type1, and keeps the best epoch', async () => {
    const rates = new Set<number>();
    const losses: number[] = [];
    const fit = { ...FIT, epochs: 5, patience: 0 };
    const onStep = ({ learningRate }: { learningRate: number }) => rates.add(learningRate);
    const onEval = (_: number, { loss }: { loss: number }) => losses.push(loss);
    const fitted = await fitForecaster({ device: newDevice(), series, splits, fit, onStep, onEval });
    assert.deepEqual([...rates], [1e-2, 5e-3, 2.5e-3, 1.25e-3]);
    assert.equal(losses.length, 5);
    assert.equal(fitted.validation, Math.min(...losses));
    assert.equal(fitted.bestEpoch, 1 + losses.indexOf(fitted.validation));
    const again = await scoreWindows(fitted.forecaster, series, windowStarts(splits.validation, size));
    assert.equal(again.mse, fitted.validation);
  });

  it('counts neither the loss nor the score of what is missing', async () => {
    const device = newDevice();
    const holes = waves(140, true);
    const bent = {
      ...holes,
      values: holes.values.map((v, k) => v.map((x, t) => (k === 0 && t > 60 && t % 5 === 0 ? 1e3 : x))),
    };
    const model = createForecastModel('dlinear', device, { k: 3, ...size }, {}, 1);
    const task = new ForecastTask({
      model,
      series: holes,
      splits,
      size,
      batchSize: 4,
      seed: 1,
      permutes: false,
      solver: 'none',
      loss: 'mse',
    });
    const { microBatches, normalizer } = task.nextStep();
    assert.ok(normalizer < 4 * 3 * 4);
    assert.ok(microBatches[0].weights!.includes(0));
    const forecaster = new ModelForecaster(model, size);
    const start = { start: 46, end: 47 }; // its look-back ends before the first bent value that is not a target
    const [a, b] = [await scoreWindows(forecaster, holes, start), await scoreWindows(forecaster, bent, start)];
    assert.equal(a.mse, b.mse);
  });

  it('credits each sample the error of its own forecast', async () => {
    const device = newDevice();
    const model = createForecastModel('mambats', device, { k: 3, ...size }, { ...FIT.settings, dropout: 0 }, 1);
    const input = {
      model,
      series,
      splits,
      size,
      batchSize: 4,
      seed: 1,
      permutes: true,
      solver: 'local',
      loss: 'mse',
    } as const;
    const task = new ForecastTask(input);
    const { microBatches, normalizer } = task.nextStep();
    const [batch] = microBatches;
    const credited: { orders: unknown; costs: number[] }[] = [];
    task.costs.add = (orders, costs) => void credited.push({ orders, costs: Array.from(costs) });
    const random = { next: () => ({ seed: 0, stream: 0 }) } as never;
    const loss = device.scope(() => task.loss(batch, { normalizer, gradScale: 1, random, checkpointing: false }));
    const total = await loss.item();
    const own = await new ModelForecaster(model, size).forecast(batch);
    const costs = [0, 1, 2, 3].map((i) => {
      let sum = 0;
      for (let at = i * 12; at < (i + 1) * 12; at++) sum += (own[at] - batch.targets[at]) ** 2 / 12;
      return sum;
    });
    assert.equal(credited[0].orders, batch.orders);
    for (const [i, cost] of credited[0].costs.entries())
      assert.ok(Math.abs(cost - costs[i]) < 1e-4, `${cost}, ${costs}`);
    assert.ok(Math.abs(total - costs.reduce((a, b) => a + b, 0) / 4) < 1e-4);
  });

  it('knows the hours to come where it is told to: what the look-back alone does not tell', async () => {
    const random = new HostRandom(8);
    const effects = [0, 1].map(() => Float32Array.from({ length: 24 }, () => random.normal()));
    const length = 480;
    const values = effects.map((byHour) => {
      return Float32Array.from({ length }, (_, t) => byHour[(t + 5) % 24] + 0.05 * random.normal());
    });
    const start = 5 * 3_600_000;
    const daily: ScaledSeries = { ...series, names: ['a', 'b'], start, length, values, masks: [null, null] };
    const parts = shareSplits(length);
    const own = { lookback: 3, horizon: 4 };
    for (const model of isAll ? (['dlinear', 'mambats'] as const) : (['dlinear'] as const)) {
      const score = async (calendar: CalendarPart[]) => {
        const fit = {
          ...FIT,
          ...own,
          model,
          epochs: 12,
          batchSize: 2,
          settings: { ...FIT.settings, patch: 3, calendar },
        };
        const device = await fastDevice();
        const { forecaster } = await fitForecaster({ device, series: daily, splits: parts, fit });
        const { mse } = await scoreWindows(forecaster, daily, windowStarts(parts.test, own));
        device.close();
        return mse;
      };
      const [without, withHours] = [await score([]), await score(['hour'])];
      assert.ok(withHours < 0.5 * without, `${model}: ${withHours}, ${without} without`);
    }
  });

  it('of a file is the same for DLinear whether it is asked for or compared with', async () => {
    const { names, start, frequency, length } = series;
    const values = series.values.map((column) => Float64Array.from(column));
    const raw = { file: 'x.csv', names, start, frequency, length, values, masks: series.masks, notes: [] };
    const rowOf = async (model: 'dlinear' | 'ridge') => {
      const changes = { lookback: 12 };
      const input = { device: newDevice(), series: raw, model, horizon: 4, levels: [0.5], changes, seed: 2 };
      const { comparison, fitted } = await analyse(input);
      fitted.forecaster.model.dispose();
      return comparison.find((row) => row.model === 'dlinear');
    };
    assert.deepEqual(await rowOf('dlinear'), await rowOf('ridge'));
  });

  it('has the losses that it says', async () => {
    const device = newDevice();
    const model = createForecastModel('dlinear', device, { k: 3, ...size }, {}, 1);
    const base = { model, series: waves(140, true), splits, size, batchSize: 4, seed: 1 };
    const of: Record<string, (e: number) => number> = {
      mse: (e) => e * e,
      mae: Math.abs,
      huber: (e) => (Math.abs(e) < 1 ? (e * e) / 2 : Math.abs(e) - 0.5),
    };
    for (const loss of FORECAST_LOSSES) {
      const task = new ForecastTask({ ...base, permutes: false, solver: 'none', loss });
      const { microBatches, normalizer } = task.nextStep();
      const [batch] = microBatches;
      const options = { normalizer, gradScale: 1, random: { next: () => ({}) } as never, checkpointing: false };
      const total = await device.scope(() => task.loss(batch, options)).item();
      const y = await new ModelForecaster(model, size).forecast(batch);
      const expected = y.reduce((all, v, i) => all + (batch.weights![i] ? of[loss](v - batch.targets[i]) : 0), 0);
      assert.ok(Math.abs(total - expected / normalizer) < 1e-5, `${loss}: ${total}, ${expected / normalizer}`);
    }
  });

  it('reads variables in the order it is given, and answers as they come', async () => {
    const device = newDevice();
    const model = createForecastModel('mambats', device, { k: 3, ...size }, FIT.settings, 1);
    const windows = cutWindows(series, [0, 9], size);
    const order = [2, 0, 1];
    const turned = cutWindows(series, [0, 9], size, [order, order]);
    const [a, b] = [
      await new ModelForecaster(model, size, order).forecast(windows),
      await new ModelForecaster(model, size).forecast(turned),
    ];
    for (let i = 0; i < 2; i++)
      order.forEach((variable, place) => {
        for (let h = 0; h < 4; h++) assert.equal(a[(i * 3 + variable) * 4 + h], b[(i * 3 + place) * 4 + h]);
      });
    assert.deepEqual(everyStart({ start: 2, end: 5 }), [2, 3, 4]);
  });
});
