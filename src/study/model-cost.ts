/**
 * What a model's work takes at least, counted from its configuration: floating-point operations, and the bytes that
 * decoding reads. Operations are those of the formulas, with a transcendental as one, as papers count them: the kernel
 * table's costs of scans and convolutions, which know what an exponential takes, would flatter a utilisation.
 *
 * What it is not: operations that a method computes twice (checkpoints of the scan) or in vain are not counted.
 */
import { KERNELS } from '../backend/index.ts';
import { dtypeBytes } from '../core/index.ts';
import type { LanguageModel, MambaConfig } from '../models/index.ts';

export const WORKS = ['prefill', 'decode', 'train', 'lora'] as const;
/** Reading a prompt, writing after it, a step of full fine-tuning, a step of LoRA. */
export type Work = (typeof WORKS)[number];

export interface WorkSize {
  /** Positions of each sequence in a round. */
  readonly tokens: number;
  /** Sequences at the same time. */
  readonly batch: number;
}

/** Rank of the adapters that `lora` trains, on all linear layers. */
export const LORA_RANK = 16;

const productFlops = (m: number, n: number, k: number): number => KERNELS.matmul.flops({ batch: 1, m, n, k });

/** Inputs and outputs of a layer's linear maps: in_proj, x_proj, dt_proj, out_proj. */
function linears({ hiddenSize: d, intermediateSize: e, timeStepRank: r, stateSize: n }: MambaConfig): number[][] {
  return [
    [d, 2 * e],
    [e, r + 2 * n],
    [r, e],
    [e, d],
  ];
}

/** Operations of the linear maps of all layers, and of an output head for `headRows` positions. */
function matrixFlops(config: MambaConfig, rows: number, headRows: number): number {
  const layer = linears(config).reduce((sum, [inputs, outputs]) => sum + productFlops(rows, outputs, inputs), 0);
  return config.numHiddenLayers * layer + productFlops(headRows, config.vocabSize, config.hiddenSize);
}

/** Operations of norms (the last one too), convolutions and scans. */
function mixerFlops({ numHiddenLayers, ...config }: MambaConfig, { tokens, batch }: WorkSize): number {
  const { hiddenSize, intermediateSize: d, stateSize: n, convKernel: k } = config;
  const rows = batch * tokens;
  const norm = KERNELS.rms_norm.flops({ rows, cols: hiddenSize });
  const conv = 2 * k + 4; // taps; SiLU and its product
  const scan = 7 * n + 8; // a state: decay, input and output; a position: step, skip and gate
  const layer = rows * d * (conv + scan);
  return numHiddenLayers * (norm + layer) + norm;
}

/** Operations of low-rank factors on every linear map. */
function adapterFlops(config: MambaConfig, rows: number): number {
  const pair = ([inputs, outputs]: number[]) => productFlops(rows, LORA_RANK, inputs + outputs);
  return config.numHiddenLayers * linears(config).reduce((sum, linear) => sum + pair(linear), 0);
}

/**
 * Operations of one round of `work`. Of training: a forward pass and two more for the gradients of inputs and weights;
 * LoRA leaves out those of the weights that it does not train.
 */
export function workFlops(config: MambaConfig, work: Work, size: WorkSize): number {
  const rows = size.tokens * size.batch;
  switch (work) {
    case 'prefill':
      return matrixFlops(config, rows, size.batch) + mixerFlops(config, size);
    case 'decode':
      return matrixFlops(config, rows, rows) + mixerFlops(config, size);
    case 'train':
      return 3 * (matrixFlops(config, rows, rows) + mixerFlops(config, size));
    case 'lora':
      return 2 * matrixFlops(config, rows, rows) + 3 * (mixerFlops(config, size) + adapterFlops(config, rows));
  }
}

/**
 * Bytes that one step of decoding must move: every weight (with its scales, if it is quantised) but an embedding beside a
 * head of its own, and the states.
 */
export function decodeBytes(model: LanguageModel, batch: number): number {
  const { config } = model;
  let bytes = 0;
  for (const [name, { size, dtype }] of [...model.parameters, ...model.scales]) {
    const isTable = model.head !== null && name.endsWith('embeddings.weight');
    if (!isTable) bytes += size * dtypeBytes(dtype);
  }
  const state = config.intermediateSize * (config.stateSize + config.convKernel - 1) * dtypeBytes('f32');
  return bytes + 2 * batch * config.numHiddenLayers * state;
}
