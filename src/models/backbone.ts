/**
 * A stack of layers with a final norm. It maps a residual stream [b, l, d] to hidden states and the state after them. Heads
 * make the stream (from tokens, patches of series, vectors) and read the hidden states.
 */
import { type DType, KraitError } from '../core/index.ts';
import type { AdaptableLayer, LayerNorm, RMSNorm } from '../nn/index.ts';
import type { Device, RaggedPart, Tensor } from '../tensor/index.ts';
import {
  Block,
  type BlockMode,
  type BlockPlan,
  blockRows,
  blockState,
  buildNorm,
  layerParameters,
  type NormPlan,
  normParameters,
  normRows,
} from './block.ts';
import type { WeightRow } from './checkpoint/table.ts';
import type { Weights } from './mixers/mixer.ts';
import { SEQUENCE_STATE, type Sequence, sequenceOf } from './sequence.ts';
import { checkState, type LayerState, type ModelState, type ModelStateKind, stateOf } from './state/kinds.ts';

export interface BackbonePlan {
  readonly hiddenSize: number;
  readonly blocks: readonly BlockPlan[];
  /** Module of the layers. Their numbers are the next part of the path. */
  readonly layers: string;
  /** Module of the norm after the last layer. */
  readonly finalNorm: string;
  /** Settings of all norms. */
  readonly norm: NormPlan;
  /** True if the residual stream is f32 with any type of activations (f64 in an f64 model). */
  readonly streamInF32: boolean;
  /** True if the norms of all layers come before all other parameters. Squares of gradients are added in this order. */
  readonly normsFirst?: boolean;
}

export interface ForwardOptions extends Omit<BlockMode, 'activations'> {
  /** i32 [b, l]: bit 0 starts a new document at the position, bit 1 marks padding (backend/kernels.ts). */
  flags?: Tensor | null;
  /**
   * Parts of a ragged batch: sequences of different lengths without padding. The stream and the flags are [1, n], all
   * positions one after the other. A state has a row for each sequence. No gradients; the model must have `takesRagged`.
   */
  ragged?: readonly RaggedPart[] | null;
  /** State before the first position; a fresh start if absent. Not consumed. */
  state?: ModelState | null;
}

/** The weights of a backbone, in the order of computation. */
export function backboneRows({ hiddenSize: hidden, blocks, layers, norm, finalNorm }: BackbonePlan): WeightRow[] {
  const sizes = { hidden, depth: blocks.length };
  return [
    ...blocks.flatMap((block, i) => blockRows(block, norm, `${layers}.${i}`, sizes)),
    ...normRows(norm, finalNorm, hidden),
  ];
}

const mixersOf = ({ blocks }: BackbonePlan) => blocks.flatMap(({ branches }) => branches.map(({ mixer }) => mixer));

/** State of a backbone. */
export const backboneState = (plan: BackbonePlan): ModelStateKind => ({
  layers: plan.blocks.map(blockState),
  sequence: mixersOf(plan).some(({ readsPositions }) => readsPositions) ? SEQUENCE_STATE : {},
});

const sequencesIn = (ragged: readonly RaggedPart[] | null | undefined, b: number): number =>
  ragged ? ragged.reduce((sum, { rows }) => sum + rows, 0) : b;

/** A backbone over its weights. The model owns the weights. */
export class Backbone {
  readonly blocks: readonly Block[];
  readonly finalNorm: RMSNorm | LayerNorm;
  /** Its state between calls. */
  readonly stateKind: ModelStateKind;
  /** Whether it reads ragged batches (`ForwardOptions.ragged`). */
  readonly takesRagged: boolean;
  private readonly readsPositions: boolean;

  /** @param activations type of the values that feed matrix products */
  constructor(
    readonly device: Device,
    readonly plan: BackbonePlan,
    weights: Weights,
    public activations: DType,
  ) {
    const { blocks, layers, norm, finalNorm } = plan;
    this.blocks = blocks.map((block, i) => new Block(device, block, norm, `${layers}.${i}`, i, weights));
    this.finalNorm = buildNorm(norm, finalNorm, weights);
    this.stateKind = backboneState(plan);
    const mixers = mixersOf(plan);
    this.takesRagged = mixers.every((mixer) => mixer.takesRagged);
    this.readsPositions = mixers.some((mixer) => mixer.readsPositions);
  }

  /** Layers that adapters can attach to, in the order of computation. */
  get layers(): AdaptableLayer[] {
    return this.blocks.flatMap((block) => block.layers);
  }

  /** Parameters by name. */
  get parameters(): (readonly [name: string, weight: Tensor])[] {
    const rest = (block: Block) => [...block.mixers.flatMap(({ own }) => own), ...layerParameters(block.layers)];
    const norms = (block: Block) => block.norms.flatMap((norm) => [...normParameters(norm)]);
    const last = [...normParameters(this.finalNorm)];
    if (this.plan.normsFirst) return [...this.blocks.flatMap(norms), ...last, ...this.blocks.flatMap(rest)];
    return [...this.blocks.flatMap((block) => [...norms(block), ...rest(block)]), ...last];
  }

  /** Type of the residual stream. */
  get streamType(): DType {
    if (!this.plan.streamInF32) return this.activations;
    return this.activations === 'f64' ? 'f64' : 'f32';
  }

  /**
   * The sequence of a pass over [b, l] positions, and its state for the next call.
   * @throws KraitError for a state of another model, or a ragged batch where a layer takes none
   */
  sequence([b, l]: readonly number[], { flags, ragged, state }: ForwardOptions): ReturnType<typeof sequenceOf> {
    if (state) checkState(state, this.stateKind);
    if (ragged && (!this.takesRagged || this.readsPositions)) {
      throw new KraitError('a layer of this model takes no ragged batch; give rows of one length, padded and flagged');
    }
    return sequenceOf(this.device, [b, l], { flags, ragged, carried: state?.sequence }, this.readsPositions);
  }

  /**
   * The hidden states of a stream after the final norm, [b, l, hiddenSize] in the type of the activations, and the state
   * after the last position if it is wanted. It owns the stream and frees it after its last reader.
   * @param known result of `sequence` for the same options, if it was called before the stream was made
   * @throws KraitError for a state of another model, or a ragged batch where a mixer takes none
   */
  forward(
    stream: Tensor,
    options: ForwardOptions = {},
    known = this.sequence(stream.shape, options),
  ): { hidden: Tensor; state: ModelState | null } {
    const { state = null, ragged, wantState } = options;
    const mode = { ...options, activations: this.activations };
    const layers: LayerState[] = [];
    let before = stream;
    let pending: Tensor | null = null;
    this.blocks.forEach((block, i) => {
      const input = { stream: before, pending, sequence: known.sequence, state: state?.layers[i] ?? null };
      const after = block.forward(input, mode);
      if (before !== after.stream) before.dispose();
      pending?.dispose();
      ({ stream: before, pending } = after);
      layers.push(after.state);
    });
    const last = pending ?? before;
    const { y } = this.finalNorm.forward(last, { residual: pending && before, dtype: this.activations });
    if (!wantState) return { hidden: y, state: null };
    return { hidden: y, state: stateOf(sequencesIn(ragged, stream.shape[0]), layers, known.carried) };
  }

  /** Frees the tensors that its mixers computed. The weights stay with the model. */
  dispose(): void {
    for (const block of this.blocks) block.dispose();
  }
}

export type { Sequence };
