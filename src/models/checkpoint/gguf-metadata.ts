/**
 * What a GGUF file says about a Mamba model: the keys of llama.cpp's architecture `mamba`, which is Falcon-Mamba's too.
 * Source: docs/gguf.md of ggml-org/ggml @ d99724f; conversion/mamba.py @ 32e9e04 of ggml-org/llama.cpp.
 */
import type { GgufType, GgufValue } from '../../io/index.ts';
import type { MambaConfig } from '../families/mamba-config.ts';
import { parameterCount } from '../families/registry.ts';

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

/** Entries that describe a model to llama.cpp, other than its tokenizer. `name` is for people. */
export function ggufMetadata(
  config: MambaConfig,
  { type, name }: { type: GgufType; name: string },
): Map<string, GgufValue> {
  const u32 = (value: number): GgufValue => ({ type: 'u32', value });
  const text = (value: string): GgufValue => ({ type: 'string', value });
  return new Map<string, GgufValue>([
    ['general.architecture', text('mamba')],
    ['general.type', text('model')],
    ['general.name', text(name)],
    ['general.size_label', text(sizeLabel(parameterCount(config)))],
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

/** One line for each setting that llama.cpp takes otherwise. */
export function ggufWarnings({ mixerRmsEps, layerNormEpsilon }: MambaConfig): string[] {
  if (mixerRmsEps === null || mixerRmsEps === layerNormEpsilon) return [];
  return [`mixer_rms_eps ${mixerRmsEps}: llama.cpp uses layer_norm_epsilon ${layerNormEpsilon} in its place`];
}
