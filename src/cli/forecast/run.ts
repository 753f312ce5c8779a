/** Work of `krait forecast data.csv`, `krait forecast fit` and `krait forecast predict`. */
import { dirname, resolve } from 'node:path';
import { UsageError } from '../../core/index.ts';
import {
  type Analysis,
  analyse,
  dateAt,
  describeFrequency,
  forecastAfter,
  formatDate,
  isDaily,
  isTrained,
  loadForecaster,
  type RegularSeries,
  readTable,
  regularise,
  type SavedForecaster,
  saveForecaster,
  selectVariables,
} from '../../forecast/index.ts';
import { table } from '../../report/terminal.ts';
import { nodeFiles } from '../files.ts';
import { withInterrupt } from '../interrupt.ts';
import type { Output, Progress } from '../output.ts';
import { checkOutputFolder } from '../output-folder.ts';
import { loadWith, PLOT_PACKAGES } from '../packages.ts';
import { openDevice } from '../session.ts';
import { recipeChanges } from './changes.ts';
import type { FitFlags, PredictFlags, ReadFlags, TrainFlags, WriteFlags } from './options.ts';
import {
  comparisonRows,
  complaint,
  coverageRows,
  forecastCsv,
  linearAlone,
  type Outlook,
  UNMEASURED,
} from './report.ts';

/** Reads a file and says what was done to its rows; `known`, where given, are the variables that a kept model reads. */
async function readSeries(
  path: string,
  { dateColumn, columns, fill, maxRows }: ReadFlags,
  output: Output,
  known?: readonly string[],
): Promise<RegularSeries> {
  const table = await readTable(nodeFiles, path, { dateColumn, columns: columns ?? known, maxRows });
  const series = selectVariables(regularise(table, { fill }), columns);
  const variables = `${series.names.length} variable${series.names.length === 1 ? '' : 's'}`;
  output.defer(
    `${path}: ${series.length.toLocaleString('en')} rows, ${describeFrequency(series.frequency)} apart, ${variables}`,
  );
  for (const line of series.notes) output.warn(`${path}: ${line}`);
  return series;
}

/** Reported variables; all unless some are requested. */
function targetsOf(names: readonly string[], wanted: readonly string[] | undefined): readonly string[] {
  const missing = wanted?.find((name) => !names.includes(name));
  if (missing !== undefined)
    throw new UsageError(`--target: no column ${JSON.stringify(missing)}; there are ${names.join(', ')}`);
  return wanted ?? names;
}

/**
 * Checks, before anything is trained, that files can be written where they are to be.
 * @throws UsageError for a folder, a path below a file, and two that are the same, the data's among them
 */
async function checkFiles(data: string, { out, plot, report }: WriteFlags): Promise<void> {
  const named = Object.entries({ '--out': out, '--plot': plot, '--report': report });
  const paths = new Map([[resolve(data), 'the data']]);
  for (const [flag, path] of named) {
    if (path === undefined) continue;
    if (path.trim() === '') throw new UsageError(`${flag}: the path is empty; give a file`);
    if ((await nodeFiles.status(path))?.isFolder) throw new UsageError(`${flag}: ${path} is a folder; give a file`);
    for (let above = dirname(resolve(path)); above !== dirname(above); above = dirname(above)) {
      const status = await nodeFiles.status(above);
      if (status && !status.isFolder)
        throw new UsageError(`${flag}: ${above} is a file, not a folder; give another path`);
    }
    const other = paths.get(resolve(path));
    if (other !== undefined) throw new UsageError(`${other} and ${flag} are both ${path}; give each a file of its own`);
    paths.set(resolve(path), flag);
  }
}

async function train(
  path: string,
  options: TrainFlags,
  output: Output,
): Promise<{ analysis: Analysis; series: RegularSeries; close(): void }> {
  const { model, horizon } = options;
  if (horizon === undefined)
    throw new UsageError('--horizon: how many steps ahead? Give a number, such as --horizon 96');
  if (!isTrained(model)) throw new UsageError(`--model: ${model} is not trained; it is what models are compared with`);
  const series = await readSeries(path, options, output);
  targetsOf(series.names, options.target);
  const device = await openDevice(options, output);
  let bar: Progress | null = null;
  const changes = { epochs: 10, ...recipeChanges(options, series.frequency) };
  try {
    const analysis = await withInterrupt(output, 'stopping after this step', (signal) =>
      analyse({
        device,
        series,
        model,
        horizon,
        levels: options.quantiles,
        changes,
        seed: options.seed,
        signal,
        onStage: (line) => {
          bar?.stop();
          bar = null;
          output.say(line);
        },
        onEpoch: (epoch, loss) => {
          bar ??= output.progress('training', changes.epochs ?? 10);
          bar.update(epoch, `validation ${loss.toFixed(4)}`);
        },
      }),
    ).finally(() => bar?.stop());
    for (const name of analysis.dataset.scaling.constant) {
      output.warn(`${path}: ${name} does not change in the training part; it is kept, and scaled by 1`);
    }
    for (const name of withoutQuantiles(analysis)) {
      output.warn(`${path}: ${name} has no values in the last 30 % of rows; its quantiles are not known`);
    }
    return { analysis, series, close: () => device.close() };
  } catch (error) {
    device.close();
    throw error;
  }
}

/** Variables of which a quantile is not known: the back-test had no value to compare with. */
const withoutQuantiles = ({ dataset, quantiles, fit }: Analysis): string[] =>
  dataset.series.names.filter((_, k) =>
    quantiles.offsets[0].subarray(k * fit.horizon, (k + 1) * fit.horizon).some(Number.isNaN),
  );

const savedOf = ({ fitted, fit, dataset, quantiles }: Analysis): SavedForecaster => ({
  forecaster: fitted.forecaster,
  fit,
  names: dataset.series.names,
  frequency: dataset.raw.frequency,
  scaling: dataset.scaling,
  quantiles,
});

type Pages = typeof import('./page.ts');

/**
 * What draws; null where no picture is asked for.
 * @throws KraitError that says what to install, before anything is trained
 */
async function loadPages({ plot, report }: WriteFlags): Promise<Pages | null> {
  if (plot === undefined && report === undefined) return null;
  const flag = plot === undefined ? '--report' : '--plot';
  return loadWith(`krait forecast ${flag}`, PLOT_PACKAGES, () => import('./page.ts'));
}

async function writeAll(
  outlook: Outlook,
  targets: readonly string[],
  { out, plot, report }: WriteFlags,
  pages: Pages | null,
  analysis?: Analysis,
) {
  const written: Record<string, string> = {};
  const write = async (name: string, path: string, text: string) => {
    await nodeFiles.writeAtomic(path, text);
    written[name] = path;
  };
  if (out !== undefined) await write('forecast', out, forecastCsv(outlook, targets));
  if (pages && plot !== undefined) await write('plot', plot, pages.forecastSvg(outlook, targets[0]));
  if (pages && report !== undefined && analysis) {
    await write('report', report, pages.forecastPage(analysis, outlook, targets));
  }
  return written;
}

function analysisText(analysis: Analysis): string {
  const { quantiles } = analysis;
  const covered =
    quantiles.coverage.length > 0
      ? `${table(coverageRows(analysis))}\nover ${quantiles.judged} origins of the test part`
      : UNMEASURED;
  const compared = `${table(comparisonRows(analysis))}\nof scaled values, over every window of the test part`;
  return [compared, linearAlone(analysis), complaint(analysis), covered].filter(Boolean).join('\n\n');
}

const summaryOf = ({ fit, fitted, comparison, quantiles }: Analysis) => ({
  fit,
  validation: fitted.validation,
  bestEpoch: fitted.bestEpoch,
  parameters: fitted.parameters,
  seconds: fitted.seconds,
  comparison,
  coverage: quantiles.coverage,
  judgedOrigins: quantiles.judged,
});

/** The forecast of each target, as it goes into JSON: values and quantiles by variable, over the same dates. */
function forecastJson({ series, names, levels, future }: Outlook, targets: readonly string[]) {
  const places = targets.map((name) => names.indexOf(name));
  const byName = (values: readonly Float64Array[]) => Object.fromEntries(places.map((k) => [names[k], [...values[k]]]));
  const { start, frequency, length } = series;
  return {
    dates: Array.from(future.values[0], (_, h) => formatDate(dateAt(start, frequency, length + h), isDaily(frequency))),
    forecast: byName(future.values),
    quantiles: Object.fromEntries(levels.map((level, i) => [level, byName(future.quantiles[i])])),
  };
}

export async function run(path: string, options: TrainFlags, output: Output): Promise<void> {
  await checkFiles(path, options);
  const pages = await loadPages(options);
  const { analysis, series, close } = await train(path, options, output);
  try {
    const saved = savedOf(analysis);
    const future = await forecastAfter(saved, series);
    const targets = targetsOf(saved.names, options.target);
    const outlook = { series, names: saved.names, levels: options.quantiles, future };
    const written = await writeAll(outlook, targets, options, pages, analysis);
    output.result({ ...summaryOf(analysis), ...forecastJson(outlook, targets), written }, () => {
      const csv = options.out === undefined ? [forecastCsv(outlook, targets).trimEnd()] : [];
      return [analysisText(analysis), ...csv, ...Object.values(written)].join('\n\n');
    });
  } finally {
    close();
  }
}

export async function fitAndKeep(path: string, options: FitFlags, output: Output): Promise<void> {
  await checkOutputFolder(options.out, { force: options.force });
  const { analysis, close } = await train(path, options, output);
  try {
    await saveForecaster(nodeFiles, options.out, savedOf(analysis));
    output.result({ ...summaryOf(analysis), out: options.out }, () => `${analysisText(analysis)}\n\n${options.out}`);
  } finally {
    close();
  }
}

export async function predict(path: string, options: PredictFlags, output: Output): Promise<void> {
  await checkFiles(path, options);
  const pages = await loadPages(options);
  const device = await openDevice(options, output);
  try {
    const saved = await loadForecaster(device, nodeFiles, options.model);
    const series = await readSeries(path, options, output, saved.names);
    const targets = targetsOf(saved.names, options.target);
    const startedMs = performance.now();
    const future = await forecastAfter(saved, series);
    const ms = performance.now() - startedMs;
    const outlook = { series, names: saved.names, levels: saved.quantiles.levels, future };
    const written = await writeAll(outlook, targets, options, pages);
    output.say(`forecast in ${ms.toFixed(1)} ms`);
    output.result({ horizon: saved.fit.horizon, ms, ...forecastJson(outlook, targets), written }, () =>
      options.out === undefined ? forecastCsv(outlook, targets).trimEnd() : Object.values(written).join('\n'),
    );
  } finally {
    device.close();
  }
}
