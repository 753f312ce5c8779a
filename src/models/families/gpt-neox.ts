/**
 * GPT-NeoX (Black et al. 2022, "GPT-NeoX-20B: An Open-Source Autoregressive Language Model"), the architecture of Pythia
 * (Biderman et al. 2023): a Transformer whose attention and feed-forward part read the same stream, or, without the parallel
 * residual, one after the other. Rotary settings are taken as transformers wrote them before version 5 (`rotary_pct`,
 * `rotary_emb_base`) and since (`rope_parameters`). Dropout, which Pythia does without, is not read.
 */
import { z } from 'zod';
import { ConfigError } from '../../core/index.ts';
import { parseStrict } from '../../io/index.ts';
import type { BlockPlan } from '../block.ts';
import { constant, normal } from '../checkpoint/table.ts';
import { attentionMixer } from '../mixers/attention.ts';
import { ACTIVATIONS, type Activation, mlpMixer } from '../mixers/mlp.ts';
import type { Family, LanguagePlan } from './family.ts';
import { type CommonConfig, commonFields, commonKeys, positive, size, tokenIdKeys } from './fields.ts';

const ACTIVATION_NAMES = Object.keys(ACTIVATIONS) as [Activation, ...Activation[]];

export interface GptNeoXConfig extends CommonConfig {
  modelType: 'gpt_neox';
  numAttentionHeads: number;
  /** Width of the feed-forward part. */
  intermediateSize: number;
  hiddenAct: Activation;
  /** Share of each head's elements, the first ones, that is rotated. */
  rotaryPct: number;
  /** Base of the rotary angles. */
  ropeTheta: number;
  /** Whether attention and feed-forward part read the same stream, or one after the other. */
  useParallelResidual: boolean;
  /** Biases of the attention's linear maps. */
  attentionBias: boolean;
  layerNormEps: number;
  /** Positions that the model was trained for; longer texts run, but not as well. */
  maxPositionEmbeddings: number;
}

const fraction = z.number().positive().max(1);
/** Scaled kinds of rotary embeddings are other models. */
const ropeType = z.literal('default').nullish();

const HUGGING_FACE = z.looseObject({
  ...commonKeys,
  num_attention_heads: size,
  intermediate_size: size,
  hidden_act: z.enum(ACTIVATION_NAMES).default('gelu'),
  rotary_pct: fraction.nullish(),
  partial_rotary_factor: fraction.nullish(),
  rotary_emb_base: positive.nullish(),
  rope_theta: positive.nullish(),
  rope_parameters: z
    .looseObject({ rope_type: ropeType, partial_rotary_factor: fraction.nullish(), rope_theta: positive.nullish() })
    .nullish(),
  rope_scaling: z.looseObject({ rope_type: ropeType, type: ropeType }).nullish(),
  use_parallel_residual: z.boolean().default(true),
  attention_bias: z.boolean().default(true),
  layer_norm_eps: positive.default(1e-5),
  max_position_embeddings: size.default(2048),
});

/** Elements of each head that are rotated: an even number, the first ones. */
export const rotatedSize = ({ hiddenSize, numAttentionHeads, rotaryPct }: GptNeoXConfig): number =>
  Math.trunc((hiddenSize / numAttentionHeads) * rotaryPct);

/** @throws ConfigError for heads of unequal size, or half a pair of rotated elements */
function checkHeads(config: GptNeoXConfig, file: string): GptNeoXConfig {
  const { hiddenSize, numAttentionHeads: heads, rotaryPct } = config;
  if (hiddenSize % heads !== 0) {
    const what = `hidden_size ${hiddenSize} is no multiple of num_attention_heads ${heads}`;
    throw new ConfigError(`${file}: ${what}; correct one of them`);
  }
  const rotated = rotatedSize(config);
  if (rotated >= 2 && rotated % 2 === 0) return config;
  const what = `rotary_pct ${rotaryPct} of the ${hiddenSize / heads} elements of a head is ${rotated}`;
  throw new ConfigError(`${file}: ${what}; it must be an even number from 2`);
}

function parse(json: Record<string, unknown>, file: string): GptNeoXConfig {
  const c = parseStrict(HUGGING_FACE, json, file);
  const rope = c.rope_parameters;
  const config: GptNeoXConfig = {
    ...commonFields(c, json),
    modelType: 'gpt_neox',
    numAttentionHeads: c.num_attention_heads,
    intermediateSize: c.intermediate_size,
    hiddenAct: c.hidden_act,
    rotaryPct: rope?.partial_rotary_factor ?? c.partial_rotary_factor ?? c.rotary_pct ?? 0.25,
    ropeTheta: rope?.rope_theta ?? c.rope_theta ?? c.rotary_emb_base ?? 10_000,
    useParallelResidual: c.use_parallel_residual,
    attentionBias: c.attention_bias,
    layerNormEps: c.layer_norm_eps,
    maxPositionEmbeddings: c.max_position_embeddings,
  };
  return checkHeads(config, file);
}

/** The keys of the older dialect, which both read, unless the source states the rotation in the newer one. */
function rotaryKeys({ source, rotaryPct, ropeTheta }: GptNeoXConfig): Record<string, unknown> {
  if (source.rope_parameters) return {};
  return {
    ...(source.partial_rotary_factor == null && { rotary_pct: rotaryPct }),
    ...(source.rope_theta == null && { rotary_emb_base: ropeTheta }),
  };
}

function toJson(config: GptNeoXConfig): Record<string, unknown> {
  return {
    architectures: ['GPTNeoXForCausalLM'],
    ...config.source,
    model_type: config.modelType,
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    num_hidden_layers: config.numHiddenLayers,
    num_attention_heads: config.numAttentionHeads,
    intermediate_size: config.intermediateSize,
    hidden_act: config.hiddenAct,
    ...rotaryKeys(config),
    use_parallel_residual: config.useParallelResidual,
    attention_bias: config.attentionBias,
    layer_norm_eps: config.layerNormEps,
    max_position_embeddings: config.maxPositionEmbeddings,
    tie_word_embeddings: config.tieWordEmbeddings ?? false,
    initializer_range: config.initializerRange,
    ...tokenIdKeys(config),
  };
}

const TABLE = 'gpt_neox.embed_in';
const HEAD = 'embed_out';

function blockOf(c: GptNeoXConfig): BlockPlan {
  const { hiddenSize, attentionBias, initializerRange: range } = c;
  const linear = (std: number, hasBias: boolean) => ({ weight: normal(std), bias: hasBias ? constant(0) : null });
  // Two additions to the residual stream per layer: its variance is kept by the factor.
  const outputs = range / Math.sqrt(2 * c.numHiddenLayers);
  const attention = attentionMixer({
    hiddenSize,
    heads: c.numAttentionHeads,
    names: { qkv: 'query_key_value', out: 'dense' },
    order: 'by-head',
    isCausal: true,
    rotary: { size: rotatedSize(c), base: c.ropeTheta },
    initial: { qkv: linear(range, attentionBias), out: linear(outputs, attentionBias) },
  });
  const mlp = mlpMixer({
    hiddenSize,
    innerSize: c.intermediateSize,
    activation: c.hiddenAct,
    names: { up: 'dense_h_to_4h', down: 'dense_4h_to_h' },
    initial: { up: linear(range, true), down: linear(outputs, true) },
    dropout: 0,
  });
  return {
    branches: [
      { norm: 'input_layernorm', module: 'attention', mixer: attention },
      { norm: 'post_attention_layernorm', module: 'mlp', mixer: mlp },
    ],
    isParallel: c.useParallelResidual,
  };
}

function plan(c: GptNeoXConfig): LanguagePlan {
  const block = blockOf(c);
  const initial = normal(c.initializerRange);
  return {
    vocabSize: c.vocabSize,
    contextLength: c.maxPositionEmbeddings,
    table: { module: TABLE, initial },
    head: { module: HEAD, initial },
    backbone: {
      hiddenSize: c.hiddenSize,
      layers: 'gpt_neox.layers',
      blocks: Array.from({ length: c.numHiddenLayers }, () => block),
      finalNorm: 'gpt_neox.final_layer_norm',
      norm: { kind: 'layer', eps: c.layerNormEps },
      streamInF32: true,
      normsFirst: true,
    },
  };
}

export const GPT_NEOX: Family<GptNeoXConfig> = {
  modelTypes: ['gpt_neox'],
  keys: ['model_type', ...Object.keys(HUGGING_FACE.shape)],
  floatKeys: ['initializer_range', 'layer_norm_eps', 'rotary_pct', 'partial_rotary_factor'],
  parse,
  toJson,
  // A new model has a head of its own.
  resolve: (config, has) => ({
    ...config,
    tieWordEmbeddings: config.tieWordEmbeddings ?? (has ? !has(`${HEAD}.weight`) : false),
  }),
  plan,
  names: {
    variants: (name) => [name, name.replace(/^gpt_neox\./, '')], // the model without its head is saved without the prefix
    // What older versions of transformers stored beside the weights: the causal mask and the angles' frequencies.
    isIgnored: (name) => /(attention\.bias|attention\.masked_bias|rotary_emb\.(original_)?inv_freq)$/.test(name),
  },
};
