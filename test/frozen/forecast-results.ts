/** What forecasters give, hashed: a forward pass with its loss and gradients, and a short training by the protocol. */
import type { Device } from 'krait';
import { HostRandom, RandomSource } from 'krait/core';
import {
  createForecastModel,
  type FitSettings,
  fitForecaster,
  type ModelSettings,
  type ScaledSeries,
  scoreWindows,
  shareSplits,
  type TrainedModelName,
  windowStarts,
} from 'krait/forecast';
import { backward, mul, square, sub, sum, type Tensor } from 'krait/tensor';
import { hashEach, hashNumbers, hashOf, hashTensors } from './hashes.ts';
import type { Rows } from './language-results.ts';

const SMALL: ModelSettings = {
  layers: 2,
  d: 6,
  stateSize: 3,
  patch: 6,
  stride: 3,
  heads: 2,
  hidden: 8,
  dropout: 0.1,
};
const SIZE = { k: 3, lookback: 20, horizon: 4 };
const HOUR = { ms: 3_600_000 };

export const FORECASTERS: Readonly<Record<string, readonly [TrainedModelName, ModelSettings]>> = {
  mambats: ['mambats', {}],
  'mambats, time-major, with its convolution, shortcut and calendar': [
    'mambats',
    { layout: 'time-major', convolution: true, shortcut: true, calendar: ['hour', 'month'] },
  ],
  mamba: ['mamba', {}],
  'patch-transformer': ['patch-transformer', {}],
  dlinear: ['dlinear', {}],
};

/** Numbers from -1 to 1, the same with every version of Node. */
function noise(count: number, seed: number): Float32Array {
  const random = new HostRandom(seed);
  return Float32Array.from({ length: count }, () => 2 * random.uniform() - 1);
}

/** Three variables that go up and down in 24 steps, the later ones after the first, with noise. */
function triangles(length: number): ScaledSeries {
  const values = [0, 4, 7].map((phase, seed) => {
    const random = noise(length, seed);
    return random.map((x, t) => Math.abs(((t + phase) % 24) - 12) / 6 - 1 + x / 4);
  });
  return { names: ['a', 'b', 'c'], start: 0, frequency: HOUR, length, values, masks: [null, null, null] };
}

const LENGTH = 110;
const FIT: Omit<FitSettings, 'model' | 'settings'> = {
  lookback: SIZE.lookback,
  horizon: SIZE.horizon,
  learningRate: 1e-2,
  weightDecay: 0.01,
  loss: 'huber',
  batchSize: 12,
  epochs: 2,
  patience: 2,
  permutes: true,
  solver: 'annealing',
  seed: 5,
};

/** One forward pass with dropout, dates and orders of variables; its loss and gradients. */
async function passRows(device: Device, name: TrainedModelName, settings: ModelSettings): Promise<Rows> {
  const model = createForecastModel(name, device, SIZE, { ...SMALL, ...settings }, 3);
  // What starts at 0 would hide the gradients of the rest.
  for (const [i, tensor] of [...model.parameters.values()].entries()) {
    const values = await tensor.read();
    if (values.every((value) => value === 0)) tensor.write(noise(tensor.size, 90 + i).map((x) => x / 4));
  }
  const orders = [
    [0, 1, 2],
    [2, 0, 1],
  ];
  const ahead = { first: [Date.UTC(2020, 0, 31, 22), Date.UTC(2021, 5, 1, 3)], frequency: HOUR };
  const { y, loss } = device.scope(() => {
    const x = device.from(noise(2 * 3 * SIZE.lookback, 7), [2, 3, SIZE.lookback]);
    const target = device.from(noise(2 * 3 * SIZE.horizon, 8), [2, 3, SIZE.horizon]);
    const output = model.forward(x, { random: new RandomSource(9), ahead, orders });
    return { y: output, loss: sum(square(sub(output, mul(target, target)))) };
  });
  backward(loss);
  const trained = [...model.parameters].filter(([, tensor]) => tensor.requiresGrad);
  const gradients = trained.map(([parameter, tensor]) => [parameter, tensor.grad!] as [string, Tensor]);
  const rows = {
    'one pass: forecast': hashOf(await y.read()),
    'one pass: loss': hashOf(await loss.read()),
    ...(await hashEach(gradients, 'gradients:')),
  };
  y.dispose();
  loss.dispose();
  model.dispose();
  return rows;
}

/** Two epochs of training, and the scores of what came out. */
async function fitRows(device: Device, model: TrainedModelName, settings: ModelSettings): Promise<Rows> {
  const series = triangles(LENGTH);
  const splits = shareSplits(LENGTH);
  const losses: number[] = [];
  const fit: FitSettings = { ...FIT, model, settings: { ...SMALL, ...settings } };
  const fitted = await fitForecaster({
    device,
    series,
    splits,
    fit,
    onStep: ({ loss, gradNorm }) => void losses.push(loss, gradNorm),
  });
  const { forecaster, validation, bestEpoch } = fitted;
  const { mse, mae } = await scoreWindows(forecaster, series, windowStarts(splits.test, fit));
  const rows = {
    'training: losses and norms': hashNumbers(losses),
    'training: weights': await hashTensors(forecaster.model.parameters),
    'training: validation, best epoch, test errors': hashNumbers([validation, bestEpoch, mse, mae]),
  };
  forecaster.model.dispose();
  return rows;
}

/** Everything of one forecaster. */
export async function forecastRows(device: Device, name: string): Promise<Rows> {
  const [model, settings] = FORECASTERS[name];
  return { ...(await passRows(device, model, settings)), ...(await fitRows(device, model, settings)) };
}
