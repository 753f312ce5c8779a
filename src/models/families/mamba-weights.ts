/**
 * The tensors of a Mamba checkpoint. D hidden, E inner channels, N state, R step rank, K taps of the convolution,
 * V vocabulary.
 */
import type { HostRandom, Shape } from '../../core/index.ts';
import { type CheckpointNames, constant, fill, normal, uniform, type WeightRow } from '../checkpoint/table.ts';
import type { MambaConfig } from './mamba-config.ts';

export const HEAD_NAME = 'lm_head.weight';
export const EMBEDDING_NAME = 'backbone.embeddings.weight';

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
export function mambaWeights(config: MambaConfig): WeightRow[] {
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

function variants(name: string): string[] {
  const names = [name, name.replace('backbone.embeddings.', 'backbone.embedding.')]; // the authors' singular
  return [...new Set(names.flatMap((n) => [n, `model.${n}`, n.replace(/^backbone\./, 'model.')]))];
}

export const mambaNames: CheckpointNames = { head: HEAD_NAME, variants, isIgnored: () => false };

/**
 * Settings that the file leaves open, decided by what the checkpoint holds; those of a new model without one.
 * @param has whether the checkpoint holds a weight
 */
export function settleMamba(config: MambaConfig, has?: (name: string) => boolean): MambaConfig {
  return {
    ...config,
    useBias: config.useBias ?? has?.('backbone.layers.0.mixer.in_proj.bias') ?? false,
    useConvBias: config.useConvBias ?? has?.('backbone.layers.0.mixer.conv1d.bias') ?? true,
    tieWordEmbeddings: config.tieWordEmbeddings ?? !has?.(HEAD_NAME),
  };
}
