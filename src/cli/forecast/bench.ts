/** `krait forecast bench`: the papers' protocol on their data sets, figures beside the published ones. */
import { join } from 'node:path';
import type { Command } from 'commander';
import { EnvironmentError, UsageError } from '../../core/index.ts';
import {
  BENCHMARK_DATA,
  type BenchmarkData,
  checkSplits,
  createDataset,
  type Dataset,
  type FitSettings,
  FORECAST_MODELS,
  type ForecastModelName,
  findBenchmarkData,
  fitForecaster,
  fitSettings,
  isTrained,
  naiveForecast,
  publishedFigures,
  RuleForecaster,
  readTable,
  regularise,
  scoreWindows,
  windowStarts,
} from '../../forecast/index.ts';
import { isRecord, parseJsonObject } from '../../io/index.ts';
import { table } from '../../report/terminal.ts';
import type { Device } from '../../tensor/index.ts';
import { Interrupted, withInterrupt } from '../interrupt.ts';
import {
  type CommonOptions,
  checkOutputFolder,
  integer,
  nodeFiles,
  Output,
  openDevice,
  withCommonOptions,
} from '../session.ts';
import { list, type ModelFlags, modelName, recipeChanges, withModelFlags } from './options.ts';

interface Options extends Omit<CommonOptions, 'dtype'>, ModelFlags {
  data: BenchmarkData[];
  dataDir?: string;
  horizon: number[];
  seeds: number;
  model: ForecastModelName[];
  out?: string;
  resume?: boolean;
  force?: boolean;
}

interface Cell {
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

/** Files of a cell's folder: what it is of, from before its first step on, and what came out. */
const [SETTINGS_FILE, RESULT_FILE] = ['settings.json', 'result.json'];
/** Steps that the look-back of a rule has, which decides how many windows there are. */
const RULE_LOOKBACK = 720;

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

/** Rules and what is solved are the same from every seed. */
const seedsOf = (model: ForecastModelName, seeds: number): number =>
  isTrained(model) && model !== 'ridge' ? seeds : 1;

/** The first file of a data set that is there. @throws EnvironmentError telling where was looked */
async function findFile({ name, files }: BenchmarkData, given: string | undefined): Promise<string> {
  const folder = given ?? process.env['KRAIT_SHARED_DATA'] ?? 'data';
  for (const file of files) if (await nodeFiles.exists(join(folder, file))) return join(folder, file);
  throw new EnvironmentError(`${name}: no ${files[0]} in ${folder}`, [
    'give its folder with --data-dir or KRAIT_SHARED_DATA',
    "fetch it from github.com/zhouhaoyi/ETDataset (ETT) or the papers' archives",
  ]);
}

class Bench {
  constructor(
    private readonly device: Device,
    private readonly options: Options,
    private readonly output: Output,
    private readonly signal: AbortSignal,
  ) {}

  async run(): Promise<Cell[]> {
    const { options } = this;
    const cells: Cell[] = [];
    for (const data of options.data) {
      const path = await findFile(data, options.dataDir);
      const series = regularise(await readTable(nodeFiles, path));
      for (const note of series.notes) this.output.warn(`${path}: ${note}`);
      const dataset = createDataset(series, data.splits(series.length));
      const wanted = cellsOf(options, data.name);
      for (const cell of wanted) await this.checkSettings(cell, this.fitOf(cell, dataset));
      for (const one of wanted) {
        if (this.signal.aborted) return cells;
        const cell = await this.cell(data, dataset, one);
        if (cell) cells.push(cell);
      }
    }
    return cells;
  }

  private fitOf({ data, model, horizon, seed }: Wanted, { raw }: Dataset): FitSettings | null {
    if (!isTrained(model)) return null;
    return fitSettings(model, data, horizon, seed, recipeChanges(this.options, raw.frequency));
  }

  private placeOf({ name }: Wanted): string | undefined {
    return this.options.out === undefined ? undefined : join(this.options.out, name);
  }

  private async readKept(path: string): Promise<Record<string, unknown> | null> {
    return (await nodeFiles.exists(path)) ? parseJsonObject(path, await nodeFiles.readText(path)) : null;
  }

  /** @throws UsageError for a cell that was begun with other settings: its checkpoint would go on as if it had these */
  private async checkSettings(cell: Wanted, fit: FitSettings | null): Promise<void> {
    const place = this.placeOf(cell);
    if (!place || !fit) return;
    const result = await this.readKept(join(place, RESULT_FILE));
    const before = (await this.readKept(join(place, SETTINGS_FILE))) ?? result?.['settings'];
    const change = isRecord(before) ? difference(before, JSON.parse(JSON.stringify(fit))) : null;
    if (change) throw new UsageError(`${place}: ${change}; give --force to begin anew, or another --out`);
  }

  private async cell(data: BenchmarkData, dataset: Dataset, wanted: Wanted) {
    const { output } = this;
    const { name, model, horizon } = wanted;
    const fit = this.fitOf(wanted, dataset);
    const place = this.placeOf(wanted);
    const kept = place && (await this.kept(place, fit));
    if (kept) return kept;
    if (place && fit) {
      await nodeFiles.writeAtomic(join(place, SETTINGS_FILE), `${JSON.stringify(fit, null, 1)}\n`);
    }
    const cell = fit
      ? await this.train(name, data, dataset, fit, place)
      : await this.rule(data, dataset, model, horizon);
    if (!cell) return null;
    if (place) await nodeFiles.writeAtomic(join(place, RESULT_FILE), `${JSON.stringify(cell, null, 1)}\n`);
    const best = cell.bestEpoch === null ? '' : `, the best after ${cell.bestEpoch}`;
    const time = cell.seconds === null ? '' : `, ${cell.epochs} epochs in ${cell.seconds.toFixed(0)} s${best}`;
    output.say(`${name}: MSE ${cell.mse.toFixed(4)}, MAE ${cell.mae.toFixed(4)}${time}`);
    return cell;
  }

  /** The result of an earlier run; of a rule, if it had the same look-back. */
  private async kept(place: string, fit: FitSettings | null): Promise<Cell | null> {
    const cell = (await this.readKept(join(place, RESULT_FILE))) as Cell | null;
    const lookback = fit?.lookback ?? this.options.lookback ?? RULE_LOOKBACK;
    return cell?.lookback === lookback ? cell : null;
  }

  private async train(
    name: string,
    data: BenchmarkData,
    dataset: Dataset,
    fit: FitSettings,
    folder?: string,
  ): Promise<Cell | null> {
    const { device, output, signal } = this;
    const { series, splits } = dataset;
    checkSplits(data.name, splits, fit, series.length);
    const bar = output.progress(name, fit.epochs);
    const place = folder === undefined ? undefined : { files: nodeFiles, folder, resume: true };
    const onEpoch = (epoch: number, { loss }: { loss: number }) => bar.update(epoch, `validation ${loss.toFixed(4)}`);
    const fitted = await fitForecaster({ device, series, splits, fit, place, signal, onEpoch }).finally(() =>
      bar.stop(),
    );
    const { forecaster, validation, status, epochs, bestEpoch, seconds, parameters } = fitted;
    try {
      if (status === 'aborted') return null;
      const score = await scoreWindows(forecaster, series, windowStarts(splits.test, fit), signal);
      if (signal.aborted) return null;
      return {
        data: data.name,
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

  private async rule(
    data: BenchmarkData,
    { series, splits }: Dataset,
    model: ForecastModelName,
    horizon: number,
  ): Promise<Cell> {
    const size = { lookback: this.options.lookback ?? RULE_LOOKBACK, horizon };
    checkSplits(data.name, splits, size, series.length);
    if (isTrained(model)) throw new Error(`${model} is trained`);
    const forecaster = new RuleForecaster(naiveForecast(model, data.season), size);
    const score = await scoreWindows(forecaster, series, windowStarts(splits.test, size), this.signal);
    const nothing = { validation: null, epochs: null, bestEpoch: null, seconds: null, order: null, settings: null };
    return { data: data.name, model, ...size, seed: 0, ...score, parameters: 0, ...nothing };
  }
}

const mean = (values: readonly number[]): number => values.reduce((sum, v) => sum + v, 0) / values.length;

function spread(values: readonly number[]): string {
  const m = mean(values);
  if (values.length < 2) return m.toFixed(4);
  const deviation = Math.sqrt(values.reduce((sum, v) => sum + (v - m) ** 2, 0) / (values.length - 1));
  return `${m.toFixed(4)} ± ${deviation.toFixed(4)}`;
}

/** A line for each horizon, means and deviations over seeds; then the mean over horizons where all four are there. */
function tableText(cells: readonly Cell[]): string {
  const rows: (string | number)[][] = [
    ['data', 'model', 'look-back', 'horizon', 'seeds', 'windows', 'MSE', 'MAE', 'published MSE / MAE'],
  ];
  for (const key of new Set(cells.map(({ data, model }) => `${data} ${model}`))) {
    const own = cells.filter(({ data, model }) => `${data} ${model}` === key);
    const horizons = [...new Set(own.map(({ horizon }) => horizon))];
    for (const horizon of horizons) {
      const some = own.filter((cell) => cell.horizon === horizon);
      rows.push(rowOf(some, horizon));
    }
    if ([96, 192, 336, 720].every((h) => horizons.includes(h)) && horizons.length === 4) rows.push(rowOf(own, 'mean'));
  }
  return table(rows);
}

function rowOf(cells: readonly Cell[], horizon: number | 'mean'): (string | number)[] {
  const [{ data, model, windows }] = cells;
  const seeds = [...new Set(cells.map(({ seed }) => seed))];
  // Of each seed the mean over its horizons first: their spread is that of the table's last line.
  const bySeed = (pick: (cell: Cell) => number) =>
    seeds.map((seed) => mean(cells.filter((c) => c.seed === seed).map(pick)));
  const lookbacks = [...new Set(cells.map(({ lookback }) => lookback))].join('/');
  const published = publishedFigures(model, data, horizon);
  const figures = [spread(bySeed((c) => c.mse)), spread(bySeed((c) => c.mae))];
  const paper = published ? published.map((v) => v.toFixed(3)).join(' / ') : '';
  return [data, model, lookbacks, horizon, seeds.length, horizon === 'mean' ? '' : windows, ...figures, paper];
}

async function run(options: Options, output: Output): Promise<void> {
  const { out, resume = false, force } = options;
  if (out !== undefined) {
    await checkOutputFolder(
      out,
      { force, resume },
      options.data.flatMap((data) => cellsOf(options, data.name).map(({ name }) => name)),
    );
    if (force) await removeCells(out);
  }
  const device = await openDevice(options, output);
  try {
    const ending = out === undefined ? 'stopping' : 'stopping after this step; --resume goes on';
    let isCut = false;
    const cells = await withInterrupt(output, ending, async (signal) => {
      const found = await new Bench(device, options, output, signal).run();
      isCut = signal.aborted;
      return found;
    });
    if (cells.length > 0) output.result({ cells }, () => tableText(cells));
    if (isCut) throw new Interrupted();
  } finally {
    device.close();
  }
}

/** A cell that is asked for, and the name of its folder. */
interface Wanted extends Pick<Cell, 'data' | 'model' | 'horizon' | 'seed'> {
  readonly name: string;
}

const cellsOf = ({ model: models, horizon: horizons, seeds }: Options, data: string): Wanted[] =>
  models.flatMap((model) =>
    horizons.flatMap((horizon) =>
      Array.from({ length: seedsOf(model, seeds) }, (_, seed) => {
        return { data, model, horizon, seed, name: `${data}-${model}-${horizon}-s${seed}` };
      }),
    ),
  );

/** Removes the folders of cells, of whatever else a folder holds nothing. */
async function removeCells(out: string): Promise<void> {
  const either = (names: readonly string[]) => `(?:${names.join('|')})`;
  const cell = new RegExp(`^${either(BENCHMARK_DATA.map(({ name }) => name))}-${either(FORECAST_MODELS)}-\\d+-s\\d+$`);
  if (!(await nodeFiles.status(out))) return;
  for (const name of await nodeFiles.list(out)) if (cell.test(name)) await nodeFiles.remove(join(out, name));
}

export function defineBench(command: Command): void {
  const own = command
    .description("train and test by the papers' protocol, with their figures beside")
    .requiredOption(
      '--data <names>',
      'etth1, etth2, ettm1, ettm2, weather, electricity, traffic',
      list(findBenchmarkData),
    )
    .option('--data-dir <dir>', 'where their CSV files are; KRAIT_SHARED_DATA unless given')
    .option('--horizon <list>', 'steps ahead', list(integer(1)), [96, 192, 336, 720])
    .option('--seeds <n>', 'runs from different seeds', integer(1), 3)
    .option('--model <names>', 'models to train, with commas between', list(modelName), ['mambats'])
    .option('--out <dir>', 'keep checkpoints and results there')
    .option('--resume', 'go on from what --out holds')
    .option('--force', 'remove the results and checkpoints that --out holds first');
  withCommonOptions(withModelFlags(own), { takesDtype: false }).action((options: Options) =>
    run(options, new Output(options.json ?? false)),
  );
}
