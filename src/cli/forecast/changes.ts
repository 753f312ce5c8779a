/** Changes of a recipe by flags of the model and its training. */
import { UsageError } from '../../core/index.ts';
import {
  type CalendarPart,
  calendarParts,
  describeFrequency,
  type Frequency,
  type RecipeChanges,
} from '../../forecast/index.ts';
import type { ModelFlags } from './options.ts';

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
