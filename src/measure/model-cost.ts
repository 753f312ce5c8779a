/**
 * What a model's work takes at least, counted from its configuration: floating-point operations, and the bytes that
 * decoding reads. Operations are those of the formulas, with a transcendental as one, as papers count them: the kernel
 * table's costs of scans and convolutions, which know what an exponential takes, would flatter a utilisation.
 *
 * What it is not: operations that a method computes twice (checkpoints of the scan) or in vain are not counted.
 */
import { KERNELS } from '../backend/index.ts';
import { dtypeBytes } from '../core/index.ts';
import type { GptNeoXConfig, LanguageModel, MambaConfig, ModelConfig } from '../models/index.ts';
import type { Work } from './works.ts';

export interface WorkSize {
  /** Positions of each sequence in a round. */
  readonly tokens: number;
  /** Sequences at the same time. */
  readonly batch: number;
}

/** Rank of the adapters that `lora` trains, on all linear layers. */
export const LORA_RANK = 16;

const productFlops = (m: number, n: number, k: number): number => KERNELS.matmul.flops({ batch: 1, m, n, k });

/** Inputs and outputs of a layer's linear maps, in the order of computation. */
function linears(config: ModelConfig): number[][] {
  const { hiddenSize: d, intermediateSize: e } = config;
  if (config.modelType === 'gpt_neox') {
    return [
      [d, 3 * d],
      [d, d],
      [d, e],
      [e, d],
    ];
  }
  const { timeStepRank: r, stateSize: n } = config;
  return [
    [d, 2 * e],
    [e, r + 2 * n],
    [r, e],
    [e, d],
  ];
}

/** Operations of the linear maps of all layers, and of an output head for `headRows` positions. */
function matrixFlops(config: ModelConfig, rows: number, headRows: number): number {
  const layer = linears(config).reduce((sum, [inputs, outputs]) => sum + productFlops(rows, outputs, inputs), 0);
  return config.numHiddenLayers * layer + productFlops(headRows, config.vocabSize, config.hiddenSize);
}

/** Positions that each of `tokens` positions sees, itself among them, after `past` that came before: the sum. */
const seenPositions = (tokens: number, past: number): number => tokens * past + (tokens * (tokens + 1)) / 2;

/** Operations of norms, rotations, attention to the past and activations. */
function transformerFlops(config: GptNeoXConfig, { tokens, batch }: WorkSize, past: number): number {
  const { numHiddenLayers, numAttentionHeads: heads, hiddenSize: d, intermediateSize } = config;
  const rows = batch * tokens;
  const norm = KERNELS.layer_norm.flops({ rows, cols: d });
  const rotation = rows * 2 * 3 * d * config.rotaryPct; // of query and key; an element: two products and their sum
  // A pair of positions and a head: a score and a share of the value for each element; scale, e^x and its sum.
  const attention = batch * seenPositions(tokens, past) * (4 * d + 3 * heads);
  const sums = rows * (d + intermediateSize); // the two parts of the parallel residual; the activation
  return numHiddenLayers * (2 * norm + rotation + attention + sums) + norm;
}

/** Operations of all that is no linear map: norms (the last one too), convolutions and scans, or attention. */
function mixerFlops(config: ModelConfig, size: WorkSize, past = 0): number {
  return config.modelType === 'gpt_neox' ? transformerFlops(config, size, past) : mambaFlops(config, size);
}

function mambaFlops({ numHiddenLayers, ...config }: MambaConfig, { tokens, batch }: WorkSize): number {
  const { hiddenSize, intermediateSize: d, stateSize: n, convKernel: k } = config;
  const rows = batch * tokens;
  const norm = KERNELS.rms_norm.flops({ rows, cols: hiddenSize });
  const conv = 2 * k + 4; // taps; SiLU and its product
  const scan = 7 * n + 8; // a state: decay, input and output; a position: step, skip and gate
  const layer = rows * d * (conv + scan);
  return numHiddenLayers * (norm + layer) + norm;
}

/** Operations of low-rank factors on every linear map. */
function adapterFlops(config: ModelConfig, rows: number): number {
  const pair = ([inputs, outputs]: number[]) => productFlops(rows, LORA_RANK, inputs + outputs);
  return config.numHiddenLayers * linears(config).reduce((sum, linear) => sum + pair(linear), 0);
}

/** Tokens of the prompts before the first round of decoding. */
export const PROMPT_TOKENS = 16;

/**
 * Operations of one round of `work`; of decoding the first, for attention has more to see in each. Of training: a forward
 * pass and two more for the gradients of inputs and weights; LoRA leaves out those of the weights that it does not train.
 */
export function workFlops(config: ModelConfig, work: Work, size: WorkSize): number {
  const rows = size.tokens * size.batch;
  switch (work) {
    case 'prefill':
      return matrixFlops(config, rows, size.batch) + mixerFlops(config, size);
    case 'decode':
      return matrixFlops(config, rows, rows) + mixerFlops(config, size, PROMPT_TOKENS);
    case 'train':
      return 3 * (matrixFlops(config, rows, rows) + mixerFlops(config, size));
    case 'lora':
      return 2 * matrixFlops(config, rows, rows) + 3 * (mixerFlops(config, size) + adapterFlops(config, rows));
  }
}

/** Bytes of a sequence's state that a step of decoding reads and writes, after `past` positions. */
function stateBytes({ config, activations }: LanguageModel, past: number): number {
  if (config.modelType === 'gpt_neox') {
    // Every key and value is read, and one of each is added.
    return config.numHiddenLayers * 2 * (past + 1) * config.hiddenSize * dtypeBytes(activations);
  }
  const elements = config.intermediateSize * (config.stateSize + config.convKernel - 1);
  return 2 * config.numHiddenLayers * elements * dtypeBytes('f32');
}

/**
 * Bytes that one step of decoding must move: every weight (with its scales, if it is quantised) but an embedding beside a
 * head of its own, and the states, after `past` positions where that makes a difference.
 */
export function decodeBytes(model: LanguageModel, batch: number, past = PROMPT_TOKENS): number {
  const table = `${model.embeddings.name}.weight`;
  let bytes = 0;
  for (const [name, { size, dtype }] of [...model.parameters, ...model.scales]) {
    const isTable = model.head !== null && name === table;
    if (!isTable) bytes += size * dtypeBytes(dtype);
  }
  return bytes + batch * stateBytes(model, past);
}
