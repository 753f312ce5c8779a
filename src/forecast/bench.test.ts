/** The benchmark's cells: which there are, how they are kept and go on, and what is told of them. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { createReferenceBackend } from '../backend/reference/index.ts';
import { EnvironmentError, UsageError } from '../core/index.ts';
import { NodeFileSystem } from '../platform/node/index.ts';
import { Device } from '../tensor/index.ts';
import { type BenchCell, type BenchInput, cellsOf, removeCells, runBench } from './bench.ts';
import { summariseCells } from './bench-summary.ts';
import { findBenchmarkData } from './benchmark.ts';

const work = mkdtempSync(join(tmpdir(), 'krait-bench-'));
const device = new Device(createReferenceBackend());
const files = new NodeFileSystem();
after(() => {
  device.close();
  rmSync(work, { recursive: true, force: true });
});

/** Ten-minute rows of two waves: a small stand-in for the weather data. */
const rows = Array.from({ length: 400 }, (_, t) => {
  const date = new Date(Date.UTC(2024, 0, 1, 0, 10 * t)).toISOString().slice(0, 19).replace('T', ' ');
  return `${date},${Math.sin(t / 5) + 0.01 * ((t * 7919) % 13)},${Math.cos(t / 7)}`;
});
writeFileSync(join(work, 'weather.csv'), `date,a,b\n${rows.join('\n')}\n`);

function input(changes: Partial<BenchInput> = {}): BenchInput {
  return {
    device,
    files,
    data: [findBenchmarkData('weather')],
    dataFolder: work,
    models: ['drift', 'ridge'],
    horizons: [4, 8],
    seeds: 2,
    lookback: 16,
    changes: () => ({ lookback: 16 }),
    signal: new AbortController().signal,
    ...changes,
  };
}

describe('the benchmark', () => {
  it('has a cell for each seed of what is trained, one of rules and of what is solved', () => {
    const names = cellsOf({ models: ['drift', 'ridge', 'dlinear'], horizons: [96], seeds: 2 }, 'etth1').map(
      ({ name }) => name,
    );
    assert.deepEqual(names, ['etth1-drift-96-s0', 'etth1-ridge-96-s0', 'etth1-dlinear-96-s0', 'etth1-dlinear-96-s1']);
  });

  it('keeps each result, measures none twice, and removes them alone', async () => {
    const out = join(work, 'kept');
    const told: string[] = [];
    const trained: string[] = [];
    const callbacks: Partial<BenchInput> = {
      onCell: (name) => told.push(name),
      onTraining: (name, epochs) => {
        assert.ok(epochs > 0);
        return { onEpoch() {}, end: () => trained.push(name) };
      },
    };
    const first = await runBench(input({ out, ...callbacks }));
    const names = ['drift-4', 'drift-8', 'ridge-4', 'ridge-8'].map((name) => `weather-${name}-s0`);
    assert.deepEqual(told, names);
    assert.deepEqual(trained, names.slice(2));
    assert.ok(first.every(({ mse, mae, windows }) => mse > 0 && mae > 0 && windows > 0));
    const again = await runBench(input({ out, ...callbacks }));
    assert.deepEqual(again, JSON.parse(JSON.stringify(first)));
    assert.equal(told.length, 4, 'nothing was measured again');
    mkdirSync(join(out, 'mine'));
    await removeCells(files, out);
    assert.deepEqual(await files.list(out), ['mine']);
  });

  it('refuses a cell that was begun with other settings, and measures a rule of another look-back anew', async () => {
    const out = join(work, 'changed');
    await runBench(input({ out, horizons: [4] }));
    const other = input({ out, horizons: [4], changes: () => ({ lookback: 20 }) });
    await assert.rejects(
      runBench(other),
      (error: Error) =>
        error instanceof UsageError && /weather-ridge-4-s0: lookback was 16, now 20; give --force/.test(error.message),
    );
    const [cell] = await runBench(input({ out, horizons: [4], models: ['drift'], lookback: 20 }));
    assert.equal(cell.lookback, 20);
    const file = readFileSync(join(out, 'weather-drift-4-s0', 'result.json'), 'utf8');
    assert.equal(JSON.parse(file).result.lookback, 20);
  });

  it('gives what it has when the signal comes, and says where data was looked for', async () => {
    const controller = new AbortController();
    const cells = await runBench(input({ signal: controller.signal, onCell: () => controller.abort() }));
    assert.equal(cells.length, 1);
    await assert.rejects(
      runBench(input({ dataFolder: join(work, 'nothing') })),
      (error: Error) =>
        error instanceof EnvironmentError && /^weather: no weather\.csv in .*nothing/.test(error.message),
    );
    assert.equal(existsSync(join(work, 'nothing')), false);
  });
});

describe('the summary', () => {
  const cell = (horizon: number, seed: number, mse: number): BenchCell => ({
    data: 'etth2',
    model: 'mambats',
    horizon,
    lookback: horizon === 96 ? 720 : 360,
    seed,
    mse,
    mae: 2 * mse,
    windows: 10,
    validation: null,
    epochs: 1,
    bestEpoch: 1,
    seconds: 1,
    parameters: 1,
    order: null,
    settings: null,
  });

  it('has means and deviations over seeds, and a mean over horizons where the four of the papers are there', () => {
    const cells = [96, 192, 336, 720].flatMap((horizon, i) => [cell(horizon, 0, 1 + i), cell(horizon, 1, 3 + i)]);
    const summary = summariseCells(cells);
    assert.deepEqual(
      summary.map(({ horizon }) => horizon),
      [96, 192, 336, 720, 'mean'],
    );
    assert.deepEqual(summary[0].mse, { mean: 2, deviation: Math.SQRT2 });
    assert.deepEqual(summary[0].mae, { mean: 4, deviation: 2 * Math.SQRT2 });
    const last = summary[4];
    assert.deepEqual(last.mse, { mean: 3.5, deviation: Math.SQRT2 });
    assert.deepEqual([last.lookbacks, last.seeds, last.windows, last.published], [[720, 360], 2, null, [0.339, 0.381]]);
    assert.deepEqual(summariseCells(cells.slice(0, 1))[0].mse, { mean: 1, deviation: null });
    assert.equal(summariseCells(cells.slice(0, 4)).length, 2);
  });
});
