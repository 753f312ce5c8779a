/**
 * What a sequence mixer is to the rest of a model: a map of positions that may remember what came before. Everything that
 * tells mixers apart is said by its plan: weights, state, costs. An MLP is a mixer without state.
 */
import type { RandomSource } from '../../core/index.ts';
import type { AdaptableLayer } from '../../nn/index.ts';
import type { Tensor } from '../../tensor/index.ts';
import type { WeightRow } from '../checkpoint/table.ts';
import type { Sequence } from '../sequence.ts';
import type { LayerState, StateKind } from '../state/kinds.ts';

export type Weights = ReadonlyMap<string, Tensor>;

/**
 * What the input made of a layer's recurrence: position t multiplies state i of a channel by exp(dt[t, channel] A[i, channel]),
 * whatever the state is. Tensors live as long as the call that hands them out; `device.keep(t.alias())` keeps one. Where
 * many states share a step, as in the heads of Mamba-2, a channel is a head.
 */
export interface LayerDecay {
  readonly layer: number;
  /** Steps after bias and softplus, f32 (f64 in an f64 model) [b, l, channels]. */
  readonly dt: Tensor;
  /** [states of a channel, channels]; below 0 in every model that forgets. */
  readonly A: Tensor;
}

/** How a forward pass is done, whatever is read. */
export interface ForwardMode {
  /** Whether the state after the last position is returned. */
  wantState?: boolean;
  /**
   * Selective recomputation: large results that are cheap to compute are freed and computed again in the backward pass. Not
   * with checkpointing.
   */
  recomputes?: boolean;
  /** Called for each layer that has a recurrence, in order, while the forward pass is queued. Not with checkpointing. */
  observe?: (decay: LayerDecay) => void;
  /** Source of dropout's random numbers. Dropout happens only where it is given. */
  random?: RandomSource | null;
}

/** Inputs of a mixer besides x [b, l, d]. */
export interface MixerContext {
  /** Number of the layer, for `observe`. */
  readonly layer: number;
  readonly sequence: Sequence;
  /** State before the first position; null for a fresh start. */
  readonly state: LayerState | null;
  readonly mode: ForwardMode;
}

/** Output [b, l, d], and the state after the last position where it is wanted (null where the mixer has none). */
export interface MixerResult {
  readonly y: Tensor;
  readonly state: LayerState | null;
}

/** A sequence mixer over its weights. */
export interface Mixer {
  /** Layers that adapters can attach to, in the order of computation. */
  readonly layers: readonly AdaptableLayer[];
  /** Parameters that belong to no layer, by name. */
  readonly own: readonly (readonly [name: string, weight: Tensor])[];
  forward(x: Tensor, context: MixerContext): MixerResult;
  /** Gives back what it computed for itself; the weights are the model's. */
  dispose?(): void;
}

/** Positions of a forward pass: `tokens` of each of `batch` sequences, after `past` that came before. */
export interface CostSize {
  readonly tokens: number;
  readonly batch: number;
  readonly past: number;
}

/** A mixer that is still to be built. The only place where its weights are named. */
export interface MixerPlan {
  /**
   * Its weights under a module path, in the order in which a new model draws them.
   * @param depth layers of the model: outputs start smaller by it, because each adds to the residual stream
   */
  rows(path: string, depth: number): WeightRow[];
  build(path: string, weights: Weights): Mixer;
  /** The tensors that it remembers between calls; none for a mixer without state. */
  readonly state: StateKind;
  /** Whether it reads positions and documents. */
  readonly readsPositions: boolean;
  /** True if it reads ragged batches: sequences of different lengths without padding. */
  readonly takesRagged: boolean;
  /** Inputs and outputs of its linear maps, in the order of computation. */
  readonly linears: readonly (readonly [inputs: number, outputs: number])[];
  /** Floating-point operations of all that is no linear map, a transcendental as one. */
  flops(size: CostSize): number;
}
