/** From a series to a forecast that can be trusted: a model is trained, back-tested, and compared with simple ones. */
import type { Device } from '../tensor/index.ts';

import { backTest, checkLevels, type Quantiles, quantilesOf } from './conformal.ts';
import { checkSplits, type Frequency, type RegularSeries, shareSplits, windowStarts } from './data/index.ts';
import { createDataset, type Dataset } from './dataset.ts';
import { type FitSettings, type Fitted, fitForecaster } from './fit.ts';
import { RuleForecaster, type Score, scoreWindows } from './forecaster.ts';
import { MOST_RIDGE_STEPS, naiveForecast } from './models/index.ts';
import { type ForecastModelName, NAIVE_MODELS, type TrainedModelName } from './names.ts';
import { fitSettings, isPublished, type RecipeChanges } from './recipes.ts';

export interface AnalysisInput {
  readonly device: Device;
  readonly series: RegularSeries;
  readonly model: TrainedModelName;
  readonly horizon: number;
  readonly levels: readonly number[];
  /** Changes to the recipe of a series that no paper knows; the look-back is chosen by length unless given. */
  readonly changes: RecipeChanges;
  readonly seed: number;
  readonly signal?: AbortSignal;
  onStage?(line: string): void;
  /** Epoch 0 is a linear forecast that was solved beforehand. */
  onEpoch?(epoch: number, loss: number): void;
}

/** Models that every other has to beat; ridge regression where the look-back is not too long for it. */
const linearModels = ({ model, lookback, horizon }: FitSettings) =>
  (['ridge', 'dlinear'] as const).filter(
    (name) => name !== model && (name !== 'ridge' || lookback + horizon <= MOST_RIDGE_STEPS),
  );

export interface Comparison extends Score {
  readonly model: ForecastModelName;
}

export interface Analysis {
  readonly dataset: Dataset;
  readonly fit: FitSettings;
  readonly fitted: Fitted;
  /** The model first, then linear and naive ones, on the same windows of the test part. */
  readonly comparison: readonly Comparison[];
  readonly quantiles: Quantiles;
}

const HOUR = 3_600_000;

/** Steps of the season that a step suggests: a day of hours or minutes, a week of days, a year of months; 1 where none. */
export function seasonOf(frequency: Frequency): number {
  if ('months' in frequency) return 12 % frequency.months === 0 ? 12 / frequency.months : 1;
  const { ms } = frequency;
  if (ms === 7 * 24 * HOUR) return 52;
  if (ms === 24 * HOUR) return 7;
  return ms < 24 * HOUR && (24 * HOUR) % ms === 0 ? (24 * HOUR) / ms : 1;
}

const LOOKBACKS = [720, 512, 336, 192, 96, 48, 24, 12, 6];

/** The longest usual look-back that leaves as many training windows as it has steps. */
export function defaultLookback(rows: number, horizon: number): number {
  const { train } = shareSplits(rows);
  const fits = (lookback: number) => train.end - lookback - horizon >= lookback;
  return LOOKBACKS.find(fits) ?? LOOKBACKS[LOOKBACKS.length - 1];
}

/**
 * Steps of an epoch that our rates were found with (ETTh2, horizon 96); a shorter series takes larger ones, so that an epoch
 * gets as far.
 */
const USUAL_STEPS = 244;
const MOST_FASTER = 30;

/** Eight patches or more. */
const defaultPatch = (lookback: number): number => Math.max(1, Math.min(48, Math.floor(lookback / 8)));

function settingsFor({ series, model, horizon, changes, seed }: AnalysisInput): FitSettings {
  const lookback = changes.lookback ?? defaultLookback(series.length, horizon);
  const settings = { ...changes.settings, patch: changes.settings?.patch ?? defaultPatch(lookback) };
  const stride = Math.max(1, Math.floor(settings.patch / 2));
  const recipe = changes.recipe ?? 'tuned';
  const given = { ...changes, recipe, lookback, settings: { ...settings, stride } };
  const fit = fitSettings(model, '', horizon, seed, given);
  if (changes.learningRate !== undefined || isPublished(recipe, model)) return fit;
  const { train } = shareSplits(series.length);
  const steps = Math.max(1, Math.floor((train.end - lookback - horizon + 1) / fit.batchSize));
  return { ...fit, learningRate: fit.learningRate * Math.min(MOST_FASTER, Math.max(1, USUAL_STEPS / steps)) };
}

/**
 * Trains, back-tests and compares. The model's tensors are the caller's to dispose of.
 * @throws FileFormatError for a series that is too short; UsageError for settings that cannot be
 */
export async function analyse(input: AnalysisInput): Promise<Analysis> {
  const { device, series: raw, signal, levels } = input;
  checkLevels(levels);
  const fit = settingsFor(input);
  const splits = shareSplits(raw.length);
  checkSplits(raw.file, splits, fit, raw.length);
  const dataset = createDataset(raw, splits);
  const { series } = dataset;
  const onEpoch = (epoch: number, { loss }: { loss: number }) => input.onEpoch?.(epoch, loss);
  const onOpen = () => input.onStage?.(`training ${fit.model}: look-back ${fit.lookback}, horizon ${fit.horizon}`);
  const fitted = await fitForecaster({ device, series, splits, fit, signal, onOpen, onEpoch });
  try {
    signal?.throwIfAborted();
    input.onStage?.('back-test and comparison');
    const comparison = await compare(input, dataset, fit, fitted);
    const test = await backTest(fitted.forecaster, dataset, signal);
    signal?.throwIfAborted();
    return { dataset, fit, fitted, comparison, quantiles: quantilesOf(test, levels, fit.horizon) };
  } catch (error) {
    fitted.forecaster.model.dispose();
    throw error;
  }
}

async function compare(
  input: AnalysisInput,
  dataset: Dataset,
  fit: FitSettings,
  fitted: Fitted,
): Promise<Comparison[]> {
  const { device, signal } = input;
  const { series, splits, raw } = dataset;
  signal?.throwIfAborted();
  const test = windowStarts(splits.test, fit);
  const rows: Comparison[] = [{ model: fit.model, ...(await scoreWindows(fitted.forecaster, series, test, signal)) }];
  for (const model of linearModels(fit)) {
    const changes = { lookback: fit.lookback };
    const linear = await fitForecaster({
      device,
      series,
      splits,
      fit: fitSettings(model, '', fit.horizon, input.seed, changes),
      signal,
    });
    rows.push({ model, ...(await scoreWindows(linear.forecaster, series, test, signal)) });
    linear.forecaster.model.dispose();
  }
  for (const model of NAIVE_MODELS) {
    const rule = new RuleForecaster(naiveForecast(model, seasonOf(raw.frequency)), fit);
    rows.push({ model, ...(await scoreWindows(rule, series, test, signal)) });
  }
  signal?.throwIfAborted();
  return rows;
}
