/**
 * The papers' benchmark: models are trained and scored on data sets at horizons from seeds. One of each is a cell, which
 * keeps its checkpoints and its result in a folder of its own, so that a later run goes on from there.
 *
 * What it is not: it prints nothing and knows no flags; what happens goes to callbacks.
 */
import { EnvironmentError, UsageError } from '../core/index.ts';
import { CellStore, type FileSystem, isRecord, joinPath, parseJsonObject } from '../io/index.ts';
import type { Device } from '../tensor/index.ts';
import { BENCHMARK_DATA, type BenchmarkData } from './benchmark.ts';
import { checkSplits, type Frequency, readTable, regularise, windowStarts } from './data/index.ts';
import { createDataset, type Dataset } from './dataset.ts';
import { type FitSettings, fitForecaster } from './fit.ts';
import { RuleForecaster, scoreWindows } from './forecaster.ts';
import { naiveForecast } from './models/index.ts';
import { FORECAST_MODELS, type ForecastModelName, isSolved, isTrained } from './names.ts';
import { fitSettings, type RecipeChanges } from './recipes.ts';

/** Lists the cells: every model on every data set at every horizon with every seed. */
export interface BenchPlan {
  readonly data: readonly BenchmarkData[];
  readonly models: readonly ForecastModelName[];
  readonly horizons: readonly number[];
  /** Number of seeds, from 0 on. Rules and what is solved are the same from every seed: they have one cell. */
  readonly seeds: number;
}

export interface BenchCell {
  readonly data: string;
  readonly model: ForecastModelName;
  readonly horizon: number;
  readonly lookback: number;
  readonly seed: number;
  readonly mse: number;
  readonly mae: number;
  /** Test windows that were scored: all. */
  readonly windows: number;
  readonly validation: number | null;
  readonly epochs: number | null;
  /** 0: the linear forecast that was solved beforehand was never bettered. */
  readonly bestEpoch: number | null;
  readonly seconds: number | null;
  readonly parameters: number;
  readonly order: readonly string[] | null;
  readonly settings: FitSettings | null;
}

/** A requested cell, and the name of its folder. */
export interface WantedCell extends Pick<BenchCell, 'data' | 'model' | 'horizon' | 'seed'> {
  readonly name: string;
}

export interface BenchInput extends BenchPlan {
  readonly device: Device;
  readonly files: FileSystem;
  /** Folder of the CSV files. */
  readonly dataFolder: string;
  /** Changes of the recipes, by the frequency of the series. */
  changes(frequency: Frequency): RecipeChanges;
  /** Steps that rules see, which decides how many windows there are; 720 unless given. */
  readonly lookback?: number;
  /** Folder of the cells' folders; nothing is kept without it. */
  readonly out?: string;
  readonly signal: AbortSignal;
  onWarning?(line: string): void;
  /** Called before a cell is trained, for at most so many epochs; gives what is called after each of them, and at the end. */
  onTraining?(name: string, epochs: number): { onEpoch(epoch: number, loss: number): void; end(): void };
  /** Called for each cell that was measured, not for those that an earlier run has measured. */
  onCell?(name: string, cell: BenchCell): void;
}

/** Files in a cell's folder: its settings, written before the first step, and its result. */
const [SETTINGS_FILE, RESULT] = ['settings.json', 'result'];
const RULE_LOOKBACK = 720;

const seedsOf = (model: ForecastModelName, seeds: number): number => (isTrained(model) && !isSolved(model) ? seeds : 1);

/** The cells of one data set, in the order in which they are measured. */
export const cellsOf = ({ models, horizons, seeds }: Omit<BenchPlan, 'data'>, data: string): WantedCell[] =>
  models.flatMap((model) =>
    horizons.flatMap((horizon) =>
      Array.from({ length: seedsOf(model, seeds) }, (_, seed) => {
        return { data, model, horizon, seed, name: `${data}-${model}-${horizon}-s${seed}` };
      }),
    ),
  );

/** Removes the folders of cells; whatever else a folder holds stays. */
export async function removeCells(files: FileSystem, out: string): Promise<void> {
  const either = (names: readonly string[]) => `(?:${names.join('|')})`;
  const cell = new RegExp(`^${either(BENCHMARK_DATA.map(({ name }) => name))}-${either(FORECAST_MODELS)}-\\d+-s\\d+$`);
  if (!(await files.status(out))) return;
  for (const name of await files.list(out)) if (cell.test(name)) await files.remove(joinPath(out, name));
}

/** The first setting that two runs differ in, and both values; null if they are of the same. */
function difference(before: Record<string, unknown>, now: Record<string, unknown>): string | null {
  for (const key of new Set([...Object.keys(before), ...Object.keys(now)])) {
    const [a, b] = [before[key], now[key]];
    if (isRecord(a) && isRecord(b)) {
      const inner = difference(a, b);
      if (inner) return inner;
    } else if (JSON.stringify(a) !== JSON.stringify(b)) {
      return `${key} was ${JSON.stringify(a) ?? 'not set'}, now ${JSON.stringify(b) ?? 'not set'}`;
    }
  }
  return null;
}

/** The first file of a data set that is there. @throws EnvironmentError telling where was looked */
async function findFile(files: FileSystem, folder: string, { name, files: names }: BenchmarkData): Promise<string> {
  for (const file of names) if (await files.exists(joinPath(folder, file))) return joinPath(folder, file);
  throw new EnvironmentError(`${name}: no ${names[0]} in ${folder}`, [
    'give its folder with --data-dir or KRAIT_SHARED_DATA',
    "fetch it from github.com/zhouhaoyi/ETDataset (ETT) or the papers' archives",
  ]);
}

/**
 * Measures the cells that are not measured yet.
 * @returns the cells in order; after the signal, those before it
 * @throws UsageError for a kept cell of other settings; EnvironmentError, FileFormatError for data that is missing or malformed
 */
export async function runBench(input: BenchInput): Promise<BenchCell[]> {
  const { files, signal } = input;
  const cells: BenchCell[] = [];
  for (const data of input.data) {
    const path = await findFile(files, input.dataFolder, data);
    const series = regularise(await readTable(files, path));
    for (const note of series.notes) input.onWarning?.(`${path}: ${note}`);
    const dataset = createDataset(series, data.splits(series.length));
    const bench = new DataBench(input, data, dataset);
    const wanted = cellsOf(input, data.name);
    for (const cell of wanted) await bench.checkSettings(cell);
    for (const one of wanted) {
      if (signal.aborted) return cells;
      const cell = await bench.cell(one);
      if (cell) cells.push(cell);
    }
  }
  return cells;
}

/** The cells of one data set. */
class DataBench {
  /** Results of earlier runs; null where none are kept. */
  private readonly store: CellStore<BenchCell> | null;

  constructor(
    private readonly input: BenchInput,
    private readonly data: BenchmarkData,
    private readonly dataset: Dataset,
  ) {
    const { files, out, onWarning } = input;
    this.store = out === undefined ? null : new CellStore(files, out, { onWarning: (line) => onWarning?.(line) });
  }

  private fitOf({ data, model, horizon, seed }: WantedCell): FitSettings | null {
    if (!isTrained(model)) return null;
    return fitSettings(model, data, horizon, seed, this.input.changes(this.dataset.raw.frequency));
  }

  private placeOf({ name }: WantedCell): string | undefined {
    return this.input.out === undefined ? undefined : joinPath(this.input.out, name);
  }

  /** The settings that a cell was begun with; of a result whose settings stand in it alone, those. */
  private async begunWith(place: string): Promise<unknown> {
    const { files } = this.input;
    const read = async (name: string) => {
      const path = joinPath(place, name);
      return (await files.exists(path)) ? parseJsonObject(path, await files.readText(path)) : null;
    };
    const settings = await read(SETTINGS_FILE);
    if (settings) return settings;
    const document = await read(`${RESULT}.json`);
    return isRecord(document?.['result']) ? document['result']['settings'] : document?.['settings'];
  }

  private get ruleLookback(): number {
    return this.input.lookback ?? RULE_LOOKBACK;
  }

  /** @throws UsageError for a cell that was begun with other settings: its checkpoint would go on as if it had these */
  async checkSettings(cell: WantedCell): Promise<void> {
    const place = this.placeOf(cell);
    const fit = this.fitOf(cell);
    if (!place || !fit) return;
    const before = await this.begunWith(place);
    const change = isRecord(before) ? difference(before, JSON.parse(JSON.stringify(fit))) : null;
    if (change) throw new UsageError(`${place}: ${change}; give --force to begin anew, or another --out`);
  }

  /** The cell as an earlier run left it, or measured; null if the signal came first. */
  async cell(wanted: WantedCell): Promise<BenchCell | null> {
    const fit = this.fitOf(wanted);
    const place = this.placeOf(wanted);
    const { name, model, horizon } = wanted;
    const identity = fit ?? { data: this.data.name, model, horizon, lookback: this.ruleLookback };
    const kept = await this.kept(name, identity);
    if (kept) return kept;
    if (place && fit) {
      await this.input.files.writeAtomic(joinPath(place, SETTINGS_FILE), `${JSON.stringify(fit, null, 1)}\n`);
    }
    const cell = fit ? await this.train(name, fit, place) : await this.rule(wanted);
    if (!cell) return null;
    await this.store?.write(`${name}/${RESULT}`, identity, cell);
    this.input.onCell?.(name, cell);
    return cell;
  }

  /** The result of an earlier run. A file without an identity is one cell; its settings have been compared already. */
  private async kept(name: string, identity: { readonly lookback: number }): Promise<BenchCell | null> {
    if (!this.store) return null;
    return this.store.read(`${name}/${RESULT}`, identity, (document) =>
      document['lookback'] === identity.lookback ? (document as unknown as BenchCell) : null,
    );
  }

  private async train(name: string, fit: FitSettings, folder?: string): Promise<BenchCell | null> {
    const { device, files, signal } = this.input;
    const { series, splits } = this.dataset;
    checkSplits(this.data.name, splits, fit, series.length);
    const training = this.input.onTraining?.(name, fit.epochs);
    const place = folder === undefined ? undefined : { files, folder, resume: true };
    const onEpoch = (epoch: number, { loss }: { loss: number }) => training?.onEpoch(epoch, loss);
    const fitted = await fitForecaster({ device, series, splits, fit, place, signal, onEpoch }).finally(() =>
      training?.end(),
    );
    const { forecaster, validation, status, epochs, bestEpoch, seconds, parameters } = fitted;
    try {
      if (status === 'aborted') return null;
      const score = await scoreWindows(forecaster, series, windowStarts(splits.test, fit), signal);
      if (signal.aborted) return null;
      return {
        data: this.data.name,
        model: fit.model,
        horizon: fit.horizon,
        lookback: fit.lookback,
        seed: fit.seed,
        ...score,
        validation,
        epochs,
        bestEpoch,
        seconds,
        parameters,
        order: forecaster.order?.map((k) => series.names[k]) ?? null,
        settings: fit,
      };
    } finally {
      forecaster.model.dispose();
    }
  }

  private async rule({ model, horizon }: WantedCell): Promise<BenchCell> {
    const { series, splits } = this.dataset;
    const size = { lookback: this.ruleLookback, horizon };
    checkSplits(this.data.name, splits, size, series.length);
    if (isTrained(model)) throw new Error(`${model} is trained`);
    const forecaster = new RuleForecaster(naiveForecast(model, this.data.season), size);
    const score = await scoreWindows(forecaster, series, windowStarts(splits.test, size), this.input.signal);
    const nothing = { validation: null, epochs: null, bestEpoch: null, seconds: null, order: null, settings: null };
    return { data: this.data.name, model, ...size, seed: 0, ...score, parameters: 0, ...nothing };
  }
}
