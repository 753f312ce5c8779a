/** Standardisation of each variable by its mean and deviation over the training rows alone; missing values do not count. */
import type { Part } from './split.ts';
import type { SeriesTable } from './table.ts';

export interface Scaler {
  readonly mean: readonly number[];
  /** Above 0: 1 for a variable that never changes in the training rows. */
  readonly deviation: readonly number[];
}

/** Biased deviation, as in the published benchmarks. `onNote` hears of variables that never change. */
export function fitScaler(table: SeriesTable, train: Part, onNote?: (line: string) => void): Scaler {
  const mean: number[] = [];
  const deviation: number[] = [];
  table.columns.forEach((column, k) => {
    const mask = table.observed?.[k];
    const used = [...column.subarray(train.start, train.end)].filter((_, i) => !mask || mask[train.start + i] === 1);
    const m = used.reduce((sum, v) => sum + v, 0) / Math.max(1, used.length);
    const d = Math.sqrt(used.reduce((sum, v) => sum + (v - m) ** 2, 0) / Math.max(1, used.length));
    const isConstant = !(d > 1e-12 * Math.max(1, Math.abs(m)));
    if (isConstant) {
      onNote?.(
        `column ${table.names[k]} is constant over the training rows: rule unscaled, it is centred and divided by 1`,
      );
    }
    mean.push(m);
    deviation.push(isConstant ? 1 : d);
  });
  return { mean, deviation };
}

/** Scaled values, [variables][rows] in f32. */
export const scaleTable = ({ columns }: SeriesTable, { mean, deviation }: Scaler): Float32Array[] =>
  columns.map((column, k) => Float32Array.from(column, (v) => (v - mean[k]) / deviation[k]));

/** A scaled value of variable `k` in its own units. */
export const unscale = (value: number, k: number, { mean, deviation }: Scaler): number =>
  value * deviation[k] + mean[k];
