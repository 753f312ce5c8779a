/** Means of the benchmark's cells over seeds and horizons, beside the figures that models were published with. */
import { meanOf } from '../core/statistics.ts';
import type { BenchCell } from './bench.ts';
import { publishedFigures } from './benchmark.ts';
import type { ForecastModelName } from './names.ts';

/** A mean over seeds, and its sample standard deviation; null from a single seed. */
export interface SeedMean {
  readonly mean: number;
  readonly deviation: number | null;
}

/** Cells of a model on a data set at a horizon, or over all four of the papers. */
export interface BenchSummary {
  readonly data: string;
  readonly model: ForecastModelName;
  readonly horizon: number | 'mean';
  readonly lookbacks: readonly number[];
  readonly seeds: number;
  /** Test windows; null for a mean over horizons. */
  readonly windows: number | null;
  readonly mse: SeedMean;
  readonly mae: SeedMean;
  readonly published?: readonly [mse: number, mae: number];
}

/** Horizons that the papers report the mean over. */
const PAPER_HORIZONS = [96, 192, 336, 720];

/** A row for each horizon, means and deviations over seeds; then the mean over horizons where the papers' four are there. */
export function summariseCells(cells: readonly BenchCell[]): BenchSummary[] {
  const rows: BenchSummary[] = [];
  for (const key of new Set(cells.map(({ data, model }) => `${data} ${model}`))) {
    const own = cells.filter(({ data, model }) => `${data} ${model}` === key);
    const horizons = [...new Set(own.map(({ horizon }) => horizon))];
    for (const horizon of horizons) {
      rows.push(
        summarise(
          own.filter((cell) => cell.horizon === horizon),
          horizon,
        ),
      );
    }
    const isWhole = horizons.length === PAPER_HORIZONS.length && PAPER_HORIZONS.every((h) => horizons.includes(h));
    if (isWhole) rows.push(summarise(own, 'mean'));
  }
  return rows;
}

function seedMean(values: readonly number[]): SeedMean {
  const mean = meanOf(values);
  if (values.length < 2) return { mean, deviation: null };
  return { mean, deviation: Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (values.length - 1)) };
}

function summarise(cells: readonly BenchCell[], horizon: number | 'mean'): BenchSummary {
  const [{ data, model, windows }] = cells;
  const seeds = [...new Set(cells.map(({ seed }) => seed))];
  // The mean of each seed over its horizons comes first: the spread of these is that of the table's last line.
  const bySeed = (pick: (cell: BenchCell) => number) =>
    seedMean(seeds.map((seed) => meanOf(cells.filter((c) => c.seed === seed).map(pick))));
  return {
    data,
    model,
    horizon,
    lookbacks: [...new Set(cells.map(({ lookback }) => lookback))],
    seeds: seeds.length,
    windows: horizon === 'mean' ? null : windows,
    mse: bySeed((c) => c.mse),
    mae: bySeed((c) => c.mae),
    published: publishedFigures(model, data, horizon),
  };
}
