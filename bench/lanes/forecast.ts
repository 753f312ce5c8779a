/** Krait training MambaTS: a round is so many steps of an epoch, from the weights that it began with. */
import { join } from 'node:path';
import { openBackend } from '../../src/backend/select.ts';
import {
  createDataset,
  createForecastModel,
  cutWindows,
  everyStart,
  ForecastTask,
  findBenchmarkData,
  fitSettings,
  ModelForecaster,
  readTable,
  regularise,
  windowStarts,
} from '../../src/forecast/index.ts';
import { tensorEntry, writeSafetensors } from '../../src/io/index.ts';
import { NodeFileSystem } from '../../src/platform/node/index.ts';
import { Device } from '../../src/tensor/index.ts';
import { train } from '../../src/train/index.ts';
import { type Contestant, serve, timed } from '../suite/serve.ts';

export interface ForecastOptions {
  /** Folder of the data set's file. */
  readonly dataDir: string;
  readonly data: string;
  readonly lookback: number;
  readonly horizon: number;
  readonly batchSize: number;
  readonly layers: number;
  readonly d: number;
  readonly steps: number;
  readonly threads: number;
  /** Where the first weights go, for others to begin with; nowhere if null. */
  readonly start: string | null;
}

async function open(options: ForecastOptions): Promise<Contestant> {
  const { data, lookback, horizon, batchSize, layers, d, steps, threads } = options;
  const files = new NodeFileSystem();
  const { backend } = await openBackend({ device: 'native', threads });
  const device = new Device(backend);
  const benchmark = findBenchmarkData(data);
  const raw = regularise(await readTable(files, join(options.dataDir, benchmark.files[0])));
  const { series, splits } = createDataset(raw, benchmark.splits(raw.length));
  const size = { lookback, horizon };
  // Dropout off on both sides, so that both compute the same.
  const settings = { layers, d, dropout: 0 };
  const fit = fitSettings('mambats', data, horizon, 0, { lookback, batchSize, settings });
  const newModel = () => createForecastModel('mambats', device, { k: series.values.length, ...size }, fit.settings, 0);
  const model = newModel();
  if (options.start !== null) {
    const entries = [...model.parameters].map(([name, tensor]) => tensorEntry(name, tensor));
    await writeSafetensors(files, options.start, entries);
  }
  const starts = everyStart(windowStarts(splits.train, size)).slice(0, batchSize);
  const first = cutWindows(series, starts, size);
  const forecast = await new ModelForecaster(model, size).forecast(first);
  const loss = forecast.reduce((sum, y, i) => sum + (y - first.targets[i]) ** 2, 0) / forecast.length;
  model.dispose();

  async function round(): Promise<Record<string, unknown>> {
    const own = newModel();
    const { permutes, solver } = fit;
    const task = new ForecastTask({
      model: own,
      series,
      splits,
      size,
      batchSize,
      seed: 0,
      permutes,
      solver,
      loss: 'mse',
    });
    const run = { steps, learningRate: fit.learningRate, weightDecay: 0, clipNorm: 0, seed: 0 };
    const seconds = await timed(() => train(task, { options: run }));
    task.dispose();
    own.dispose();
    return { seconds, steps, stepsPerEpoch: task.stepsPerEpoch };
  }
  await round(); // warm
  return {
    about: { program: `Krait ${device.name} ${backend.variant}, ${threads} threads`, loss },
    requests: { round },
    close: () => device.close(),
  };
}

await serve(open);
