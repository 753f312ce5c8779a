/** Selects the layers that an adapter's configuration names. A name that matches nothing is an error. */
import { ConfigError } from '../../core/index.ts';
import { ALL_LINEAR, isSavedWhole, isTargeted, type LoraConfig, suggestion } from '../../io/index.ts';
import type { BackboneModel } from '../../models/index.ts';
import type { AdaptableLayer } from '../../nn/index.ts';

/** Whether the head's weight is that of another layer. */
export const isTied = (model: BackboneModel): boolean => model.head === null;

const lastPart = (path: string): string => path.slice(path.lastIndexOf('.') + 1);

/** Module paths, each with its ancestors, that own a parameter. */
function modulePaths(model: BackboneModel): string[] {
  const paths = new Set<string>();
  for (const name of model.parameters.keys()) {
    for (let end = name.lastIndexOf('.'); end > 0; end = name.lastIndexOf('.', end - 1)) paths.add(name.slice(0, end));
  }
  if (isTied(model)) paths.add(model.headPath);
  return [...paths];
}

function noMatch(what: string, name: string, known: Iterable<string>): ConfigError {
  const names = [...new Set([...known].map(lastPart))].filter((part) => !/^\d+$/.test(part));
  const hint = suggestion(name, names);
  return new ConfigError(`${what}: ${JSON.stringify(name)} matches no module${hint}; there are ${names.join(', ')}`);
}

const matchesList = (entry: string, path: string): boolean => path === entry || path.endsWith(`.${entry}`);

/**
 * Layers that get factors, in the model's order.
 * @param isStrict whether every name of a list must match; a loaded adapter's list may name what this model lacks
 * @throws ConfigError naming what matches nothing, the nearest name and those there are
 */
export function targetedLayers(model: BackboneModel, config: LoraConfig, isStrict: boolean): AdaptableLayer[] {
  const { targetModules } = config;
  const { headPath: head } = model;
  const list = typeof targetModules === 'string' ? null : targetModules;
  if (list?.some((entry) => matchesList(entry, head))) model.untieHead();
  const layers = [...model.adaptable.values()];
  const known = layers.map(({ name }) => name);
  const unmatched = isStrict && list?.find((entry) => !known.some((path) => matchesList(entry, path)));
  if (unmatched) throw noMatch('target_modules', unmatched, known);
  const chosen = layers.filter(({ name, kind }) => {
    if (targetModules === ALL_LINEAR && (kind !== 'linear' || name === head)) return false;
    return isTargeted(config, name);
  });
  if (chosen.length > 0) return chosen;
  if (config.excludeModules) throw new ConfigError('exclude_modules: leaves no module of target_modules; shorten it');
  throw noMatch('target_modules', typeof targetModules === 'string' ? targetModules : targetModules.join(', '), known);
}

/** Parameters trained besides the factors: whole modules, and biases. */
export interface WholeParameters {
  readonly saved: readonly string[];
  readonly biases: readonly string[];
}

/** Whether a parameter lies in a module that is saved whole. */
function isInSavedModule(config: LoraConfig, parameter: string): boolean {
  for (let end = parameter.lastIndexOf('.'); end > 0; end = parameter.lastIndexOf('.', end - 1)) {
    if (isSavedWhole(config, parameter.slice(0, end))) return true;
  }
  return false;
}

/**
 * Names of the parameters that are trained whole. Unties the head where the head or the table is among them: they are
 * two modules, and only one was asked for.
 * @throws ConfigError for names that match nothing, or a module that is a target too
 */
export function wholeParameters(
  model: BackboneModel,
  config: LoraConfig,
  layers: readonly AdaptableLayer[],
  isStrict: boolean,
): WholeParameters {
  const paths = modulePaths(model);
  for (const entry of config.modulesToSave) {
    if (isStrict && !paths.some((path) => path.endsWith(entry))) throw noMatch('modules_to_save', entry, paths);
  }
  const both = layers.find(({ name }) => isInSavedModule(config, `${name}.weight`));
  if (both) throw new ConfigError(`modules_to_save: ${both.name} is in target_modules too; choose one`);
  const tables = [...model.adaptable.values()].filter(({ kind }) => kind === 'embedding').map(({ name }) => name);
  if ([model.headPath, ...tables].some((path) => isSavedWhole(config, path))) model.untieHead();
  const names = [...model.parameters.keys()];
  const saved = names.filter((name) => isInSavedModule(config, name));
  const adapted = new Set(layers.map(({ name }) => `${name}.bias`));
  const isTrainedBias = (name: string) =>
    name.endsWith('.bias') && (config.bias === 'all' || (config.bias === 'lora_only' && adapted.has(name)));
  return { saved, biases: names.filter((name) => isTrainedBias(name) && !saved.includes(name)) };
}
