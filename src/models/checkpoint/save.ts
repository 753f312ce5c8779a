/** Models to folders that Hugging Face's loaders read: `config.json` and safetensors, in shards where they are large. */
import { ConfigError, type DType } from '../../core/index.ts';
import {
  type FileSystem,
  joinPath,
  type TensorEntry,
  tensorEntry,
  WEIGHTS_FILE,
  WEIGHTS_INDEX_FILE,
  writeSafetensors,
} from '../../io/index.ts';
import type { BackboneModel } from '../heads/backbone-model.ts';
import { CONFIG_FILE } from './load.ts';
import { storageType } from './table.ts';

export interface SaveOptions {
  /** Type of the weights that feed matrix products; that in memory unless given. The others stay f32. */
  dtype?: DType;
  /** Most bytes in one file, unless a single tensor has more; 5 GB as Hugging Face has it. */
  shardBytes?: number;
}

const DEFAULT_SHARD_BYTES = 5e9;

const TORCH_NAMES: Readonly<Record<DType, string>> = {
  f32: 'float32',
  bf16: 'bfloat16',
  f16: 'float16',
  f64: 'float64',
  i32: 'int32',
  i8: 'int8',
};

/** @throws ConfigError for quantised weights: what was rounded away would be missing for good */
export function checkSavable(model: BackboneModel, path: string, dtype?: DType): void {
  if (model.scales.size === 0 && dtype !== 'i8') return;
  const remedy = 'load the model in f32 or bf16 to save it';
  throw new ConfigError(`${path}: int8 weights are for inference and are not saved as a model; ${remedy}`);
}

function entriesOf(model: BackboneModel, dtype: DType | undefined): TensorEntry[] {
  const { parameters, rows } = model;
  const known = new Set(rows.map((row) => row.name));
  const entries = rows.map((row) => {
    const weight = parameters.get(row.name)!;
    return tensorEntry(row.name, weight, dtype ? storageType(row, dtype) : weight.dtype);
  });
  // What the table does not know, such as the bias of a head, is part of the model all the same.
  for (const [name, weight] of parameters) if (!known.has(name)) entries.push(tensorEntry(name, weight));
  return entries;
}

const sizeOfEntry = (model: BackboneModel, entry: TensorEntry): number => {
  const elements = model.parameters.get(entry.name)!.size;
  return elements * (entry.dtype === 'F64' ? 8 : entry.dtype === 'F32' ? 4 : 2);
};

/** Consecutive entries of at most `most` bytes together. */
function shardsOf(model: BackboneModel, entries: readonly TensorEntry[], most: number): TensorEntry[][] {
  const shards: TensorEntry[][] = [[]];
  let filled = 0;
  for (const entry of entries) {
    const bytes = sizeOfEntry(model, entry);
    if (filled + bytes > most && shards[shards.length - 1].length > 0) {
      shards.push([]);
      filled = 0;
    }
    shards[shards.length - 1].push(entry);
    filled += bytes;
  }
  return shards;
}

const numbered = (i: number, count: number): string => {
  const pad = (n: number) => String(n).padStart(5, '0');
  return `model-${pad(i + 1)}-of-${pad(count)}.safetensors`;
};

async function writeShards(model: BackboneModel, files: FileSystem, folder: string, shards: readonly TensorEntry[][]) {
  const weightMap: Record<string, string> = {};
  let total = 0;
  for (const [i, shard] of shards.entries()) {
    const name = numbered(i, shards.length);
    await writeSafetensors(files, joinPath(folder, name), shard);
    for (const entry of shard) {
      weightMap[entry.name] = name;
      total += sizeOfEntry(model, entry);
    }
  }
  const index = { metadata: { total_size: total }, weight_map: weightMap };
  await files.writeAtomic(joinPath(folder, WEIGHTS_INDEX_FILE), `${JSON.stringify(index, null, 2)}\n`);
  return new Set(Object.values(weightMap));
}

/** Weights of an earlier save that the new files do not belong to: a loader could take them for the model. */
async function removeStale(files: FileSystem, folder: string, written: ReadonlySet<string>): Promise<void> {
  for (const name of await files.list(folder)) {
    const isWeights =
      name === WEIGHTS_FILE || name === WEIGHTS_INDEX_FILE || /^model-\d+-of-\d+\.safetensors$/.test(name);
    if (isWeights && !written.has(name)) await files.remove(joinPath(folder, name));
  }
}

/** `config.json` for weights whose matrices are stored in `dtype`. */
function savedConfig(model: BackboneModel, dtype: DType): Record<string, unknown> {
  const config = model.configJson();
  const key = 'torch_dtype' in config ? 'torch_dtype' : 'dtype'; // its name before transformers 4.56, and since
  return { ...config, [key]: TORCH_NAMES[dtype] };
}

/** The text of config.json; numbers under `floatKeys` keep a point, so that Python reads floats. */
function configText(config: Record<string, unknown>, floatKeys: readonly string[]): string {
  const whole = new RegExp(`"(${floatKeys.join('|')})": (-?\\d+)(?=[,\n])`, 'g');
  return `${JSON.stringify(config, null, 2).replace(whole, '"$1": $2.0')}\n`;
}

/**
 * Writes a model's own weights (not its adapters) with its configuration. Each file is written whole or not at all,
 * `config.json` last; weights in the folder that are not part of the model any more are removed.
 * @throws FileFormatError for a full disk and the like; ConfigError for quantised weights
 */
export async function saveModel(
  model: BackboneModel,
  files: FileSystem,
  folder: string,
  options: SaveOptions = {},
): Promise<void> {
  checkSavable(model, folder, options.dtype);
  const entries = entriesOf(model, options.dtype);
  const shards = shardsOf(model, entries, options.shardBytes ?? DEFAULT_SHARD_BYTES);
  let written: Set<string>;
  if (shards.length === 1) {
    await writeSafetensors(files, joinPath(folder, WEIGHTS_FILE), entries);
    written = new Set([WEIGHTS_FILE]);
  } else {
    written = (await writeShards(model, files, folder, shards)).add(WEIGHTS_INDEX_FILE);
  }
  const config = savedConfig(model, options.dtype ?? model.matrixType);
  await files.writeAtomic(joinPath(folder, CONFIG_FILE), configText(config, model.floatKeys));
  await removeStale(files, folder, written);
}
