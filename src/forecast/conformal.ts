/**
 * How far to trust a forecast: quantiles from the errors of back-tests (split conformal prediction, Vovk et al. 2005), for
 * each variable and each step ahead on its own, and how often they held where they could not have been known: each origin
 * of the test part is judged by quantiles of the errors that were complete when it was made.
 */
import { UsageError } from '../core/index.ts';
import { windowStarts } from './data/index.ts';
import type { Dataset } from './dataset.ts';
import { type Forecaster, forEachForecast } from './forecaster.ts';

/** Origins of a back-test at most, evenly spaced over validation and test parts; and how many errors a quantile is of. */
const MOST_ORIGINS = 400;
const MEMORY = 200;
/** Errors below which a quantile is not judged. */
const FEWEST = 10;

/** Scaled errors y - forecast of every origin: `errors[o][k horizon + h]`, NaN where the value is missing. */
export interface BackTest {
  /** First row of each origin's window. */
  readonly starts: readonly number[];
  readonly errors: readonly Float32Array[];
  /** First origin in the test part. */
  readonly firstTest: number;
}

/** Forecasts from rolling origins through the validation and test parts. */
export async function backTest(
  forecaster: Forecaster,
  { series, splits }: Dataset,
  signal?: AbortSignal,
): Promise<BackTest> {
  const { size } = forecaster;
  const [validation, test] = [windowStarts(splits.validation, size), windowStarts(splits.test, size)];
  const all = test.end - validation.start;
  const stride = Math.max(1, Math.floor(all / MOST_ORIGINS));
  // From the newest backwards, so that the last origin is always in.
  const starts = Array.from({ length: Math.ceil(all / stride) }, (_, i) => test.end - 1 - i * stride).reverse();
  const errors: Float32Array[] = [];
  const add = ({ starts: some, forecasts, targets, weights }: Parameters<Parameters<typeof forEachForecast>[3]>[0]) => {
    const n = targets.length / some.length;
    const all = targets.map((y, i) => (weights && weights[i] === 0 ? Number.NaN : y - forecasts[i]));
    for (let o = 0; o < some.length; o++) errors.push(all.slice(o * n, (o + 1) * n));
  };
  await forEachForecast(forecaster, series, starts, add, signal);
  return { starts, errors, firstTest: starts.findIndex((start) => start >= test.start) };
}

/**
 * The quantile `level` of a next error from n errors of the same kind: the ceil((n + 1) level)-th smallest, which covers at
 * least `level` where they are exchangeable, and for levels below 0.5 the mirror image of that.
 */
export function conformalQuantile(sorted: ArrayLike<number>, level: number): number {
  const n = sorted.length;
  if (n === 0) return Number.NaN;
  const upper = (share: number) => Math.min(n, Math.ceil((n + 1) * share - 1e-9));
  if (level === 0.5) return n % 2 ? sorted[(n - 1) / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
  return level > 0.5 ? sorted[upper(level) - 1] : sorted[n - upper(1 - level)];
}

/**
 * Offsets for a set of errors: `offsets[level][k horizon + h]` is added to a scaled forecast; NaN where no error is known.
 * `still` is 1 where all errors are the same.
 */
function offsetsOf(errors: readonly Float32Array[], levels: readonly number[]) {
  const places = errors[0]?.length ?? 0;
  const offsets = levels.map(() => new Float32Array(places));
  const still = new Uint8Array(places);
  const column = new Float64Array(errors.length);
  for (let place = 0; place < places; place++) {
    let n = 0;
    for (const origin of errors) if (!Number.isNaN(origin[place])) column[n++] = origin[place];
    const sorted = column.subarray(0, n).slice().sort();
    still[place] = Number(sorted[0] === sorted[n - 1]);
    levels.forEach((level, i) => {
      offsets[i][place] = conformalQuantile(sorted, level);
    });
  }
  return { offsets, still };
}

export interface Coverage {
  readonly level: number;
  /** Share of values at or below the quantile. */
  readonly share: number;
}

export interface Quantiles {
  readonly levels: readonly number[];
  /** From the newest errors, for forecasts to come. */
  readonly offsets: readonly Float32Array[];
  /**
   * Measured over the test part, without values that were always missed by the same (of a series that never moves, every
   * value is at every quantile); empty where there is nothing to measure, or were too few errors before any of its origins.
   */
  readonly coverage: readonly Coverage[];
  /** Origins that were judged. */
  readonly judged: number;
}

/** @throws UsageError for levels outside of (0, 1) or given twice */
export function checkLevels(levels: readonly number[]): void {
  const wrong = levels.find((level) => !(level > 0 && level < 1));
  if (wrong !== undefined) throw new UsageError(`--quantiles: expected numbers between 0 and 1, got ${wrong}`);
  if (new Set(levels).size < levels.length) throw new UsageError('--quantiles: one is given twice');
}

/** Quantiles of a back-test, and how often they held. */
export function quantilesOf(
  { starts, errors, firstTest }: BackTest,
  levels: readonly number[],
  horizon: number,
): Quantiles {
  const below = levels.map(() => 0);
  let [count, judged] = [0, 0];
  for (let o = firstTest; o >= 0 && o < errors.length; o++) {
    // An error is complete once its last value is there: before the first value of the window that is judged.
    const known = errors.filter((_, j) => starts[j] + horizon <= starts[o]).slice(-MEMORY);
    if (known.length < FEWEST) continue;
    const { offsets, still } = offsetsOf(known, levels);
    judged++;
    for (let place = 0; place < errors[o].length; place++) {
      const error = errors[o][place];
      const offset = offsets[0][place];
      if (Number.isNaN(error) || Number.isNaN(offset) || (still[place] && error === offset)) continue;
      count++;
      for (let i = 0; i < levels.length; i++) below[i] += Number(error <= offsets[i][place]);
    }
  }
  const coverage = count > 0 ? levels.map((level, i) => ({ level, share: below[i] / count })) : [];
  return { levels, offsets: offsetsOf(errors.slice(-MEMORY), levels).offsets, coverage, judged };
}
