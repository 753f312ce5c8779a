/** Flags of the forecasting commands, and those that they share: the model, its parts and its training. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { BenchmarkData } from '../../forecast/benchmark.ts';
import {
  type Fill,
  FORECAST_LOSSES,
  FORECAST_MODELS,
  type ForecastLoss,
  type ForecastModelName,
  LAYOUTS,
  type Layout,
  RECIPES,
  type RecipeName,
  SOLVERS,
  type Solver,
} from '../../forecast/names.ts';
import { type CommonOptions, integer, number } from '../options.ts';

export interface ModelFlags {
  lookback?: number;
  epochs?: number;
  patience?: number;
  batch?: number;
  lr?: number;
  weightDecay?: number;
  recipe?: RecipeName;
  loss?: ForecastLoss;
  layers?: number;
  width?: number;
  patch?: number;
  dropout?: number;
  layout?: Layout;
  convolution?: boolean;
  shortcut?: boolean;
  calendar?: boolean;
  permute: boolean;
  solver?: Solver;
}

export interface ReadFlags {
  dateColumn?: string;
  columns?: string[];
  fill: Fill;
  maxRows?: number;
}

export interface WriteFlags {
  target?: string[];
  out?: string;
  plot?: string;
  report?: string;
}

type DeviceFlags = Omit<CommonOptions, 'dtype'>;

export interface TrainFlags extends DeviceFlags, ModelFlags, ReadFlags, WriteFlags {
  horizon: number;
  model: ForecastModelName;
  quantiles: number[];
  seed: number;
}

export interface FitFlags extends TrainFlags {
  out: string;
  force?: boolean;
}

export interface PredictFlags extends DeviceFlags, ReadFlags, WriteFlags {
  model: string;
}

export interface BenchFlags extends DeviceFlags, ModelFlags {
  data: BenchmarkData[];
  dataDir?: string;
  horizon: number[];
  seeds: number;
  model: ForecastModelName[];
  out?: string;
  resume?: boolean;
  force?: boolean;
}

export function modelName(text: string): ForecastModelName {
  if ((FORECAST_MODELS as readonly string[]).includes(text)) return text as ForecastModelName;
  throw new InvalidArgumentError(`expected one of ${FORECAST_MODELS.join(', ')}.`);
}

/** Flags of the model and its training; what is not given is the recipe's. */
export function withModelFlags(command: Command): Command {
  return command
    .addOption(new Option('--recipe <name>', 'settings that the other flags change').choices(RECIPES))
    .option('--lookback <n>', 'steps that a forecast sees', integer(2))
    .option('--epochs <n>', 'most passes over the training part', integer(1))
    .option('--patience <n>', 'epochs without a better validation error that end training', integer(1))
    .option('--batch <n>', 'windows of a step', integer(1))
    .option('--lr <rate>', 'learning rate', number(0, 1, { open: true }))
    .option('--weight-decay <x>', 'AdamW: of matrices', number(0))
    .addOption(new Option('--loss <name>', 'what training makes small').choices(FORECAST_LOSSES))
    .option('--layers <n>', 'blocks', integer(1))
    .option('--width <n>', 'width d of the model', integer(1))
    .option('--patch <n>', 'steps of a patch', integer(1))
    .option('--dropout <p>', 'of MambaTS: on the selective parameters', number(0, 0.99))
    .addOption(new Option('--layout <name>', 'order of tokens (VST)').choices(LAYOUTS))
    .option('--convolution', 'keep the convolution and SiLU that the temporal block leaves out')
    .option('--no-convolution', 'leave them out, as MambaTS does')
    .option('--shortcut', 'add the linear forecast of ridge regression; the model learns what it lacks')
    .option('--no-shortcut', 'leave it out where the recipe has it')
    .option('--calendar', 'add effects of the hour, the weekday and the month of the steps ahead')
    .option('--no-permute', 'no random orders of variables in training (VPT)')
    .addOption(new Option('--solver <name>', 'of the learned order of variables (VAST)').choices(SOLVERS));
}
