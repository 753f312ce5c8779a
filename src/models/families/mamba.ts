/**
 * Mamba (Gu & Dao 2023) and Falcon-Mamba (Zuo et al. 2024): layers of one mixer each (mixers/mamba.ts). config.json comes in
 * two dialects, Hugging Face's (`model_type: mamba` or `falcon_mamba`) and the authors' own (`d_model`, `n_layer`, `ssm_cfg`;
 * no `model_type`). Both become one object with Hugging Face's names in camel case.
 */
import { z } from 'zod';
import { parseStrict } from '../../io/index.ts';
import { normal, uniform } from '../checkpoint/table.ts';
import { mambaMixer } from '../mixers/mamba.ts';
import type { Family, LanguagePlan } from './family.ts';
import { type CommonConfig, commonFields, commonKeys, layerCount, positive, size, tokenIdKeys } from './fields.ts';
import { MAMBA_GGUF } from './mamba-gguf.ts';

const MODEL_TYPES = ['mamba', 'falcon_mamba'] as const;
type MambaType = (typeof MODEL_TYPES)[number];

export interface MambaConfig extends CommonConfig {
  modelType: MambaType;
  stateSize: number;
  convKernel: number;
  intermediateSize: number;
  timeStepRank: number;
  /** Biases of in_proj and out_proj; null where the file does not say: the checkpoint shows it. */
  useBias: boolean | null;
  /** Bias of the convolution; null where the file does not say. */
  useConvBias: boolean | null;
  layerNormEpsilon: number;
  residualInFp32: boolean;
  /** Falcon-Mamba normalises B, C and the step's low-rank input with this epsilon; null elsewhere. */
  mixerRmsEps: number | null;
  /** First steps of a new model: smallest, largest, lower bound and scale. */
  timeStepMin: number;
  timeStepMax: number;
  timeStepFloor: number;
  timeStepScale: number;
}

const rank = (value: number | 'auto', hiddenSize: number) => (value === 'auto' ? Math.ceil(hiddenSize / 16) : value);
const stepRank = z.union([z.literal('auto'), size]).default('auto');

/** Hugging Face's dialect. Defaults are those of the class, except for biases and the tie, which no default decides. */
const HUGGING_FACE = z.looseObject({
  ...commonKeys,
  state_size: size.default(16),
  conv_kernel: size.default(4),
  expand: positive.default(2),
  intermediate_size: size.nullish(),
  time_step_rank: stepRank,
  use_bias: z.boolean().nullish(),
  use_conv_bias: z.boolean().nullish(),
  hidden_act: z.literal('silu').default('silu'),
  layer_norm_epsilon: positive.default(1e-5),
  residual_in_fp32: z.boolean().default(true),
  mixer_rms_eps: positive.default(1e-6),
  time_step_min: positive.default(0.001),
  time_step_max: positive.default(0.1),
  time_step_floor: positive.default(1e-4),
  time_step_scale: positive.default(1),
});

/** The authors' dialect (state-spaces/mamba, config_mamba.py); what Mamba-1 does not have must be off. */
const ORIGINAL = z.looseObject({
  d_model: size,
  n_layer: layerCount,
  vocab_size: size,
  d_intermediate: z.literal(0).default(0),
  attn_layer_idx: z.array(z.int()).length(0).default([]),
  ssm_cfg: z
    .looseObject({
      layer: z.literal('Mamba1').default('Mamba1'),
      d_state: size.default(16),
      d_conv: size.default(4),
      expand: positive.default(2),
      dt_rank: stepRank,
      bias: z.boolean().default(false),
      conv_bias: z.boolean().default(true),
      dt_min: positive.default(0.001),
      dt_max: positive.default(0.1),
      dt_init_floor: positive.default(1e-4),
      dt_scale: positive.default(1),
    })
    .prefault({}),
  rms_norm: z.literal(true).default(true),
  residual_in_fp32: z.boolean().default(true),
  pad_vocab_size_multiple: size.default(8),
  tie_embeddings: z.boolean().default(true),
});

/** Reads Hugging Face's dialect. */
function parseHuggingFace(json: Record<string, unknown>, modelType: MambaType, file: string): MambaConfig {
  const c = parseStrict(HUGGING_FACE, json, file);
  return {
    ...commonFields(c, json),
    modelType,
    stateSize: c.state_size,
    convKernel: c.conv_kernel,
    // An explicit width wins over `expand`: falcon-mamba-7b has expand 16 beside a width of twice its hidden size.
    intermediateSize: c.intermediate_size ?? Math.trunc(c.expand * c.hidden_size),
    timeStepRank: rank(c.time_step_rank, c.hidden_size),
    useBias: c.use_bias ?? null,
    useConvBias: c.use_conv_bias ?? null,
    layerNormEpsilon: c.layer_norm_epsilon,
    residualInFp32: c.residual_in_fp32,
    mixerRmsEps: modelType === 'falcon_mamba' ? c.mixer_rms_eps : null,
    timeStepMin: c.time_step_min,
    timeStepMax: c.time_step_max,
    timeStepFloor: c.time_step_floor,
    timeStepScale: c.time_step_scale,
  };
}

/** Whether a file without a model type is in the authors' dialect. */
const isOriginal = (json: Record<string, unknown>): boolean => 'd_model' in json && 'n_layer' in json;

/** Reads the authors' dialect. */
function parseOriginal(json: Record<string, unknown>, file: string): MambaConfig {
  const c = parseStrict(ORIGINAL, json, file);
  const ssm = c.ssm_cfg;
  return {
    modelType: 'mamba',
    vocabSize: Math.ceil(c.vocab_size / c.pad_vocab_size_multiple) * c.pad_vocab_size_multiple,
    hiddenSize: c.d_model,
    numHiddenLayers: c.n_layer,
    stateSize: ssm.d_state,
    convKernel: ssm.d_conv,
    intermediateSize: Math.trunc(ssm.expand * c.d_model),
    timeStepRank: rank(ssm.dt_rank, c.d_model),
    useBias: ssm.bias,
    useConvBias: ssm.conv_bias,
    layerNormEpsilon: 1e-5,
    residualInFp32: c.residual_in_fp32,
    tieWordEmbeddings: c.tie_embeddings,
    mixerRmsEps: null,
    initializerRange: 0.02,
    timeStepMin: ssm.dt_min,
    timeStepMax: ssm.dt_max,
    timeStepFloor: ssm.dt_init_floor,
    timeStepScale: ssm.dt_scale,
    // The authors' models use the tokenizer of GPT-NeoX, whose <|endoftext|> is 0.
    eosTokenIds: [0],
    bosTokenId: 0,
    padTokenId: 0,
    source: {},
  };
}

function toJson(config: MambaConfig): Record<string, unknown> {
  return {
    architectures: [config.modelType === 'mamba' ? 'MambaForCausalLM' : 'FalconMambaForCausalLM'],
    expand: config.intermediateSize / config.hiddenSize,
    hidden_act: 'silu',
    rescale_prenorm_residual: false,
    ...config.source,
    model_type: config.modelType,
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    num_hidden_layers: config.numHiddenLayers,
    state_size: config.stateSize,
    conv_kernel: config.convKernel,
    intermediate_size: config.intermediateSize,
    time_step_rank: config.timeStepRank,
    use_bias: config.useBias ?? false,
    use_conv_bias: config.useConvBias ?? true,
    layer_norm_epsilon: config.layerNormEpsilon,
    residual_in_fp32: config.residualInFp32,
    tie_word_embeddings: config.tieWordEmbeddings ?? true,
    ...(config.mixerRmsEps === null ? {} : { mixer_rms_eps: config.mixerRmsEps }),
    initializer_range: config.initializerRange,
    time_step_min: config.timeStepMin,
    time_step_max: config.timeStepMax,
    time_step_floor: config.timeStepFloor,
    time_step_scale: config.timeStepScale,
    ...tokenIdKeys(config),
  };
}

const TABLE = 'backbone.embeddings';
const HEAD = 'lm_head';

/** Resolves keys that the file omits, from the checkpoint. A new model has the biases of the authors' models. */
function resolve(config: MambaConfig, has?: (name: string) => boolean): MambaConfig {
  return {
    ...config,
    useBias: config.useBias ?? has?.('backbone.layers.0.mixer.in_proj.bias') ?? false,
    useConvBias: config.useConvBias ?? has?.('backbone.layers.0.mixer.conv1d.bias') ?? true,
    tieWordEmbeddings: config.tieWordEmbeddings ?? !has?.(`${HEAD}.weight`),
  };
}

function plan(c: MambaConfig): LanguagePlan {
  const { hiddenSize, numHiddenLayers, timeStepMin: min, timeStepMax: max, timeStepFloor: floor } = c;
  const mixer = mambaMixer({
    hiddenSize,
    innerSize: c.intermediateSize,
    stateSize: c.stateSize,
    stepRank: c.timeStepRank,
    conv: { kernel: c.convKernel, hasBias: c.useConvBias !== false },
    hasBias: c.useBias ?? false,
    selectionEps: c.mixerRmsEps,
    dropout: 0,
    steps: { min, max, floor, scale: c.timeStepScale },
  });
  return {
    vocabSize: c.vocabSize,
    contextLength: null,
    table: { module: TABLE, initial: normal(c.initializerRange) },
    head: { module: HEAD, initial: uniform(1 / Math.sqrt(hiddenSize)) },
    backbone: {
      hiddenSize,
      layers: 'backbone.layers',
      blocks: Array.from({ length: numHiddenLayers }, () => ({ branches: [{ norm: 'norm', module: 'mixer', mixer }] })),
      finalNorm: 'backbone.norm_f',
      norm: { kind: 'rms', eps: c.layerNormEpsilon },
      streamInF32: c.residualInFp32,
    },
  };
}

function variants(name: string): string[] {
  const names = [name, name.replace('backbone.embeddings.', 'backbone.embedding.')]; // the authors' singular
  return [...new Set(names.flatMap((n) => [n, `model.${n}`, n.replace(/^backbone\./, 'model.')]))];
}

export const MAMBA: Family<MambaConfig> = {
  modelTypes: MODEL_TYPES,
  keys: ['model_type', ...Object.keys(HUGGING_FACE.shape)],
  floatKeys: [
    'time_step_scale',
    'time_step_min',
    'time_step_max',
    'time_step_floor',
    'initializer_range',
    'layer_norm_epsilon',
    'mixer_rms_eps',
  ],
  claims: isOriginal,
  parse(json, file) {
    const type = MODEL_TYPES.find((name) => name === json.model_type);
    return type ? parseHuggingFace(json, type, file) : parseOriginal(json, file);
  },
  toJson,
  resolve,
  plan,
  names: { variants, isIgnored: () => false },
  gguf: MAMBA_GGUF,
};
