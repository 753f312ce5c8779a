/** Models from checkpoints and from nothing. */
import { ConfigError, type DType, encode, HostRandom, sizeOf, UnsupportedOpError } from '../../core/index.ts';
import { type FileSystem, joinPath, openCheckpoint, type TensorSource } from '../../io/index.ts';
import type { Device, Tensor } from '../../tensor/index.ts';
import { familyOf, type ModelConfig, parseConfigText } from '../families/index.ts';
import type { BackboneModel, Blueprint } from '../heads/backbone-model.ts';
import { type LanguageModel, languageBlueprint } from '../heads/language-model.ts';
import { scaleName } from '../weighted-layers.ts';
import { WeightReader, writeQuantised } from './reader.ts';
import { type CheckpointNames, matchWeights, storageType, type WeightRow } from './table.ts';

export const CONFIG_FILE = 'config.json';

export interface ModelOptions {
  /**
   * Storage type of the weights that feed matrix products; f32 unless given. The others are f32 always. i8 quantises
   * them, a scale a row: for inference alone.
   */
  dtype?: DType;
  /** Type of the activations; that of the storage unless given, f32 where that is i8. */
  activations?: DType;
  /** Whether gradients of all weights are wanted. */
  trainable?: boolean;
}

export interface LoadOptions extends ModelOptions {
  /** Called with one line for each usable but unexpected thing, such as weights that are not finite. */
  onWarning?: (message: string) => void;
  /** Called after each tensor, with the share of bytes that are loaded. */
  onProgress?: (share: number) => void;
}

/** @throws UnsupportedOpError if the device cannot hold a dtype, ConfigError for quantised weights that are to learn */
function typesOf(
  device: Device,
  { dtype = 'f32', activations = dtype === 'i8' ? 'f32' : dtype, trainable }: ModelOptions,
): { dtype: DType; activations: DType } {
  for (const type of [dtype, activations]) {
    const isFit = type !== 'i32' && (type !== 'i8' || type === dtype);
    if (!isFit || !device.backend.supports(type)) throw new UnsupportedOpError('model', type, device.name);
  }
  if (trainable && dtype === 'i8') {
    throw new ConfigError(
      'dtype: i8 weights cannot be trained; give f32, with bf16 activations if they are to be small',
    );
  }
  return { dtype, activations };
}

/** Uninitialised memory for a row of the table, and for the scales of its rows if it is quantised. */
function allocate(device: Device, row: WeightRow, dtype: DType): { weight: Tensor; scale: Tensor | null } {
  const weight = device.keep(device.empty(row.shape, storageType(row, dtype)));
  return { weight, scale: weight.dtype === 'i8' ? device.keep(device.empty([weight.rows])) : null };
}

/** A model before its weights are read: its resolved configuration and its open checkpoint. */
export async function openModel(
  files: FileSystem,
  folder: string,
): Promise<{ config: ModelConfig; source: TensorSource }> {
  const file = joinPath(folder, CONFIG_FILE);
  const stated = parseConfigText(await files.readText(file), file);
  const source = await openCheckpoint(files, folder);
  const { names, resolve } = familyOf(stated);
  const has = (name: string) => names.variants(name).some((stored) => source.tensors.has(stored));
  return { config: resolve(stated, has) as ModelConfig, source };
}

/** The configuration of a model folder, with what it leaves open inferred from the checkpoint. */
export async function readModelConfig(files: FileSystem, folder: string): Promise<ModelConfig> {
  const { config, source } = await openModel(files, folder);
  await source.close();
  return config;
}

/** Names that a checkpoint of Krait's own has: one for each tensor. */
const OWN_NAMES: CheckpointNames = { variants: (name) => [name], isIgnored: () => false };

/**
 * Fills a model from a checkpoint. Names and shapes are checked before anything is read; nothing stays allocated on failure.
 * @param names how the checkpoint calls its tensors; as the blueprint does unless given
 * @throws ConfigError, CheckpointError, FileFormatError naming the file, the value and the remedy
 */
export async function loadFrom<M extends BackboneModel>(
  { rows, head, build }: Blueprint<M>,
  device: Device,
  source: TensorSource,
  options: LoadOptions = {},
  names: CheckpointNames = OWN_NAMES,
): Promise<M> {
  const { dtype, activations } = typesOf(device, options);
  const weights = new Map<string, Tensor>();
  let reader: WeightReader | null = null;
  try {
    const matched = matchWeights(rows, source, names, `${head}.weight`);
    const total = matched.reduce((sum, { row }) => sum + sizeOf(row.shape), 0);
    let done = 0;
    reader = new WeightReader(device, source, matched.length);
    for (const { row, storedName } of matched) {
      const { weight, scale } = allocate(device, row, dtype);
      weights.set(row.name, weight);
      if (scale) weights.set(scaleName(row.name), scale);
      reader.begin(storedName, weight, scale);
    }
    await reader.finish((i, nonFinite) => {
      const { row, storedName } = matched[i];
      const weight = weights.get(row.name)!.trainable(options.trainable ?? false);
      if (nonFinite > 0) {
        const what = `${nonFinite} of ${weight.size} values are NaN or infinite`;
        options.onWarning?.(`${source.fileOf(storedName)}: tensor ${storedName}: ${what}; its outputs will be NaN`);
      }
      done += weight.size;
      options.onProgress?.(done / total);
    });
    return build(device, weights, activations);
  } catch (error) {
    for (const weight of weights.values()) weight.dispose();
    throw error;
  } finally {
    await reader?.close();
  }
}

/**
 * Loads the language model of a folder (`config.json` and safetensors, sharded or not).
 * @throws UnsupportedOpError, and as `loadFrom`
 */
export async function loadModel(
  device: Device,
  files: FileSystem,
  folder: string,
  options: LoadOptions = {},
): Promise<LanguageModel> {
  typesOf(device, options); // what the device cannot hold is said before a file is opened
  const { config, source } = await openModel(files, folder);
  try {
    return await loadFrom(languageBlueprint(config), device, source, options, familyOf(config).names);
  } finally {
    await source.close();
  }
}

/**
 * A model with fresh weights, drawn on the host: the same on every device for a seed. Each tensor has a stream of its
 * own, so that a tensor's values do not depend on the sizes of those before it.
 */
export function createFrom<M extends BackboneModel>(
  { rows, build }: Blueprint<M>,
  device: Device,
  seed: number,
  options: ModelOptions = {},
): M {
  const { dtype, activations } = typesOf(device, options);
  const weights = new Map<string, Tensor>();
  try {
    rows.forEach((row, stream) => {
      const { weight, scale } = allocate(device, row, dtype);
      weights.set(row.name, weight);
      if (scale) weights.set(scaleName(row.name), scale);
      const values = row.initial(new HostRandom(seed, stream), weight.size);
      if (scale) writeQuantised(weight, scale, values, 0);
      else weight.write(encode(weight.dtype, values));
      weight.trainable(options.trainable ?? false);
    });
    return build(device, weights, activations);
  } catch (error) {
    for (const weight of weights.values()) weight.dispose();
    throw error;
  }
}

/** A language model with fresh weights (`createFrom`). */
export const createModel = (
  device: Device,
  config: ModelConfig,
  seed: number,
  options: ModelOptions = {},
): LanguageModel => createFrom(languageBlueprint(config), device, seed, options);

/** Elements of all tensors of a language model. */
export const parameterCount = (config: ModelConfig): number =>
  languageBlueprint(config).rows.reduce((sum, row) => sum + sizeOf(row.shape), 0);
