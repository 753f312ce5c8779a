/** How models are trained: as their authors do, or as was found to forecast better. */
import type { FitSettings } from './fit.ts';
import type { ModelSettings } from './models/index.ts';
import type { RecipeName, TrainedModelName } from './names.ts';

type Recipe = Omit<FitSettings, 'horizon' | 'model' | 'seed'>;

const PROTOCOL = {
  epochs: 10,
  patience: 3,
  permutes: true,
  solver: 'annealing',
  loss: 'mse',
  weightDecay: 0,
} as const;

/** [layers, d, dropout, batch, learning rate] of MambaTS's scripts, for horizons 96, 192, 336 and 720 (XiudingCai/MambaTS-pytorch). */
type Row = readonly [number, number, number, number, number];
const MAMBATS_SCRIPTS: Record<string, readonly Row[]> = {
  etth2: [
    [5, 16, 0.3, 8, 1e-3],
    [3, 16, 0.3, 16, 1e-3],
    [2, 32, 0.3, 32, 5e-4],
    [1, 128, 0.3, 16, 5e-4],
  ],
  ettm2: [[3, 16, 0.3, 16, 1e-3]],
  weather: [
    [3, 32, 0.2, 8, 5e-4],
    [2, 32, 0.3, 16, 1e-3],
    [2, 32, 0.3, 8, 1e-3],
  ],
  electricity: [[4, 128, 0.2, 16, 5e-4]],
  traffic: [[4, 512, 0.2, 8, 5e-4]],
};
const HORIZONS = [96, 192, 336, 720];

function mambatsRecipe(data: string, horizon: number): Recipe {
  // ETTh1 and ETTm1 have no script: those of their twins.
  const rows = MAMBATS_SCRIPTS[data.replace(/1$/, '2')] ?? MAMBATS_SCRIPTS['ettm2'];
  const place = HORIZONS.findIndex((h) => horizon <= h);
  const [layers, d, dropout, batchSize, learningRate] = rows[Math.min(rows.length - 1, place < 0 ? 3 : place)];
  const patch = data === 'traffic' ? 720 : 48;
  return { ...PROTOCOL, lookback: 720, batchSize, learningRate, settings: { layers, d, dropout, patch } };
}

/** Rates of DLinear's scripts (cure-lab/LTSF-Linear) where they are not those of ETTh1, which other files get. */
const DLINEAR_RATES: Record<string, number> = {
  etth2: 0.05,
  ettm2: 0.001,
  weather: 1e-4,
  electricity: 1e-4,
  traffic: 1e-4,
};

/** As the authors of a model train it on a data set. */
function published(model: TrainedModelName, data: string, horizon: number): Recipe {
  switch (model) {
    case 'mambats':
    case 'mamba':
      return mambatsRecipe(data, horizon);
    case 'dlinear':
      return { ...PROTOCOL, lookback: 336, batchSize: 32, learningRate: DLINEAR_RATES[data] ?? 0.005, settings: {} };
    case 'patch-transformer':
      return { ...PROTOCOL, lookback: 336, batchSize: 32, learningRate: 1e-3, settings: {} };
    case 'ridge':
      return { ...PROTOCOL, lookback: 720, batchSize: 32, learningRate: 0, settings: {} };
  }
}

/**
 * What was found to forecast better on ETTh2, chosen by its validation part (docs/forecasting.md): patches that the
 * embedding does not squeeze, one block, with its convolution, absolute errors, a decay that keeps matrices small.
 */
const WIDE = {
  ...PROTOCOL,
  lookback: 720,
  batchSize: 32,
  learningRate: 3e-4,
  weightDecay: 15,
  loss: 'mae',
  settings: { layers: 1, d: 64, dropout: 0.3, patch: 48, convolution: true },
} as const satisfies Recipe;

/**
 * The same beside the linear forecast of ridge regression: what that lacks takes smaller steps to learn, and the convolution
 * makes no difference.
 */
const TUNED = {
  ...WIDE,
  learningRate: 3e-5,
  settings: { ...WIDE.settings, convolution: false, shortcut: true },
} as const satisfies Recipe;

/** Whether a recipe leaves a model as its authors train it. */
export const isPublished = (name: RecipeName, model: TrainedModelName): boolean =>
  name === 'published' || (model !== 'mambats' && model !== 'mamba');

/** How a model is trained on a data set, unless it is told otherwise. */
export function recipeOf(name: RecipeName, model: TrainedModelName, data: string, horizon: number): Recipe {
  if (isPublished(name, model)) return published(model, data, horizon);
  return name === 'wide' ? WIDE : TUNED;
}

/** What a cell changes of its recipe; what is undefined stays. */
export interface RecipeChanges extends Partial<Omit<FitSettings, 'settings' | 'horizon' | 'model' | 'seed'>> {
  readonly settings?: ModelSettings;
  /** That which is changed; as published unless given. */
  readonly recipe?: RecipeName;
}

const stated = <T extends object>(value: T): Partial<T> =>
  Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined)) as Partial<T>;

/** A recipe with changes. */
export function fitSettings(
  model: TrainedModelName,
  data: string,
  horizon: number,
  seed: number,
  { recipe: name = 'published', ...changes }: RecipeChanges = {},
): FitSettings {
  const recipe = recipeOf(name, model, data, horizon);
  const settings = { ...recipe.settings, ...stated(changes.settings ?? {}) };
  return { ...recipe, ...stated(changes), settings, model, horizon, seed };
}
