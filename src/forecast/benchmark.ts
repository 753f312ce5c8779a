/**
 * The papers' benchmark: data sets with their splits, and the figures that models were published with. One cell is one
 * model on one data set at one horizon from one seed.
 */
import { UsageError } from '../core/index.ts';
import { suggestion } from '../io/nearest.ts';
import type { RegularSeries } from './data/index.ts';
import { ettSplits, type Splits, shareSplits } from './data/splits.ts';
import type { ForecastModelName } from './names.ts';

export interface BenchmarkData {
  readonly name: string;
  /** Names that its file goes by. */
  readonly files: readonly string[];
  /** Steps of the season that the naive forecast repeats: a day. */
  readonly season: number;
  splits(length: number): Splits;
}

const ett = (name: string, file: string, stepsPerHour: number): BenchmarkData => ({
  name,
  files: [`${file}.csv`, `ett/${file}.csv`, `ETT-small/${file}.csv`],
  season: 24 * stepsPerHour,
  splits: () => ettSplits(stepsPerHour),
});

const shared = (name: string, season: number): BenchmarkData => ({
  name,
  files: [`${name}.csv`, `${name}/${name}.csv`],
  season,
  splits: (length) => shareSplits(length),
});

export const BENCHMARK_DATA: readonly BenchmarkData[] = [
  ett('etth1', 'ETTh1', 1),
  ett('etth2', 'ETTh2', 1),
  ett('ettm1', 'ETTm1', 4),
  ett('ettm2', 'ETTm2', 4),
  shared('weather', 144),
  shared('electricity', 24),
  shared('traffic', 24),
];

/** @throws UsageError naming the nearest there is */
export function findBenchmarkData(name: string): BenchmarkData {
  const found = BENCHMARK_DATA.find((data) => data.name === name.toLowerCase());
  if (found) return found;
  const names = BENCHMARK_DATA.map((data) => data.name);
  throw new UsageError(`--data: no ${name}${suggestion(name, names) || `; there are ${names.join(', ')}`}`);
}

/** Figures of the authors: MSE and MAE at a horizon, or the mean over 96, 192, 336 and 720. */
const PUBLISHED: Record<string, readonly [number, number]> = {
  'dlinear etth1 96': [0.375, 0.399],
  'dlinear etth2 96': [0.289, 0.353],
  'mambats etth2 mean': [0.339, 0.381],
  'mambats ettm2 mean': [0.247, 0.31],
  'mambats weather mean': [0.219, 0.257],
  'mambats electricity mean': [0.155, 0.251],
  'mambats traffic mean': [0.373, 0.262],
  'patch-transformer etth2 mean': [0.33, 0.379],
  'patch-transformer ettm2 mean': [0.255, 0.315],
  'dlinear etth2 mean': [0.559, 0.515],
  'dlinear ettm2 mean': [0.35, 0.401],
};

/** Published figures of a cell, where they are known. */
export const publishedFigures = (model: ForecastModelName, data: string, horizon: number | 'mean') =>
  PUBLISHED[`${model} ${data} ${horizon}`] as readonly [number, number] | undefined;

/** @throws UsageError where variables that are asked for are not there */
export function selectVariables(series: RegularSeries, names: readonly string[] | undefined): RegularSeries {
  if (!names || names.length === 0) return series;
  const places = names.map((name) => {
    const at = series.names.indexOf(name);
    const near = suggestion(name, series.names) || `; there are ${series.names.join(', ')}`;
    if (at < 0) throw new UsageError(`${series.file} has no column ${JSON.stringify(name)}${near}`);
    return at;
  });
  const pick = <T>(all: readonly T[]) => places.map((at) => all[at]);
  return { ...series, names: pick(series.names), values: pick(series.values), masks: pick(series.masks) };
}
