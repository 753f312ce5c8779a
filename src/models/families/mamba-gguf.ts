/**
 * Mamba and Falcon-Mamba as llama.cpp's architecture `mamba`. Three things differ in content: the convolution's weight loses
 * its middle axis, `ssm_a` is -exp(A_log), and a tied head is left out. llama.cpp knows no bias of in_proj, out_proj or the
 * head, and no width other than twice the hidden size.
 * Source: docs/gguf.md of ggml-org/ggml @ d99724f; src/models/mamba.cpp @ 8a5c4e0, mamba-base.cpp @ 11246cf,
 * conversion/mamba.py @ 32e9e04 of ggml-org/llama.cpp.
 */
import { ConfigError } from '../../core/index.ts';
import type { GgufTensor, GgufType, GgufValue } from '../../io/index.ts';
import type { GgufAbout, GgufFormat } from '../checkpoint/gguf-format.ts';
import type { CommonConfig } from './fields.ts';

/** Keys of a Mamba's configuration in the file. */
interface MambaSizes extends CommonConfig {
  readonly intermediateSize: number;
  readonly stateSize: number;
  readonly convKernel: number;
  readonly timeStepRank: number;
  readonly useConvBias: boolean | null;
  readonly layerNormEpsilon: number;
  readonly mixerRmsEps: number | null;
}

/** Modules outside the layers. */
const ENDS: Readonly<Record<string, string>> = {
  'backbone.embeddings.weight': 'token_embd.weight',
  'backbone.norm_f.weight': 'output_norm.weight',
  'lm_head.weight': 'output.weight',
};

/** A layer's tensors in checkpoints and in llama.cpp. */
const LAYER: Readonly<Record<string, string>> = {
  'norm.weight': 'attn_norm.weight',
  'mixer.in_proj.weight': 'ssm_in.weight',
  'mixer.conv1d.weight': 'ssm_conv1d.weight',
  'mixer.conv1d.bias': 'ssm_conv1d.bias',
  'mixer.x_proj.weight': 'ssm_x.weight',
  'mixer.dt_proj.weight': 'ssm_dt.weight',
  'mixer.dt_proj.bias': 'ssm_dt.bias',
  'mixer.A_log': 'ssm_a',
  'mixer.D': 'ssm_d',
  'mixer.out_proj.weight': 'ssm_out.weight',
};

function nameOf(name: string): string | undefined {
  if (Object.hasOwn(ENDS, name)) return ENDS[name];
  const [, layer, rest] = /^backbone\.layers\.(\d+)\.(.+)$/.exec(name) ?? [];
  return rest !== undefined && Object.hasOwn(LAYER, rest) ? `blk.${layer}.${LAYER[rest]}` : undefined;
}

function check({ hiddenSize, intermediateSize }: MambaSizes): void {
  if (intermediateSize === 2 * hiddenSize) return;
  const got = `intermediate_size ${intermediateSize} with hidden_size ${hiddenSize}`;
  throw new ConfigError(`${got}: llama.cpp runs twice the hidden size alone; keep this model as safetensors`);
}

/** Values of `general.file_type`: what most of the weights are. */
const FILE_TYPES: Readonly<Record<GgufType, number>> = { f32: 0, f16: 1, q8_0: 7, bf16: 32 };
const QUANTIZATION_VERSION = 2;
/** A recurrent model has no greatest length; readers want one. */
const CONTEXT_LENGTH = 2 ** 20;

/** A count as people say it: 370K, 129M, 2.8B. */
function sizeLabel(parameters: number): string {
  const [unit, scale] = parameters >= 1e9 ? ['B', 1e9] : parameters >= 1e6 ? ['M', 1e6] : ['K', 1e3];
  const count = parameters / scale;
  return `${count.toFixed(count < 9.95 ? 1 : 0)}${unit}`;
}

function metadata(config: MambaSizes, { type, name, parameters }: GgufAbout): Map<string, GgufValue> {
  const u32 = (value: number): GgufValue => ({ type: 'u32', value });
  const text = (value: string): GgufValue => ({ type: 'string', value });
  return new Map<string, GgufValue>([
    ['general.architecture', text('mamba')],
    ['general.type', text('model')],
    ['general.name', text(name)],
    ['general.size_label', text(sizeLabel(parameters))],
    ['general.file_type', u32(FILE_TYPES[type])],
    ['general.quantization_version', u32(QUANTIZATION_VERSION)],
    ['mamba.context_length', u32(CONTEXT_LENGTH)],
    ['mamba.embedding_length', u32(config.hiddenSize)],
    ['mamba.feed_forward_length', u32(0)],
    ['mamba.attention.head_count', u32(0)],
    ['mamba.block_count', u32(config.numHiddenLayers)],
    ['mamba.vocab_size', u32(config.vocabSize)],
    ['mamba.ssm.conv_kernel', u32(config.convKernel)],
    ['mamba.ssm.inner_size', u32(config.intermediateSize)],
    ['mamba.ssm.state_size', u32(config.stateSize)],
    ['mamba.ssm.time_step_rank', u32(config.timeStepRank)],
    ['mamba.ssm.dt_b_c_rms', { type: 'bool', value: config.mixerRmsEps !== null }],
    ['mamba.attention.layer_norm_rms_epsilon', { type: 'f32', value: config.layerNormEpsilon }],
  ]);
}

function warnings({ mixerRmsEps, layerNormEpsilon }: MambaSizes): string[] {
  if (mixerRmsEps === null || mixerRmsEps === layerNormEpsilon) return [];
  return [`mixer_rms_eps ${mixerRmsEps}: llama.cpp uses layer_norm_epsilon ${layerNormEpsilon} in its place`];
}

/** llama.cpp always adds the bias of the convolution: zeros where the model has none. */
function added({ useConvBias, intermediateSize, numHiddenLayers }: MambaSizes): GgufTensor[] {
  if (useConvBias !== false) return [];
  return Array.from({ length: numHiddenLayers }, (_, layer) => ({
    name: `blk.${layer}.ssm_conv1d.bias`,
    type: 'f32',
    shape: [intermediateSize],
    data: () => new Uint8Array(4 * intermediateSize),
  }));
}

export const MAMBA_GGUF: GgufFormat<MambaSizes> = {
  nameOf,
  check,
  metadata,
  warnings,
  added,
  shapeOf: (name, shape) => (name.endsWith('.conv1d.weight') ? [shape[0], shape[2]] : shape), // [e, 1, k] -> [e, k]
  valueOf: (name) => (name.endsWith('.A_log') ? (log) => -Math.exp(log) : null),
};
