/**
 * The tensors of a GPT-NeoX checkpoint. D hidden, F width of the feed-forward part, V vocabulary. The rows of
 * query_key_value are, head by head, those of its query, its key and its value.
 */
import type { Shape } from '../../core/index.ts';
import { type CheckpointNames, constant, normal, type WeightRow } from '../checkpoint/table.ts';
import type { GptNeoXConfig } from './gpt-neox-config.ts';

export const GPT_NEOX_HEAD = 'embed_out.weight';
export const GPT_NEOX_EMBEDDING = 'gpt_neox.embed_in.weight';

function layerRows(config: GptNeoXConfig, layer: number): WeightRow[] {
  const { hiddenSize: D, intermediateSize: F, attentionBias, initializerRange } = config;
  const row = (name: string, shape: Shape, initial: WeightRow['initial'], isMatrix = false): WeightRow => ({
    name: `gpt_neox.layers.${layer}.${name}`,
    shape,
    isMatrix,
    initial,
  });
  const norm = (name: string) => [row(`${name}.weight`, [D], constant(1)), row(`${name}.bias`, [D], constant(0))];
  const linear = (name: string, shape: Shape, std: number, hasBias = true) => [
    row(`${name}.weight`, shape, normal(std), true),
    ...(hasBias ? [row(`${name}.bias`, [shape[0]], constant(0))] : []),
  ];
  // Two additions to the residual stream per layer: its variance is kept by the factor.
  const outputs = initializerRange / Math.sqrt(2 * config.numHiddenLayers);
  return [
    ...norm('input_layernorm'),
    ...norm('post_attention_layernorm'),
    ...linear('attention.query_key_value', [3 * D, D], initializerRange, attentionBias),
    ...linear('attention.dense', [D, D], outputs, attentionBias),
    ...linear('mlp.dense_h_to_4h', [F, D], initializerRange),
    ...linear('mlp.dense_4h_to_h', [D, F], outputs),
  ];
}

/** Every tensor of a model, in the order of computation. A tied head is not there. */
export function gptNeoXWeights(config: GptNeoXConfig): WeightRow[] {
  const { vocabSize: V, hiddenSize: D, numHiddenLayers, initializerRange } = config;
  const matrix = (name: string) => ({ name, shape: [V, D], isMatrix: true, initial: normal(initializerRange) });
  return [
    matrix(GPT_NEOX_EMBEDDING),
    ...Array.from({ length: numHiddenLayers }, (_, layer) => layerRows(config, layer)).flat(),
    { name: 'gpt_neox.final_layer_norm.weight', shape: [D], isMatrix: false, initial: constant(1) },
    { name: 'gpt_neox.final_layer_norm.bias', shape: [D], isMatrix: false, initial: constant(0) },
    ...(config.tieWordEmbeddings ? [] : [matrix(GPT_NEOX_HEAD)]),
  ];
}

export const gptNeoXNames: CheckpointNames = {
  head: GPT_NEOX_HEAD,
  variants: (name) => [name, name.replace(/^gpt_neox\./, '')], // the model without its head is saved without the prefix
  // What older versions of transformers stored beside the weights: the causal mask and the angles' frequencies.
  isIgnored: (name) => /(attention\.bias|attention\.masked_bias|rotary_emb\.(original_)?inv_freq)$/.test(name),
};

/**
 * The tie, which the file may leave open, decided by what the checkpoint holds; a new model has a head of its own.
 * @param has whether the checkpoint holds a weight
 */
export const settleGptNeoX = (config: GptNeoXConfig, has?: (name: string) => boolean): GptNeoXConfig => ({
  ...config,
  tieWordEmbeddings: config.tieWordEmbeddings ?? (has ? !has(GPT_NEOX_HEAD) : false),
});
