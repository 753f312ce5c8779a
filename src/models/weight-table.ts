/**
 * The tensors of a Mamba checkpoint: name, shape, what each is for. Loading, saving and starting from scratch walk
 * this one table. D hidden, E inner channels, N state, R step rank, K taps of the convolution, V vocabulary.
 */
import { CheckpointError, type DType, type HostRandom, type Shape, sizeOf } from '../core/index.ts';
import type { TensorSource } from '../io/index.ts';
import type { MambaConfig } from './config.ts';

export const HEAD_NAME = 'lm_head.weight';
export const EMBEDDING_NAME = 'backbone.embeddings.weight';

export interface WeightRow {
  readonly name: string;
  readonly shape: Shape;
  /** Feeds a matrix product: kept in the requested storage type. The rest (recurrence, norms, taps) stays f32. */
  readonly isMatrix: boolean;
  /** Values of a model that starts from scratch, as in the authors' code. */
  readonly initial: (random: HostRandom, size: number) => Float32Array;
}

/** The element type that a weight is stored in, where matrices are stored in `dtype`. */
export const storageType = (row: WeightRow, dtype: DType): DType => (row.isMatrix || dtype === 'f64' ? dtype : 'f32');

const fill = (size: number, value: (i: number) => number) => Float32Array.from({ length: size }, (_, i) => value(i));
const constant = (value: number) => (_: HostRandom, size: number) => fill(size, () => value);
const uniform = (bound: number) => (random: HostRandom, size: number) =>
  fill(size, () => (2 * random.uniform() - 1) * bound);
const normal = (std: number) => (random: HostRandom, size: number) => fill(size, () => random.normal() * std);

/** Bias whose softplus is a step drawn log-uniformly between the configured bounds. */
const stepBias = (c: MambaConfig) => (random: HostRandom, size: number) =>
  fill(size, () => {
    const [low, high] = [Math.log(c.timeStepMin), Math.log(c.timeStepMax)];
    const step = Math.max(c.timeStepFloor, Math.exp(low + random.uniform() * (high - low)));
    return step + Math.log(-Math.expm1(-step));
  });

function layerRows(config: MambaConfig, layer: number): WeightRow[] {
  const { hiddenSize: D, intermediateSize: E, stateSize: N, timeStepRank: R, convKernel: K } = config;
  const prefix = `backbone.layers.${layer}.`;
  const row = (name: string, shape: Shape, initial: WeightRow['initial'], isMatrix = false): WeightRow => ({
    name: `${prefix}${name}`,
    shape,
    isMatrix,
    initial,
  });
  /** Uniform +-1/sqrt(inputs): PyTorch's own choice for linear layers and convolutions. */
  const spread = (inputs: number, factor = 1) => uniform(factor / Math.sqrt(inputs));
  const rows = [
    row('norm.weight', [D], constant(1)),
    row('mixer.in_proj.weight', [2 * E, D], spread(D), true),
    row('mixer.conv1d.weight', [E, 1, K], spread(K)),
    row('mixer.x_proj.weight', [R + 2 * N, E], spread(E), true),
    row('mixer.dt_proj.weight', [E, R], spread(R, config.timeStepScale), true),
    row('mixer.dt_proj.bias', [E], stepBias(config)),
    row('mixer.A_log', [E, N], (_, size) => fill(size, (i) => Math.log((i % N) + 1))),
    row('mixer.D', [E], constant(1)),
    // One addition to the residual stream per layer: its variance is kept by the factor.
    row('mixer.out_proj.weight', [D, E], spread(E, 1 / Math.sqrt(config.numHiddenLayers)), true),
  ];
  if (config.useConvBias !== false) rows.push(row('mixer.conv1d.bias', [E], spread(K)));
  if (config.useBias) {
    rows.push(row('mixer.in_proj.bias', [2 * E], constant(0)), row('mixer.out_proj.bias', [D], constant(0)));
  }
  return rows;
}

/** Every tensor of a model, in the order of computation. A tied head is not there. */
export function weightTable(config: MambaConfig): WeightRow[] {
  const { vocabSize: V, hiddenSize: D } = config;
  const table: WeightRow[] = [
    { name: EMBEDDING_NAME, shape: [V, D], isMatrix: true, initial: normal(config.initializerRange) },
  ];
  for (let layer = 0; layer < config.numHiddenLayers; layer++) table.push(...layerRows(config, layer));
  table.push({ name: 'backbone.norm_f.weight', shape: [D], isMatrix: false, initial: constant(1) });
  if (config.tieWordEmbeddings === false) {
    table.push({ name: HEAD_NAME, shape: [V, D], isMatrix: true, initial: uniform(1 / Math.sqrt(D)) });
  }
  return table;
}

/** Elements of all tensors of a model. */
export const parameterCount = (config: MambaConfig): number =>
  weightTable(config).reduce((sum, row) => sum + sizeOf(row.shape), 0);

/** Other names that a tensor goes by in checkpoints, the first that is there counts. */
function namesOf(name: string): string[] {
  const names = [name, name.replace('backbone.embeddings.', 'backbone.embedding.')]; // the authors' singular
  return [...new Set(names.flatMap((n) => [n, `model.${n}`, n.replace(/^backbone\./, 'model.')]))];
}

/** Settings that the file leaves open, decided by what the checkpoint holds. */
export function settleConfig(config: MambaConfig, source: TensorSource): MambaConfig {
  const has = (name: string) => namesOf(name).some((n) => source.tensors.has(n));
  return {
    ...config,
    useBias: config.useBias ?? has('backbone.layers.0.mixer.in_proj.bias'),
    useConvBias: config.useConvBias ?? has('backbone.layers.0.mixer.conv1d.bias'),
    tieWordEmbeddings: config.tieWordEmbeddings ?? !has(HEAD_NAME),
  };
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
 * @throws CheckpointError naming the file, the tensor, what was expected and what is there
 */
export function matchWeights(table: readonly WeightRow[], source: TensorSource): StoredWeight[] {
  const unclaimed = new Set(source.tensors.keys());
  const matched = table.map((row) => {
    const storedName = namesOf(row.name).find((name) => source.tensors.has(name)) ?? row.name;
    const { dtype } = source.info(storedName, row.shape);
    if (!LOADABLE.includes(dtype)) {
      const remedy = 'convert the checkpoint';
      throw new CheckpointError(storedName, `one of ${LOADABLE.join(', ')}`, dtype, source.fileOf(storedName), remedy);
    }
    unclaimed.delete(storedName);
    return { row, storedName };
  });
  // A tied head may be stored as well; it is the embedding again.
  for (const name of namesOf(HEAD_NAME)) unclaimed.delete(name);
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
