/** Forecasts without training, which every model has to beat: the season before, and the line through the window's ends. */
import type { WindowSize } from '../data/index.ts';

/** Inputs [rows, lookback] -> forecasts [rows, horizon]. */
export type RowForecast = (inputs: Float32Array, size: WindowSize) => Float32Array;

function forEachRow(
  { lookback, horizon }: WindowSize,
  inputs: Float32Array,
  at: (row: Float32Array, step: number) => number,
) {
  const rows = inputs.length / lookback;
  const out = new Float32Array(rows * horizon);
  for (let r = 0; r < rows; r++) {
    const row = inputs.subarray(r * lookback, (r + 1) * lookback);
    for (let h = 0; h < horizon; h++) out[r * horizon + h] = at(row, h);
  }
  return out;
}

/** The value one season before (season 1: the last value); of a longer season than the look-back, the last value. */
export const seasonalNaive =
  (season: number): RowForecast =>
  (inputs, size) => {
    const period = season <= size.lookback ? season : 1;
    return forEachRow(size, inputs, (row, h) => row[row.length - period + (h % period)]);
  };

/** The last value, and on by the mean change of the look-back (Hyndman and Athanasopoulos, section 5.2). */
export const drift: RowForecast = (inputs, size) =>
  forEachRow(size, inputs, (row, h) => {
    const last = row[row.length - 1];
    return last + ((h + 1) * (last - row[0])) / Math.max(1, row.length - 1);
  });
