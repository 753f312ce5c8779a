/** Means over seeds and horizons, beside what the authors report. */
import type { BenchResult } from './bench.ts';
import { published } from './protocol.ts';

export interface BenchRow {
  readonly data: string;
  readonly model: string;
  readonly lookback: number;
  readonly horizon: number | 'mean';
  readonly seeds: number;
  readonly mse: number;
  readonly mae: number;
  /** Deviation over the seeds, unbiased; null for one seed. */
  readonly mseDeviation: number | null;
  readonly maeDeviation: number | null;
  readonly publishedMse: number | null;
  readonly publishedMae: number | null;
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

function deviation(values: readonly number[]): number | null {
  if (values.length < 2) return null;
  const m = mean(values);
  return Math.sqrt(values.reduce((s, v) => s + (v - m) ** 2, 0) / (values.length - 1));
}

function rowOf(results: readonly BenchResult[], horizon: number | 'mean', seeds: number): BenchRow {
  const [{ data, model, variant, lookback }] = results;
  const mse = results.map(({ test }) => test.mse);
  const mae = results.map(({ test }) => test.mae);
  const reported = variant ? null : published(model, data, horizon);
  const isOne = horizon !== 'mean';
  const isComparable = reported?.lookback === lookback;
  return {
    ...{ data, model: variant ? `${model}, ${variant}` : model, lookback, horizon, seeds },
    ...{ mse: mean(mse), mae: mean(mae) },
    mseDeviation: isOne ? deviation(mse) : null,
    maeDeviation: isOne ? deviation(mae) : null,
    publishedMse: isComparable ? reported.mse : null,
    publishedMae: isComparable ? reported.mae : null,
  };
}

/** A row for each model and horizon, and one for the mean over horizons where there are several. */
export function summarise(results: readonly BenchResult[]): BenchRow[] {
  const rows: BenchRow[] = [];
  const groups = new Map<string, BenchResult[]>();
  for (const result of results) groups.set(keyOf(result), [...(groups.get(keyOf(result)) ?? []), result]);
  for (const group of groups.values()) {
    const horizons = [...new Set(group.map(({ horizon }) => horizon))];
    const own = horizons.map((h) => {
      const runs = group.filter(({ horizon }) => horizon === h);
      return rowOf(runs, h, runs.length);
    });
    rows.push(...own);
    if (own.length < 2) continue;
    const all = rowOf(group, 'mean', Math.min(...own.map(({ seeds }) => seeds)));
    rows.push({ ...all, mse: mean(own.map(({ mse }) => mse)), mae: mean(own.map(({ mae }) => mae)) });
  }
  return rows;
}

const keyOf = ({ data, model, variant, lookback }: BenchResult): string => [data, model, variant, lookback].join(' ');
