/** Runs of the protocol: train, then score every test window; what is done is kept in a folder and not done again. */
import { type FileSystem, isRecord, joinPath, parseJsonObject } from '../../io/index.ts';
import type { Device } from '../../tensor/index.ts';
import type { StepReport } from '../../tune/trainer/index.ts';
import { checkSplit, fitScaler, readTable, type SeriesTable, scaleTable } from '../data/index.ts';
import { forecastConfig, type ModelName } from '../models/index.ts';
import { type FitOptions, fitForecaster, scoreWindows, windowsOf } from '../training/index.ts';
import { type BenchDataName, benchData, benchSettings } from './protocol.ts';

export interface BenchRun {
  readonly model: ModelName;
  readonly data: BenchDataName;
  readonly horizon: number;
  readonly seed: number;
  /** In place of the authors' settings. */
  readonly lookback?: number;
  readonly settings?: Record<string, unknown>;
  readonly training?: Partial<FitOptions>;
  /** Name of an ablation, for its folder and the table. */
  readonly variant?: string;
}

export interface BenchResult {
  readonly model: ModelName;
  readonly variant: string | null;
  readonly data: BenchDataName;
  readonly horizon: number;
  readonly seed: number;
  readonly lookback: number;
  readonly parameters: number;
  /** Names of the variables in the order in which they are read; null where it is that of the file or of no matter. */
  readonly order: readonly string[] | null;
  readonly validationMse: number | null;
  readonly bestEpoch: number | null;
  readonly epochs: number | null;
  /** Of training in the last piece of the run. */
  readonly seconds: number;
  readonly test: { readonly mse: number; readonly mae: number; readonly windows: number };
  readonly config: Record<string, unknown>;
  readonly training: Record<string, unknown>;
}

export interface BenchInput {
  readonly device: Device;
  readonly files: FileSystem;
  readonly dataFolder: string;
  /** Where runs are kept; nowhere unless given. */
  readonly out?: string;
  readonly signal?: AbortSignal;
  onRun?(run: BenchRun, isKept: boolean): void;
  onStep?(report: StepReport): void;
  onEval?(step: number, mse: number): void;
}

const RESULT_FILE = 'result.json';

const nameOf = ({ model, data, horizon, seed, variant, lookback }: BenchRun): string =>
  [data, model, variant, lookback && `l${lookback}`, horizon, `seed${seed}`].filter(Boolean).join('-');

/** One run; null if it was stopped before its end. */
async function benchOne(input: BenchInput, table: SeriesTable, run: BenchRun): Promise<BenchResult | null> {
  const { device, files, out, signal } = input;
  const { split } = benchData(run.data);
  const authors = benchSettings(run.model, run.data, run.horizon);
  const lookback = run.lookback ?? authors.lookback;
  const config = forecastConfig(run.model, { lookback, horizon: run.horizon }, { ...authors.model, ...run.settings });
  const options = { ...authors.training, ...run.training, seed: run.seed };
  checkSplit(table, split, lookback, run.horizon);
  const series = scaleTable(table, fitScaler(table, split.train));
  const windows = windowsOf(series, table.observed, split, config);
  const folder = out && joinPath(out, nameOf(run));
  const place = folder ? { files, folder, resume: true } : undefined;
  const fitted = await fitForecaster({
    ...{ device, config, windows, options, place, signal },
    onStep: (report) => input.onStep?.(report),
    onEval: (step, { loss }) => input.onEval?.(step, loss),
  });
  const { model, order, training, validationMse, parameters } = fitted;
  try {
    if (training?.status === 'aborted') return null;
    const test = await scoreWindows(device, model, windows.test, order, signal);
    const perEpoch = Math.floor(windows.train.length / Math.min(options.batchSize, windows.train.length));
    const result: BenchResult = {
      ...{ model: run.model, variant: run.variant ?? null, data: run.data, horizon: run.horizon, seed: run.seed },
      ...{ lookback, parameters, validationMse, test },
      order: order?.map((v) => table.names[v]) ?? null,
      bestEpoch: training?.best ? training.best.step / perEpoch : null,
      epochs: training ? training.step / perEpoch : null,
      seconds: training?.seconds ?? 0,
      config: { ...config },
      training: { ...options },
    };
    if (folder) await files.writeAtomic(joinPath(folder, RESULT_FILE), `${JSON.stringify(result, null, 2)}\n`);
    return result;
  } finally {
    model.dispose();
  }
}

/** What a run left before, if it was the same run. */
async function keptResult({ files, out }: BenchInput, run: BenchRun): Promise<BenchResult | null> {
  const path = out && joinPath(out, nameOf(run), RESULT_FILE);
  if (!path || !(await files.exists(path))) return null;
  const kept = parseJsonObject(path, await files.readText(path));
  return isRecord(kept['test']) ? (kept as unknown as BenchResult) : null;
}

/** All runs, in order; those of a stopped call that were not done are missing. */
export async function runBench(input: BenchInput, runs: readonly BenchRun[]): Promise<BenchResult[]> {
  const tables = new Map<string, SeriesTable>();
  const results: BenchResult[] = [];
  for (const run of runs) {
    if (input.signal?.aborted) break;
    const kept = await keptResult(input, run);
    input.onRun?.(run, kept !== null);
    if (!kept && !tables.has(run.data)) {
      tables.set(run.data, await readTable(input.files, joinPath(input.dataFolder, benchData(run.data).file)));
    }
    const result = kept ?? (await benchOne(input, tables.get(run.data)!, run));
    if (result) results.push(result);
  }
  return results;
}
