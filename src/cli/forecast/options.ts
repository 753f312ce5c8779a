/** Flags that the forecasting commands share: the model, its parts and its training. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { UsageError } from '../../core/index.ts';
import {
  type CalendarPart,
  calendarParts,
  describeFrequency,
  FORECAST_LOSSES,
  FORECAST_MODELS,
  type ForecastLoss,
  type ForecastModelName,
  type Frequency,
  LAYOUTS,
  type Layout,
  RECIPES,
  type RecipeChanges,
  type RecipeName,
  SOLVERS,
  type Solver,
} from '../../forecast/index.ts';
import { integer, number } from '../session.ts';

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

/** A comma-separated list, each part read by `read`. */
export const list =
  <T>(read: (text: string) => T) =>
  (text: string): T[] => {
    const parts = text.split(',').map((part) => part.trim());
    if (parts.some((part) => part === '')) throw new InvalidArgumentError('expected values with commas between.');
    return parts.map(read);
  };

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

/** @throws UsageError where there is nothing to know */
function calendarOf(frequency: Frequency): CalendarPart[] {
  const parts = calendarParts(frequency);
  if (parts.length > 0) return parts;
  const problem = `steps of ${describeFrequency(frequency)} have no hour, weekday or month of their own`;
  throw new UsageError(`--calendar: ${problem}; leave it out`);
}

/**
 * `frequency` is that of the series, which says what of the calendar there is to know.
 * @throws UsageError where that is nothing
 */
export function recipeChanges(flags: ModelFlags, frequency: Frequency): RecipeChanges {
  const { lookback, epochs, patience, solver, loss, weightDecay, recipe } = flags;
  const { layers, patch, dropout, layout, convolution, shortcut, width: d } = flags;
  return {
    lookback,
    epochs,
    patience,
    solver,
    loss,
    weightDecay,
    recipe,
    batchSize: flags.batch,
    learningRate: flags.lr,
    permutes: flags.permute ? undefined : false,
    settings: {
      calendar: flags.calendar ? calendarOf(frequency) : undefined,
      layers,
      d,
      patch,
      dropout,
      layout,
      convolution,
      shortcut,
    },
  };
}
