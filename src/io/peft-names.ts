/**
 * Tensor names in PEFT's adapter files, both ways.
 *
 *   base_model.model.<module>.lora_A.weight, .lora_B.weight        linear layers and convolutions
 *   base_model.model.<module>.lora_embedding_A, .lora_embedding_B  embeddings
 *   base_model.model.<module>.<weight|bias>                        modules to save, and biases
 *   base_model.model.<module>.base_layer.<bias>                    the same on a module that carries LoRA
 */

const PREFIX = 'base_model.model.';
const FACTORS = { A: 'lora_A.weight', B: 'lora_B.weight' } as const;
const EMBEDDING_FACTORS = { A: 'lora_embedding_A', B: 'lora_embedding_B' } as const;

/** One factor of a low-rank product: B A. */
export interface AdapterFactor {
  readonly kind: 'factor';
  /** Path of the module it adapts: `backbone.layers.0.mixer.in_proj`. */
  readonly module: string;
  readonly factor: 'A' | 'B';
  readonly isEmbedding: boolean;
}

/** A parameter that replaces the base model's. */
export interface AdapterParameter {
  readonly kind: 'parameter';
  /** Its checkpoint name: `backbone.norm_f.weight`. */
  readonly parameter: string;
  /** Whether its module carries LoRA as well. */
  readonly isWrapped: boolean;
}

export type AdapterTensor = AdapterFactor | AdapterParameter;

/** The name of a tensor in `adapter_model.safetensors`. */
export function formatAdapterName(tensor: AdapterTensor): string {
  if (tensor.kind === 'factor') {
    const names = tensor.isEmbedding ? EMBEDDING_FACTORS : FACTORS;
    return `${PREFIX}${tensor.module}.${names[tensor.factor]}`;
  }
  if (!tensor.isWrapped) return `${PREFIX}${tensor.parameter}`;
  const dot = tensor.parameter.lastIndexOf('.');
  return `${PREFIX}${tensor.parameter.slice(0, dot)}.base_layer${tensor.parameter.slice(dot)}`;
}

/**
 * What a tensor of an adapter file is, or undefined if the name is not one of PEFT's LoRA (DoRA's magnitudes, say).
 * Takes the adapter's name between, as in `lora_A.default.weight`, and older spellings of modules to save.
 */
export function parseAdapterName(name: string): AdapterTensor | undefined {
  if (!name.startsWith(PREFIX)) return undefined;
  const path = name.slice(PREFIX.length);
  const linear = /^(.+)\.lora_([AB])(?:\.[^.]+)?\.weight$/.exec(path);
  if (linear) return { kind: 'factor', module: linear[1], factor: linear[2] as 'A' | 'B', isEmbedding: false };
  const embedding = /^(.+)\.lora_embedding_([AB])(?:\.[^.]+)?$/.exec(path);
  if (embedding) return { kind: 'factor', module: embedding[1], factor: embedding[2] as 'A' | 'B', isEmbedding: true };
  if (/(^|\.)lora_/.test(path)) return undefined;
  const parameter = path
    .replace(/\.modules_to_save(\.default)?(?=\.)/, '')
    .replace(/^(.+)\.base_layer\.([^.]+)$/, '$1.$2');
  return { kind: 'parameter', parameter, isWrapped: /\.base_layer\.[^.]+$/.test(path) };
}
