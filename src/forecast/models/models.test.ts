/** Every model: shapes, gradients against central differences, what an order changes, what dropout draws. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createReferenceBackend } from '../../backend/reference/index.ts';
import { HostRandom, RandomSource, UsageError } from '../../core/index.ts';
import { backward, Device, mul, sum } from '../../tensor/index.ts';
import type { TrainedModelName } from '../names.ts';
import { averagingMatrix, createForecastModel, drift, type ModelSettings, seasonalNaive } from './index.ts';

const device = new Device(createReferenceBackend());
const SIZE = { k: 3, lookback: 20, horizon: 4 };
const SMALL: ModelSettings = { layers: 2, d: 4, stateSize: 3, patch: 6, stride: 3, heads: 2, hidden: 6 };

const VARIANTS: [string, TrainedModelName, ModelSettings][] = [
  ['MambaTS', 'mambats', {}],
  ['MambaTS, time-major', 'mambats', { layout: 'time-major' }],
  ['MambaTS with convolution', 'mambats', { convolution: true }],
  ['MambaTS with its shortcut and the calendar', 'mambats', { shortcut: true, calendar: ['hour', 'month'] }],
  ['plain Mamba per variable', 'mamba', {}],
  ['patch Transformer', 'patch-transformer', {}],
  ['DLinear', 'dlinear', {}],
];

/** Two samples that begin at other hours, the second in another order. */
const ahead = (first: number[]) => ({ first, frequency: { ms: 3_600_000 } });
const AHEAD = {
  ahead: ahead([Date.UTC(2020, 0, 31, 22), Date.UTC(2021, 5, 1, 3)]),
  orders: [
    [0, 1, 2],
    [2, 0, 1],
  ],
};

function make(name: TrainedModelName, settings: ModelSettings = {}) {
  const model = createForecastModel(name, device, SIZE, { ...SMALL, ...settings }, 3);
  // What starts at 0 beside a linear forecast, and that itself, are to matter here.
  for (const parameter of settings.shortcut ? ['head.weight', 'ridge.weight'] : []) {
    const tensor = model.parameters.get(parameter)!;
    tensor.write(normals(tensor.size, 7).map((v) => v / 4));
  }
  return model;
}

const normals = (count: number, seed = 1) => {
  const random = new HostRandom(seed);
  return Float32Array.from({ length: count }, () => random.normal());
};

describe('gradients', () => {
  for (const [title, name, settings] of VARIANTS) {
    it(`of ${title} are those of central differences, dropout included`, async () => {
      const model = make(name, settings);
      const x = device.from(normals(2 * 3 * 20), [2, 3, 20]);
      const toward = device.from(normals(2 * 3 * 4, 2), [2, 3, 4]);
      const loss = () => sum(mul(model.forward(x, { random: new RandomSource(9), ...AHEAD }), toward));
      const value = async () => {
        const y = device.noGrad(() => device.scope(loss));
        const read = await y.item();
        y.dispose();
        return read;
      };
      device.scope(() => backward(loss()));
      for (const [parameter, tensor] of model.parameters) {
        if (!tensor.requiresGrad) continue;
        const gradient = await tensor.grad!.read();
        const direction = normals(tensor.size, 5);
        const at = Float32Array.from(await tensor.read());
        const step = 3e-3;
        const moved = async (h: number) => {
          tensor.write(at.map((v, i) => v + h * direction[i]));
          return value();
        };
        const slope =
          (8 * ((await moved(step)) - (await moved(-step))) - ((await moved(2 * step)) - (await moved(-2 * step)))) /
          (12 * step);
        tensor.write(at);
        const expected = direction.reduce((total, d, i) => total + d * gradient[i], 0);
        assert.ok(
          Math.abs(slope - expected) < 5e-3 * Math.max(1, Math.abs(expected)),
          `${parameter}: ${slope}, ${expected}`,
        );
        tensor.zeroGrad();
      }
      model.dispose();
    });
  }
});

describe('models', () => {
  it('that see the order of variables change with it, and only they do', async () => {
    for (const [title, name, settings] of VARIANTS) {
      const model = make(name, settings);
      const values = normals(3 * 20);
      const swapped = Float32Array.from([
        ...values.subarray(40),
        ...values.subarray(20, 40),
        ...values.subarray(0, 20),
      ]);
      const run = async (v: Float32Array) => {
        const y = device.noGrad(() =>
          device.scope(() => model.forward(device.from(v, [1, 3, 20]), { ahead: ahead([0]) })),
        );
        return y.read();
      };
      const [a, b] = [await run(values), await run(swapped)];
      const difference = Math.max(...Array.from({ length: 4 }, (_, h) => Math.abs(a[h] - b[8 + h])));
      assert.equal(difference > 1e-6, model.isOrdered, `${title}: ${difference}`);
      model.dispose();
    }
  });

  it('name what cannot be', () => {
    assert.throws(() => make('mambats', { patch: 30 }), /mambats: a patch of 30 does not fit the look-back of 20/);
    assert.throws(() => make('patch-transformer', { heads: 3 }), /a width of 4 is not a multiple of 3 heads/);
    assert.throws(() => make('mambats', { d: 0 }), UsageError);
    assert.throws(
      () => make('dlinear', { calendar: ['week' as never] }),
      /calendar: expected some of hour, weekday, month/,
    );
    const dated = make('dlinear', { calendar: ['hour'] });
    assert.throws(
      () => make('dlinear', { shortcut: true }),
      /the ridge shortcut is for mambats, mamba and patch-transf/,
    );
    assert.throws(() => dated.forward(device.zeros([1, 3, 20])), /give the dates of the steps ahead/);
    assert.throws(() => make('mambats', { dropout: 1 }), /dropout: expected a number from 0 to below 1, got 1/);
  });
});

describe('rules', () => {
  const size = { lookback: 4, horizon: 3 };
  const inputs = Float32Array.from([1, 2, 3, 4, 10, 20, 10, 20]);

  it('repeat the season, or go on as before', () => {
    assert.deepEqual([...seasonalNaive(2)(inputs, size)], [3, 4, 3, 10, 20, 10]);
    assert.deepEqual([...seasonalNaive(9)(inputs, size)], [4, 4, 4, 20, 20, 20]);
    assert.deepEqual([...drift(inputs, size).subarray(0, 3)], [5, 6, 7]);
  });

  it('of averaging keep a constant and a line within', () => {
    const matrix = averagingMatrix(9, 3);
    const times = (values: number[]) => values.map((_, r) => values.reduce((s, v, c) => s + v * matrix[r * 9 + c], 0));
    assert.ok(times(new Array(9).fill(2)).every((v) => Math.abs(v - 2) < 1e-6));
    assert.ok(Math.abs(times([0, 1, 2, 3, 4, 5, 6, 7, 8])[4] - 4) < 1e-6);
  });
});
