/** Scaled series and the windows that are cut from them. */
import { FileFormatError } from '../../core/index.ts';
import type { StepDates } from './calendar.ts';
import { dateAt, type Frequency, formatDate } from './dates.ts';
import type { RegularSeries } from './regular.ts';
import type { RowRange } from './splits.ts';

/** Mean and standard deviation (biased) of each variable; those of a constant are its value and 1. */
export interface Scaling {
  readonly mean: readonly number[];
  readonly std: readonly number[];
  /** Variables that do not change in the rows that the scaling was fitted on. */
  readonly constant: readonly string[];
}

/**
 * Fitted on the given rows alone: those of the training part. Filled values do not count.
 * @throws FileFormatError for a variable without a value there, or with values whose squares are not finite
 */
export function fitScaling({ file, names, values, masks }: RegularSeries, { start, end }: RowRange): Scaling {
  const [mean, std]: number[][] = [[], []];
  const constant: string[] = [];
  values.forEach((column, k) => {
    let [count, sum] = [0, 0];
    for (let r = start; r < end; r++) if (masks[k]?.[r] !== 0) [count, sum] = [count + 1, sum + column[r]];
    if (count === 0) {
      const problem = `column ${names[k]} has no values in the training part, the first ${end} rows`;
      throw new FileFormatError(file, problem, 'leave it out with --columns');
    }
    const m = sum / count;
    let squares = 0;
    for (let r = start; r < end; r++) if (masks[k]?.[r] !== 0) squares += (column[r] - m) ** 2;
    const s = Math.sqrt(squares / count);
    if (!Number.isFinite(s))
      throw new FileFormatError(file, `column ${names[k]}: values are too large`, 'give them in a larger unit');
    const isConstant = !(s > 1e-12 * Math.max(1, Math.abs(m)));
    if (isConstant) constant.push(names[k]);
    mean.push(m);
    std.push(isConstant ? 1 : s);
  });
  return { mean, std, constant };
}

/** A series as models see it: f32, scaled, with its mask. */
export interface ScaledSeries {
  readonly names: readonly string[];
  /** Date of the first row. */
  readonly start: number;
  readonly frequency: Frequency;
  readonly length: number;
  readonly values: readonly Float32Array[];
  readonly masks: readonly (Uint8Array | null)[];
}

/** Scaled values beyond this cannot be squared in f32. */
const MOST_SCALED = 1e15;

/** A variable from row `from` on, scaled. @throws FileFormatError naming the date of a value that is too far off */
export function scaleColumn(
  { file, names, values, start, frequency }: RegularSeries,
  k: number,
  { mean, std }: { mean: number; std: number },
  from = 0,
): Float32Array {
  return Float32Array.from(values[k].subarray(from), (value, i) => {
    const scaled = (value - mean) / std;
    if (Math.abs(scaled) <= MOST_SCALED) return scaled;
    const problem = `column ${names[k]}: ${value} at ${formatDate(dateAt(start, frequency, from + i))} is too far from the ${mean.toPrecision(3)} of the training part`;
    throw new FileFormatError(file, problem, 'correct it, or empty the field');
  });
}

/** @throws as `scaleColumn` */
export function scaleSeries(raw: RegularSeries, { mean, std }: Scaling): ScaledSeries {
  const { names, start, frequency, length, values, masks } = raw;
  const scaled = values.map((_, k) => scaleColumn(raw, k, { mean: mean[k], std: std[k] }));
  return { names, start, frequency, length, values: scaled, masks };
}

/** Windows side by side: inputs [b, k, lookback], targets and weights [b, k, horizon]. */
export interface WindowBatch {
  readonly b: number;
  readonly inputs: Float32Array;
  /** Dates of the targets. */
  readonly ahead: StepDates;
  readonly targets: Float32Array;
  /** 1 where a target counts, 0 where it was filled; null where all count. */
  readonly weights: Float32Array | null;
  /** Targets that count. */
  readonly counted: number;
}

export interface WindowSize {
  readonly lookback: number;
  readonly horizon: number;
}

/**
 * Cuts windows at the given first rows. `orders[i]`, where given, says which variable stands at each place of window i.
 */
export function cutWindows(
  series: ScaledSeries,
  starts: readonly number[],
  { lookback, horizon }: WindowSize,
  orders?: readonly ArrayLike<number>[],
): WindowBatch {
  const { values, masks, frequency } = series;
  const [b, k] = [starts.length, values.length];
  const inputs = new Float32Array(b * k * lookback);
  const targets = new Float32Array(b * k * horizon);
  const weights = masks.some((mask) => mask) ? new Float32Array(targets.length).fill(1) : null;
  starts.forEach((start, i) => {
    for (let place = 0; place < k; place++) {
      const variable = orders ? orders[i][place] : place;
      const [row, middle] = [i * k + place, start + lookback];
      inputs.set(values[variable].subarray(start, middle), row * lookback);
      targets.set(values[variable].subarray(middle, middle + horizon), row * horizon);
      const mask = masks[variable]?.subarray(middle, middle + horizon);
      if (mask) weights!.set(mask, row * horizon);
    }
  });
  const counted = weights ? weights.reduce((sum, w) => sum + w, 0) : targets.length;
  const first = starts.map((start) => dateAt(series.start, frequency, start + lookback));
  return { b, inputs, ahead: { first, frequency }, targets, weights, counted };
}
