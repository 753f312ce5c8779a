/**
 * `config.json` of a Mamba model, in either of its two dialects: Hugging Face's (`model_type: mamba` or
 * `falcon_mamba`) and the authors' own (`d_model`, `n_layer`, `ssm_cfg`; no `model_type`). Both become one object
 * with Hugging Face's names in camel case; from here on nothing knows the dialects.
 */
import { z } from 'zod';
import { ConfigError } from '../core/index.ts';
import { describe, parseJsonObject, parseStrict } from '../io/index.ts';

/** Model types that can be built. */
export const MODEL_TYPES = ['mamba', 'falcon_mamba'] as const;
export type ModelType = (typeof MODEL_TYPES)[number];

export interface MambaConfig {
  modelType: ModelType;
  vocabSize: number;
  hiddenSize: number;
  numHiddenLayers: number;
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
  /** Null where the file does not say: tied unless the checkpoint has a head of its own. */
  tieWordEmbeddings: boolean | null;
  /** Falcon-Mamba normalises B, C and the step's low-rank input with this epsilon; null elsewhere. */
  mixerRmsEps: number | null;
  /** Of a model that starts from scratch. */
  initializerRange: number;
  timeStepMin: number;
  timeStepMax: number;
  timeStepFloor: number;
  timeStepScale: number;
  /** End-of-text ids, none to many. */
  eosTokenIds: number[];
  bosTokenId: number | null;
  padTokenId: number | null;
  /** The file's own keys, so that those Krait does not use survive a save. Empty for the authors' dialect. */
  source: Readonly<Record<string, unknown>>;
}

const size = z.int().min(1);
/** Far more than any model has; a table of the tensors of a billion layers would fill the memory. */
const layers = size.max(10_000);
const positive = z.number().positive();
const tokenId = z.int().min(0).nullish();

const rank = (value: number | 'auto', hiddenSize: number) => (value === 'auto' ? Math.ceil(hiddenSize / 16) : value);
const stepRank = z.union([z.literal('auto'), size]).default('auto');

/** Hugging Face's dialect. Defaults are those of the class, except for biases and the tie, which no default decides. */
const HUGGING_FACE = z.looseObject({
  vocab_size: size,
  hidden_size: size,
  num_hidden_layers: layers,
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
  tie_word_embeddings: z.boolean().nullish(),
  mixer_rms_eps: positive.default(1e-6),
  initializer_range: positive.default(0.02),
  time_step_min: positive.default(0.001),
  time_step_max: positive.default(0.1),
  time_step_floor: positive.default(1e-4),
  time_step_scale: positive.default(1),
  eos_token_id: z.union([z.int().min(0), z.array(z.int().min(0))]).nullish(),
  bos_token_id: tokenId,
  pad_token_id: tokenId,
});

/** Keys of `config.json` that Krait uses. */
export const CONFIG_KEYS: readonly string[] = ['model_type', ...Object.keys(HUGGING_FACE.shape)];

/** The authors' dialect (state-spaces/mamba, config_mamba.py); what Mamba-1 does not have must be off. */
const ORIGINAL = z.looseObject({
  d_model: size,
  n_layer: layers,
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

function fromHuggingFace(json: Record<string, unknown>, modelType: ModelType, file: string): MambaConfig {
  const c = parseStrict(HUGGING_FACE, json, file);
  const eos = c.eos_token_id ?? [];
  return {
    modelType,
    vocabSize: c.vocab_size,
    hiddenSize: c.hidden_size,
    numHiddenLayers: c.num_hidden_layers,
    stateSize: c.state_size,
    convKernel: c.conv_kernel,
    // An explicit width wins over `expand`: falcon-mamba-7b has expand 16 beside a width of twice its hidden size.
    intermediateSize: c.intermediate_size ?? Math.trunc(c.expand * c.hidden_size),
    timeStepRank: rank(c.time_step_rank, c.hidden_size),
    useBias: c.use_bias ?? null,
    useConvBias: c.use_conv_bias ?? null,
    layerNormEpsilon: c.layer_norm_epsilon,
    residualInFp32: c.residual_in_fp32,
    tieWordEmbeddings: c.tie_word_embeddings ?? null,
    mixerRmsEps: modelType === 'falcon_mamba' ? c.mixer_rms_eps : null,
    initializerRange: c.initializer_range,
    timeStepMin: c.time_step_min,
    timeStepMax: c.time_step_max,
    timeStepFloor: c.time_step_floor,
    timeStepScale: c.time_step_scale,
    eosTokenIds: typeof eos === 'number' ? [eos] : eos,
    bosTokenId: c.bos_token_id ?? null,
    padTokenId: c.pad_token_id ?? null,
    source: json,
  };
}

function fromOriginal(json: Record<string, unknown>, file: string): MambaConfig {
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

/**
 * A model's configuration from the parsed `config.json`.
 * @param file what it was read from, for messages
 * @throws ConfigError naming the file, the key, the value and what would do
 */
export function parseConfig(json: Record<string, unknown>, file: string): MambaConfig {
  const modelType = json.model_type;
  if (modelType === undefined && 'd_model' in json && 'n_layer' in json) return fromOriginal(json, file);
  const known = MODEL_TYPES.find((name) => name === modelType);
  if (known) return fromHuggingFace(json, known, file);
  const got = modelType === undefined ? 'model_type is missing' : `model_type ${describe(modelType)} is not supported`;
  throw new ConfigError(`${file}: ${got}; supported are ${MODEL_TYPES.join(', ')}`);
}

const STRING_OR_NAN = /"(?:[^"\\]|\\.)*"|\bNaN\b/g;

/** As `parseConfig`, from the file's text; Python's bare `Infinity` and `NaN` are taken (NaN as null). */
export function parseConfigText(text: string, file: string): MambaConfig {
  const cleaned = text.replace(STRING_OR_NAN, (token) => (token === 'NaN' ? 'null' : token));
  return parseConfig(parseJsonObject(file, cleaned), file);
}

/** The configuration in Hugging Face's dialect, after the keys of its source that Krait does not use. */
export function toConfigJson(config: MambaConfig): Record<string, unknown> {
  const eos = config.eosTokenIds;
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
    eos_token_id: eos.length === 0 ? null : eos.length === 1 ? eos[0] : eos,
    bos_token_id: config.bosTokenId,
    pad_token_id: config.padTokenId,
  };
}
