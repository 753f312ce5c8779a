/**
 * Names that settings of forecasting take: of models, recipes, losses and rules. They stand apart from what they name,
 * because the command line lists them before it loads a model.
 */

/** Models that are trained or solved. */
export const TRAINED_MODELS = ['mambats', 'mamba', 'patch-transformer', 'dlinear', 'ridge'] as const;
/** Rules without training. */
export const NAIVE_MODELS = ['seasonal-naive', 'drift'] as const;
export const FORECAST_MODELS = [...TRAINED_MODELS, ...NAIVE_MODELS] as const;

export type TrainedModelName = (typeof TRAINED_MODELS)[number];
export type NaiveModelName = (typeof NAIVE_MODELS)[number];
export type ForecastModelName = (typeof FORECAST_MODELS)[number];

export const isTrained = (name: ForecastModelName): name is TrainedModelName =>
  (TRAINED_MODELS as readonly string[]).includes(name);

/** True if a model is solved in closed form: it has no seeds and no epochs. */
export const isSolved = (name: ForecastModelName): boolean => name === 'ridge';

/** Recipes. `published` is that of the authors of a model. With `wide` and `tuned` MambaTS forecasts better. */
export const RECIPES = ['published', 'wide', 'tuned'] as const;
export type RecipeName = (typeof RECIPES)[number];

/** Training losses. For an error e of scaled values: e^2, |e|, or Huber's e^2 / 2 up to 1 and |e| - 1/2 above. */
export const FORECAST_LOSSES = ['mse', 'mae', 'huber'] as const;
export type ForecastLoss = (typeof FORECAST_LOSSES)[number];

/**
 * Order of the tokens of MambaTS. `variable-major`: all patches of the first variable, then of the second (the published
 * code); `time-major`: the first patch of all variables, then the second (the paper's text).
 */
export const LAYOUTS = ['variable-major', 'time-major', 'variables-apart'] as const;
export type Layout = (typeof LAYOUTS)[number];

/** How the order of variables that costs least is found (models/order.ts). */
export const SOLVERS = ['annealing', 'nearest', 'local', 'exact', 'none'] as const;
export type Solver = (typeof SOLVERS)[number];

/** Fills for missing values. `forward` repeats the last value, or the first one at the start; `linear` interpolates; `zero` is 0. */
export const FILLS = ['forward', 'linear', 'zero'] as const;
export type Fill = (typeof FILLS)[number];
