import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openBackend } from '../../backend/index.ts';
import { NodeFileSystem } from '../../platform/node/index.ts';
import { Device } from '../../tensor/index.ts';
import { formatDate } from '../data/index.ts';
import { type BenchInput, type BenchResult, type BenchRun, benchSettings, runBench, summarise } from './index.ts';

const files = new NodeFileSystem();
let folder = '';
let device: Device;
before(async () => {
  device = new Device((await openBackend({ device: 'auto' })).backend);
  folder = await mkdtemp(join(tmpdir(), 'krait-bench-'));
  await mkdir(join(folder, 'ett'));
  const rows = Array.from({ length: 14_400 }, (_, i) => {
    const wave = Math.sin((i * Math.PI) / 12);
    return `${formatDate(Date.UTC(2016, 6, 1) + i * 3_600_000)},${(3 * wave).toFixed(4)},${(wave + ((i * 7919) % 13) / 13).toFixed(4)}`;
  });
  await writeFile(join(folder, 'ett', 'ETTh1.csv'), `date,a,b\n${rows.join('\n')}\n`);
});
after(async () => {
  device.close();
  await rm(folder, { recursive: true, force: true });
});

const RUN: BenchRun = { model: 'dlinear', data: 'etth1', horizon: 8, seed: 1, lookback: 24, training: { epochs: 1 } };

describe('the protocol', () => {
  it('scores every test window, keeps what is done, and goes on where it was stopped', async () => {
    const out = join(folder, 'runs');
    const input: BenchInput = { device, files, dataFolder: folder, out };
    const stop = new AbortController();
    const onStep: BenchInput['onStep'] = ({ step }) => step === 20 && stop.abort();
    assert.deepEqual(await runBench({ ...input, signal: stop.signal, onStep }, [RUN]), []);
    const steps: number[] = [];
    const [first] = await runBench({ ...input, onStep: ({ step }) => steps.push(step) }, [RUN]);
    assert.ok(steps[0] > 20, `began again at step ${steps[0]}`);
    assert.equal(first.test.windows, 2880 - 8 + 1);
    const kept: boolean[] = [];
    const again = await runBench({ ...input, onRun: (_, isKept) => kept.push(isKept) }, [RUN]);
    assert.deepEqual([again, kept], [[JSON.parse(JSON.stringify(first))], [true]]);
    const straight = await runBench({ ...input, out: undefined }, [RUN]);
    assert.equal(straight[0].test.mse, first.test.mse);
  });

  it('the errors of the seasonal baseline are those of a plain loop over the file', async () => {
    const run: BenchRun = { model: 'seasonal', data: 'etth1', horizon: 8, seed: 1, lookback: 24 };
    const [{ test }] = await runBench({ device, files, dataFolder: folder }, [run]);
    const lines = (await readFile(join(folder, 'ett', 'ETTh1.csv'), 'utf8')).trim().split('\n').slice(1);
    let [squares, absolutes, count] = [0, 0, 0];
    for (const column of [1, 2]) {
      const values = lines.map((line) => Number(line.split(',')[column]));
      const train = values.slice(0, 8640);
      const mean = train.reduce((a, b) => a + b) / 8640;
      const deviation = Math.sqrt(train.reduce((s, v) => s + (v - mean) ** 2, 0) / 8640);
      for (let at = 11_520; at + 8 <= 14_400; at++) {
        for (let h = 0; h < 8; h++) {
          const off = (values[at + h] - values[at + h - 24]) / deviation;
          squares += off ** 2;
          absolutes += Math.abs(off);
          count++;
        }
      }
    }
    assert.ok(Math.abs(test.mse - squares / count) < 1e-5, `${test.mse}, ${squares / count}`);
    assert.ok(Math.abs(test.mae - absolutes / count) < 1e-5, `${test.mae}, ${absolutes / count}`);
  });

  it('means over seeds and horizons, beside published figures only where they are comparable', () => {
    const result = (horizon: number, seed: number, mse: number, lookback = 336): BenchResult => ({
      ...{ model: 'dlinear', variant: null, data: 'etth2', horizon, seed, lookback, parameters: 1, order: null },
      ...{ validationMse: 1, bestEpoch: 1, epochs: 1, seconds: 1, config: {}, training: {} },
      test: { mse, mae: mse / 2, windows: 10 },
    });
    const rows = summarise([result(96, 1, 0.2), result(96, 2, 0.4), result(192, 1, 0.5), result(96, 1, 0.9, 720)]);
    assert.deepEqual(
      rows.map(({ horizon, seeds, mse, publishedMse }) => [horizon, seeds, mse.toFixed(3), publishedMse]),
      [
        [96, 2, '0.300', 0.289],
        [192, 1, '0.500', null],
        ['mean', 1, '0.400', null],
        [96, 1, '0.900', null],
      ],
    );
    assert.ok(Math.abs(rows[0].mseDeviation! - 0.1 * Math.SQRT2) < 1e-12);
  });

  it('takes the authors’ settings of the next longer horizon', () => {
    assert.deepEqual(benchSettings('mambats', 'etth2', 200).model, benchSettings('mambats', 'etth2', 336).model);
    assert.equal(benchSettings('dlinear', 'etth2', 96).lookback, 336);
  });
});

const SHARED = process.env['KRAIT_SHARED_DATA'] ?? fileURLToPath(new URL('../../../../shared/data', import.meta.url));
const ETTH1 = join(SHARED, 'ett', 'ETTh1.csv');

describe('the ETT data', { skip: !existsSync(ETTH1) && `no ${ETTH1}: set KRAIT_SHARED_DATA` }, () => {
  it('has 2,785 test windows at horizon 96, whose seasonal errors are what they are known to be', async () => {
    const run: BenchRun = { model: 'seasonal', data: 'etth1', horizon: 96, seed: 1 };
    const [{ test }] = await runBench({ device, files, dataFolder: SHARED }, [run]);
    assert.equal(test.windows, 2785);
    assert.ok(test.mse > 0.4 && test.mse < 0.7, `${test.mse}`);
  });
});
