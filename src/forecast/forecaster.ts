/** Forecasts of windows by any model, trained or not, and their scores over every window of a part. */
import type { Device } from '../tensor/index.ts';
import { cutWindows, type RowRange, type ScaledSeries, type WindowBatch, type WindowSize } from './data/index.ts';
import type { ForecastModel, RowForecast } from './models/index.ts';

/** Windows that are forecast at once. */
const BATCH = 64;

/** Windows that are to be forecast. */
export type Windows = Pick<WindowBatch, 'b' | 'inputs' | 'ahead'>;

export interface Forecaster {
  readonly size: WindowSize;
  /** Inputs [b, k, lookback], scaled as the series that it learned from -> forecasts [b, k, horizon]. */
  forecast(windows: Windows): Promise<Float32Array>;
}

/** Mean and root of the biased variance + 1e-5 of each row of inputs, whose rows become (x - mean) / root in a copy. */
export function normaliseRows(inputs: Float32Array, lookback: number) {
  const rows = inputs.length / lookback;
  const [mean, root] = [new Float32Array(rows), new Float32Array(rows)];
  const normalised = new Float32Array(inputs.length);
  for (let r = 0; r < rows; r++) {
    const row = inputs.subarray(r * lookback, (r + 1) * lookback);
    let [sum, squares] = [0, 0];
    for (const value of row) sum += value;
    const m = sum / lookback;
    for (const value of row) squares += (value - m) ** 2;
    const s = Math.sqrt(squares / lookback + 1e-5);
    [mean[r], root[r]] = [m, s];
    for (let i = 0; i < lookback; i++) normalised[r * lookback + i] = (row[i] - m) / s;
  }
  return { mean, root, normalised };
}

/** Rows of `size` values of each of b samples, in another order: place p of the result holds row `order[p]`. */
function reorder(values: Float32Array, b: number, order: readonly number[], size: number): Float32Array {
  const out = new Float32Array(values.length);
  const k = order.length;
  for (let i = 0; i < b; i++) {
    order.forEach((from, place) => {
      out.set(values.subarray((i * k + from) * size, (i * k + from + 1) * size), (i * k + place) * size);
    });
  }
  return out;
}

/** A trained model, its variables in an order, or as they come. */
export class ModelForecaster implements Forecaster {
  constructor(
    readonly model: ForecastModel,
    readonly size: WindowSize,
    readonly order: readonly number[] | null = null,
  ) {}

  private get device(): Device {
    return this.model.device;
  }

  async forecast({ inputs, b, ahead }: Windows): Promise<Float32Array> {
    const { model, size, order, device } = this;
    const { lookback, horizon } = size;
    const k = inputs.length / (b * lookback);
    const ordered = order ? reorder(inputs, b, order, lookback) : inputs;
    const norm = model.isNormalised ? normaliseRows(ordered, lookback) : null;
    const orders = order && new Array<readonly number[]>(b).fill(order);
    const y = device.noGrad(() =>
      device.scope(() => model.forward(device.from(norm?.normalised ?? ordered, [b, k, lookback]), { ahead, orders })),
    );
    const values = Float32Array.from(await y.read());
    y.dispose();
    if (norm) {
      for (let r = 0, at = 0; r < b * k; r++) {
        for (let h = 0; h < horizon; h++, at++) values[at] = values[at] * norm.root[r] + norm.mean[r];
      }
    }
    if (!order) return values;
    const back = order.map((_, variable) => order.indexOf(variable));
    return reorder(values, b, back, horizon);
  }
}

/** A rule that looks at one row at a time. */
export class RuleForecaster implements Forecaster {
  constructor(
    private readonly rule: RowForecast,
    readonly size: WindowSize,
  ) {}

  async forecast({ inputs }: Windows): Promise<Float32Array> {
    return this.rule(inputs, this.size);
  }
}

export interface Score {
  /** Means over windows, variables and steps that count, of scaled values. */
  readonly mse: number;
  readonly mae: number;
  readonly windows: number;
}

/** A batch of windows with their forecasts, as `forEachForecast` hands it out. */
export interface ForecastBatch {
  /** First row of each window. */
  readonly starts: readonly number[];
  /** [b, k, horizon] */
  readonly forecasts: Float32Array;
  readonly targets: Float32Array;
  readonly weights: Float32Array | null;
}

/** Forecasts the windows at given first rows, some at a time, in order. */
export async function forEachForecast(
  forecaster: Forecaster,
  series: ScaledSeries,
  starts: readonly number[],
  take: (batch: ForecastBatch) => void,
  signal?: AbortSignal,
): Promise<void> {
  for (let at = 0; at < starts.length && !signal?.aborted; at += BATCH) {
    const some = starts.slice(at, at + BATCH);
    const windows = cutWindows(series, some, forecaster.size);
    const { targets, weights } = windows;
    take({ starts: some, targets, weights, forecasts: await forecaster.forecast(windows) });
  }
}

/** Every row of a range, as first rows of windows. */
export const everyStart = ({ start, end }: RowRange): number[] =>
  Array.from({ length: end - start }, (_, i) => start + i);

/** Scores over every window that starts in a range: nothing is dropped. NaN where nothing counts. */
export async function scoreWindows(
  forecaster: Forecaster,
  series: ScaledSeries,
  range: RowRange,
  signal?: AbortSignal,
): Promise<Score> {
  let [squares, absolutes, count] = [0, 0, 0];
  const add = ({ forecasts, targets, weights }: ForecastBatch) => {
    for (let i = 0; i < targets.length; i++) {
      if (weights && weights[i] === 0) continue;
      const error = forecasts[i] - targets[i];
      squares += error * error;
      absolutes += Math.abs(error);
      count++;
    }
  };
  await forEachForecast(forecaster, series, everyStart(range), add, signal);
  return { mse: squares / count, mae: absolutes / count, windows: range.end - range.start };
}
