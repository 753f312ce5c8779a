/** How models are trained: as their authors do, or as was found to forecast better. */
import type { FitSettings } from './fit.ts';
import { kindOf, type ModelSettings } from './models/index.ts';
import type { RecipeName, TrainedModelName } from './names.ts';

type Recipe = Omit<FitSettings, 'horizon' | 'model' | 'seed'>;

/** Whether a recipe leaves a model as its authors train it. */
export const isPublished = (name: RecipeName, model: TrainedModelName): boolean => !kindOf(model).found?.[name];

/** Recipe of a model on a data set, without changes. */
export function recipeOf(name: RecipeName, model: TrainedModelName, data: string, horizon: number): Recipe {
  const kind = kindOf(model);
  return kind.found?.[name] ?? kind.published(data, horizon);
}

/** Changes of a recipe for a cell. Undefined values change nothing. */
export interface RecipeChanges extends Partial<Omit<FitSettings, 'settings' | 'horizon' | 'model' | 'seed'>> {
  readonly settings?: ModelSettings;
  /** Recipe to change; `published` unless given. */
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
