/**
 * A model folder's weights, whether in `model.safetensors` or in shards that `model.safetensors.index.json` lists.
 */
import { type DType, FileFormatError, type NumericArray, type Shape } from '../core/index.ts';
import { type FileSystem, joinPath } from './files.ts';
import { describe, isRecord, parseJsonObject } from './json.ts';
import {
  findTensor,
  openSafetensors,
  type SafetensorsFile,
  type StoredPlace,
  type TensorSource,
} from './safetensors.ts';
import type { TensorInfo } from './safetensors-header.ts';

export const WEIGHTS_FILE = 'model.safetensors';
export const WEIGHTS_INDEX_FILE = 'model.safetensors.index.json';

/** How to turn a pickle into safetensors; a pickle can run any code, so nothing here opens one. */
export const PICKLE_REMEDY = [
  'convert it where you trust it: python -c "import torch; from safetensors.torch import save_file;',
  "w = torch.load('pytorch_model.bin', map_location='cpu', weights_only=True);",
  "save_file({k: v.clone().contiguous() for k, v in w.items()}, 'model.safetensors', {'format': 'pt'})\",",
  'or use a repository with safetensors, such as the one whose id ends in -hf (state-spaces/mamba-130m-hf)',
].join(' ');

/** Whether a file name is that of a pickled checkpoint. */
export const isPickleName = (name: string): boolean =>
  /\.(bin|pt|pth|ckpt|pkl)$/i.test(name) && name !== 'training_args.bin';

/** Shards seen as one source. */
class ShardedCheckpoint implements TensorSource {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;

  constructor(
    readonly path: string,
    private readonly shards: readonly SafetensorsFile[],
    private readonly owner: ReadonlyMap<string, SafetensorsFile>,
  ) {
    this.tensors = new Map([...owner].map(([name, shard]) => [name, shard.info(name)]));
    this.metadata = shards[0]?.metadata ?? {};
  }

  private shardOf(name: string): SafetensorsFile {
    this.info(name);
    return this.owner.get(name)!;
  }

  fileOf(name: string): string {
    return this.owner.get(name)?.path ?? this.path;
  }

  info(name: string, shape?: Shape): TensorInfo {
    return findTensor(this, name, shape);
  }

  async read(name: string): Promise<Uint8Array> {
    return this.shardOf(name).read(name);
  }

  async readInto(name: string, target: Uint8Array): Promise<void> {
    await this.shardOf(name).readInto(name, target);
  }

  place(name: string): StoredPlace | undefined {
    return this.shardOf(name).place(name);
  }

  stream(name: string, chunkBytes?: number): AsyncIterable<Uint8Array> {
    return this.shardOf(name).stream(name, chunkBytes);
  }

  async readAs(name: string, dtype: DType): Promise<NumericArray> {
    return this.shardOf(name).readAs(name, dtype);
  }

  async close(): Promise<void> {
    await Promise.all(this.shards.map((shard) => shard.close()));
  }
}

/**
 * The `weight_map` of an index: tensor name to shard file name.
 * @throws FileFormatError if it is not one, or names files outside of its folder
 */
export function parseWeightMap(file: string, text: string): Map<string, string> {
  const map = parseJsonObject(file, text).weight_map;
  if (!isRecord(map) || Object.keys(map).length === 0) {
    const problem = `weight_map must map tensor names to files, got ${describe(map)}`;
    throw new FileFormatError(file, problem, 'fetch or write it again');
  }
  for (const [name, shard] of Object.entries(map)) {
    if (typeof shard === 'string' && /^[^/\\]+\.safetensors$/.test(shard)) continue;
    const problem = `weight_map: tensor ${describe(name)}: expected the name of a .safetensors file, got ${describe(shard)}`;
    throw new FileFormatError(file, problem, 'fetch or write it again');
  }
  return new Map(Object.entries(map as Record<string, string>));
}

async function openShards(files: FileSystem, folder: string): Promise<TensorSource> {
  const index = joinPath(folder, WEIGHTS_INDEX_FILE);
  const weightMap = parseWeightMap(index, await files.readText(index));
  const names = [...new Set(weightMap.values())].sort();
  const shards = new Map<string, SafetensorsFile>();
  try {
    for (const name of names) {
      const path = joinPath(folder, name);
      if (!(await files.exists(path))) {
        const missing = `missing shard, one of ${names.length} that ${WEIGHTS_INDEX_FILE} lists`;
        throw new FileFormatError(path, missing, 'fetch the model again');
      }
      shards.set(name, await openSafetensors(files, path));
    }
    return new ShardedCheckpoint(folder, [...shards.values()], ownersOf(index, weightMap, shards));
  } catch (error) {
    await Promise.all([...shards.values()].map((shard) => shard.close()));
    throw error;
  }
}

/** Shard of each tensor: the one that the index names, or the one that has a tensor which the index omits. */
function ownersOf(
  index: string,
  weightMap: ReadonlyMap<string, string>,
  shards: ReadonlyMap<string, SafetensorsFile>,
): Map<string, SafetensorsFile> {
  const owner = new Map<string, SafetensorsFile>();
  for (const [name, file] of weightMap) {
    const shard = shards.get(file)!;
    if (!shard.tensors.has(name)) {
      const problem = `tensor ${describe(name)} is not in ${file}, where weight_map says it is`;
      throw new FileFormatError(index, problem, 'fetch the model again');
    }
    owner.set(name, shard);
  }
  for (const shard of shards.values()) {
    for (const name of shard.tensors.keys()) {
      if (owner.has(name) && !weightMap.has(name)) {
        throw new FileFormatError(index, `tensor ${describe(name)} is in two shards`, 'fetch the model again');
      }
      if (!owner.has(name)) owner.set(name, shard);
    }
  }
  return owner;
}

/**
 * Opens the weights of a model folder, or a `.safetensors` file by itself.
 * @throws FileFormatError if there are none (with the way out where there is a pickle), a shard is missing, or a file
 * is not what it should be
 */
export async function openCheckpoint(files: FileSystem, path: string): Promise<TensorSource> {
  if (path.endsWith('.safetensors')) return openSafetensors(files, path);
  const status = await files.status(path);
  if (!status) throw new FileFormatError(path, 'no such folder', 'check the path');
  if (!status.isFolder) throw new FileFormatError(path, 'not a folder', 'give the folder that holds config.json');
  const whole = joinPath(path, WEIGHTS_FILE);
  if (await files.exists(whole)) return openSafetensors(files, whole);
  if (await files.exists(joinPath(path, WEIGHTS_INDEX_FILE))) return openShards(files, path);
  const names = await files.list(path);
  const pickle = names.find(isPickleName);
  if (pickle) {
    throw new FileFormatError(joinPath(path, pickle), 'weights as a PyTorch pickle, which can run code', PICKLE_REMEDY);
  }
  const found = names.filter((name) => name.endsWith('.safetensors'));
  const has = found.length ? `it has ${found.join(', ')}` : `it has ${names.slice(0, 8).join(', ') || 'nothing'}`;
  const remedy = 'give the folder of a model, or a .safetensors file by its path';
  throw new FileFormatError(path, `no ${WEIGHTS_FILE} or ${WEIGHTS_INDEX_FILE} (${has})`, remedy);
}
