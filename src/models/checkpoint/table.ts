/**
 * The tensors of a checkpoint: name, shape and use. Loading, saving and creating a model walk one table. Mixers, norms and
 * heads write its rows.
 */
import { CheckpointError, type DType, type HostRandom, type Shape } from '../../core/index.ts';
import type { TensorSource } from '../../io/index.ts';

export interface WeightRow {
  readonly name: string;
  readonly shape: Shape;
  /**
   * True if it feeds a matrix product. Such weights have the requested storage type and weight decay. The others (recurrence,
   * norms, biases, convolutions) are f32 without decay, by the usual rule of two axes.
   */
  readonly isMatrix: boolean;
  /** First values of a new model, as in the authors' code. */
  readonly initial: (random: HostRandom, size: number) => Float32Array;
}

/** The element type that a weight is stored in, where matrices are stored in `dtype`. */
export const storageType = (row: WeightRow, dtype: DType): DType => (row.isMatrix || dtype === 'f64' ? dtype : 'f32');

/** Values one by one. */
export const fill = (size: number, value: (i: number) => number) =>
  Float32Array.from({ length: size }, (_, i) => value(i));
export const constant = (value: number) => (_: HostRandom, size: number) => fill(size, () => value);
export const uniform = (bound: number) => (random: HostRandom, size: number) =>
  fill(size, () => (2 * random.uniform() - 1) * bound);
export const normal = (std: number) => (random: HostRandom, size: number) => fill(size, () => random.normal() * std);

/** First values of a linear map. */
export interface LinearInit {
  readonly weight: WeightRow['initial'];
  /** Null for a map without bias. */
  readonly bias: WeightRow['initial'] | null;
}

/** The weight [n, k] of a linear map at a path, and its bias [n] if it has one. */
export const linearRows = (path: string, shape: Shape, { weight, bias }: LinearInit): WeightRow[] => [
  { name: `${path}.weight`, shape, isMatrix: true, initial: weight },
  ...(bias ? [{ name: `${path}.bias`, shape: [shape[0]], isMatrix: false, initial: bias }] : []),
];

/** Names of tensors in checkpoints of a family. */
export interface CheckpointNames {
  /** Possible names of a tensor. The first one in the checkpoint counts. */
  variants(name: string): readonly string[];
  /** True if a stored tensor is not a weight. It is ignored. */
  isIgnored(name: string): boolean;
}

/** A row with the name that its tensor has in the checkpoint. */
export interface StoredWeight {
  readonly row: WeightRow;
  readonly storedName: string;
}

const LOADABLE = ['F32', 'BF16', 'F16', 'F64'];

/**
 * Finds every tensor of the table in a checkpoint, and checks that nothing is missing, nothing is left over, and
 * every shape is the configuration's, before any data is read.
 * @param head weight of the output head; a tied one may be stored too, as a copy of the embedding
 * @throws CheckpointError naming the file, the tensor, what was expected and what is there
 */
export function matchWeights(
  table: readonly WeightRow[],
  source: TensorSource,
  { variants, isIgnored }: CheckpointNames,
  head: string | null = null,
): StoredWeight[] {
  const unclaimed = new Set([...source.tensors.keys()].filter((name) => !isIgnored(name)));
  const matched = table.map((row) => {
    const storedName = variants(row.name).find((name) => source.tensors.has(name)) ?? row.name;
    const { dtype } = source.info(storedName, row.shape);
    if (!LOADABLE.includes(dtype)) {
      const remedy = 'convert the checkpoint';
      throw new CheckpointError(storedName, `one of ${LOADABLE.join(', ')}`, dtype, source.fileOf(storedName), remedy);
    }
    unclaimed.delete(storedName);
    return { row, storedName };
  });
  for (const name of head === null ? [] : variants(head)) unclaimed.delete(name);
  const [extra] = unclaimed;
  if (extra !== undefined) {
    const more = unclaimed.size > 1 ? ` and ${unclaimed.size - 1} more like it` : '';
    const { shape } = source.info(extra);
    throw new CheckpointError(
      extra,
      'no such tensor in this model',
      `one of shape [${shape.join(', ')}]${more}`,
      source.fileOf(extra),
      'use the configuration that belongs to the checkpoint',
    );
  }
  return matched;
}
