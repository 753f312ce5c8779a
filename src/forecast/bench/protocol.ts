/**
 * The published protocol of long-term forecasting: data sets with their splits, and the settings that authors give for
 * them. Sources: the scripts of XiudingCai/MambaTS-pytorch (3b6797d) and of cure-lab/LTSF-Linear (arXiv 2205.13504).
 */
import { UsageError } from '../../core/index.ts';
import { ettSplit, type Split } from '../data/index.ts';
import type { ModelName } from '../models/index.ts';
import type { FitOptions } from '../training/index.ts';

export interface BenchData {
  /** Path below the folder of data. */
  readonly file: string;
  readonly split: Split;
}

export const BENCH_DATA = {
  etth1: { file: 'ett/ETTh1.csv', split: ettSplit() },
  etth2: { file: 'ett/ETTh2.csv', split: ettSplit() },
} as const satisfies Record<string, BenchData>;
export type BenchDataName = keyof typeof BENCH_DATA;

export const HORIZONS = [96, 192, 336, 720] as const;

export interface BenchSettings {
  readonly lookback: number;
  /** Settings of the model besides its sizes. */
  readonly model: Record<string, unknown>;
  readonly training: Omit<FitOptions, 'seed'>;
}

const TRAINING = { epochs: 10, patience: 3 };

/** MambaTS on ETTh2, by horizon; the authors give nothing for ETTh1, for which the same are taken. */
const MAMBATS: Record<number, { layers: number; width: number; batchSize: number; learningRate: number }> = {
  96: { layers: 5, width: 16, batchSize: 8, learningRate: 1e-3 },
  192: { layers: 3, width: 16, batchSize: 16, learningRate: 1e-3 },
  336: { layers: 2, width: 32, batchSize: 32, learningRate: 5e-4 },
  720: { layers: 1, width: 128, batchSize: 16, learningRate: 5e-4 },
};

/** What the authors of a model set, for horizons between theirs that of the next longer one. */
export function benchSettings(model: ModelName, data: BenchDataName, horizon: number): BenchSettings {
  switch (model) {
    case 'seasonal':
      return { lookback: 336, model: { season: 24 }, training: { ...TRAINING, batchSize: 32, learningRate: 1e-3 } };
    case 'drift':
      return { lookback: 336, model: {}, training: { ...TRAINING, batchSize: 32, learningRate: 1e-3 } };
    case 'dlinear': {
      const learningRate = data === 'etth1' ? 0.005 : 0.05;
      return { lookback: 336, model: {}, training: { ...TRAINING, batchSize: 32, learningRate } };
    }
    case 'patchtst':
      return { lookback: 336, model: {}, training: { ...TRAINING, batchSize: 32, learningRate: 1e-3 } };
    case 'mamba':
    case 'mambats': {
      const longest = HORIZONS.find((h) => horizon <= h) ?? 720;
      const { layers, width, batchSize, learningRate } = MAMBATS[longest];
      return { lookback: 720, model: { layers, width }, training: { ...TRAINING, batchSize, learningRate } };
    }
  }
}

export interface Published {
  readonly mse: number;
  readonly mae: number;
  /** Look-back that it was reported for. */
  readonly lookback: number;
}

/** Figures that the authors of a model report, where they are known: by model, data and horizon, or their mean over four. */
const PUBLISHED: Record<string, Published> = {
  'dlinear etth1 96': { mse: 0.375, mae: 0.399, lookback: 336 },
  'dlinear etth2 96': { mse: 0.289, mae: 0.353, lookback: 336 },
  'mambats etth2 mean': { mse: 0.339, mae: 0.381, lookback: 720 },
  'patchtst etth2 mean': { mse: 0.33, mae: 0.379, lookback: 336 },
};

export const published = (model: string, data: string, horizon: number | 'mean'): Published | null =>
  PUBLISHED[`${model} ${data} ${horizon}`] ?? null;

/** @throws UsageError for a data set that there is not */
export function benchData(name: string): BenchData {
  if (Object.hasOwn(BENCH_DATA, name)) return BENCH_DATA[name as BenchDataName];
  throw new UsageError(`--data: expected ${Object.keys(BENCH_DATA).join(', ')}, got ${name}`);
}
