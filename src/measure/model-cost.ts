/**
 * What a model's work takes at least, counted from its configuration: floating-point operations, and the bytes that
 * decoding reads. Operations are those of the formulas, with a transcendental as one, as papers count them: the kernel
 * table's costs of scans and convolutions, which know what an exponential takes, would flatter a utilisation.
 *
 * What it is not: operations that a method computes twice (checkpoints of the scan) or in vain are not counted.
 */
import { KERNELS } from '../backend/index.ts';
import { dtypeBytes } from '../core/index.ts';
import { familyOf, type LanguageModel, type LanguagePlan, type ModelConfig, stateBytes } from '../models/index.ts';
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

/** Sequences of a pass, and the positions that came before. */
interface Pass extends WorkSize {
  readonly past: number;
}

const mixersOf = ({ backbone }: LanguagePlan) =>
  backbone.blocks.flatMap(({ branches }) => branches.map(({ mixer }) => mixer));

/** Operations of the linear maps of all layers, and of an output head for `headRows` positions. */
function matrixFlops(plan: LanguagePlan, rows: number, headRows: number): number {
  const linears = mixersOf(plan).flatMap((mixer) => mixer.linears);
  const layers = linears.reduce((sum, [inputs, outputs]) => sum + productFlops(rows, outputs, inputs), 0);
  return layers + productFlops(headRows, plan.vocabSize, plan.backbone.hiddenSize);
}

/** Operations of all that is no linear map: norms (the last one too), mixers, sums of branches side by side. */
function otherFlops(plan: LanguagePlan, pass: Pass): number {
  const { blocks, norm, hiddenSize: cols } = plan.backbone;
  const rows = pass.batch * pass.tokens;
  const normFlops = KERNELS[norm.kind === 'rms' ? 'rms_norm' : 'layer_norm'].flops({ rows, cols });
  const ofBlock = ({ branches, isParallel }: (typeof blocks)[number]) =>
    branches.reduce((sum, { mixer }) => sum + normFlops + mixer.flops(pass), 0) +
    (isParallel ? (branches.length - 1) * rows * cols : 0);
  return blocks.reduce((sum, block) => sum + ofBlock(block), 0) + normFlops;
}

/** Operations of low-rank factors on every linear map. */
function adapterFlops(plan: LanguagePlan, rows: number): number {
  const linears = mixersOf(plan).flatMap((mixer) => mixer.linears);
  return linears.reduce((sum, [inputs, outputs]) => sum + productFlops(rows, LORA_RANK, inputs + outputs), 0);
}

/** Tokens of the prompts before the first round of decoding. */
export const PROMPT_TOKENS = 16;

/**
 * Operations of one round of `work`; of decoding the first, for attention has more to see in each. Of training: a forward
 * pass and two more for the gradients of inputs and weights; LoRA leaves out those of the weights that it does not train.
 */
export function workFlops(config: ModelConfig, work: Work, size: WorkSize): number {
  const plan = familyOf(config).plan(config);
  const rows = size.tokens * size.batch;
  const others = (past = 0) => otherFlops(plan, { ...size, past });
  switch (work) {
    case 'prefill':
      return matrixFlops(plan, rows, size.batch) + others();
    case 'decode':
      return matrixFlops(plan, rows, rows) + others(PROMPT_TOKENS);
    case 'train':
      return 3 * (matrixFlops(plan, rows, rows) + others());
    case 'lora':
      return 2 * matrixFlops(plan, rows, rows) + 3 * (others() + adapterFlops(plan, rows));
  }
}

/** Bytes of a sequence's state that a step of decoding moves, after `past` positions. */
function movedBytes({ backbone, activations }: LanguageModel, past: number): number {
  const { fixed, perPosition } = stateBytes(backbone.stateKind.layers, activations);
  // What has a constant size is read and written; of what grows, all is read and an entry is added.
  return 2 * fixed + (past + 1) * perPosition;
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
  return bytes + batch * movedBytes(model, past);
}
