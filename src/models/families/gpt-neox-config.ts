/**
 * The configuration of a GPT-NeoX model (Pythia), with the rotary settings as transformers wrote them before version 5
 * (`rotary_pct`, `rotary_emb_base`) and since (`rope_parameters`). Dropout, which Pythia does without, is not read.
 */
import { z } from 'zod';
import { ConfigError } from '../../core/index.ts';
import { parseStrict } from '../../io/index.ts';
import { type CommonConfig, commonFields, commonKeys, positive, size, tokenIdKeys } from './fields.ts';

/** `gelu_new`, `gelu_fast` and `gelu_pytorch_tanh` are one function, the tanh form. */
export const ACTIVATIONS = ['gelu', 'gelu_new', 'gelu_fast', 'gelu_pytorch_tanh', 'relu', 'silu'] as const;

export interface GptNeoXConfig extends CommonConfig {
  modelType: 'gpt_neox';
  numAttentionHeads: number;
  /** Width of the feed-forward part. */
  intermediateSize: number;
  hiddenAct: (typeof ACTIVATIONS)[number];
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
  hidden_act: z.enum(ACTIVATIONS).default('gelu'),
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

/** Keys of `config.json` that Krait uses. */
export const GPT_NEOX_KEYS: readonly string[] = ['model_type', ...Object.keys(HUGGING_FACE.shape)];

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

/** Reads Hugging Face's dialect. @throws ConfigError */
export function parseGptNeoX(json: Record<string, unknown>, file: string): GptNeoXConfig {
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

/** The configuration in Hugging Face's dialect, after the keys of its source that Krait does not use. */
export function gptNeoXJson(config: GptNeoXConfig): Record<string, unknown> {
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
