/**
 * A sequence mixer: a map of positions that may have a state. Its plan has everything that differs between mixers: weights,
 * state, costs. An MLP is a mixer without state.
 */
import type { RandomSource } from '../../core/index.ts';
import type { AdaptableLayer } from '../../nn/index.ts';
import type { Tensor } from '../../tensor/index.ts';
import type { WeightRow } from '../checkpoint/table.ts';
import type { Sequence } from '../sequence.ts';
import type { LayerState, StateKind } from '../state/kinds.ts';

export type Weights = ReadonlyMap<string, Tensor>;

/**
 * Decay of a layer's recurrence for an input: position t multiplies state i of a channel by exp(dt[t, channel] A[i, channel]).
 * The tensors end with the callback; `device.keep(t.alias())` keeps one. If many states share a step, as in the heads of
 * Mamba-2, a channel is a head.
 */
export interface LayerDecay {
  readonly layer: number;
  /** Steps after bias and softplus, f32 (f64 in an f64 model) [b, l, channels]. */
  readonly dt: Tensor;
  /** [states of a channel, channels]; below 0 in every model that forgets. */
  readonly A: Tensor;
}

/** Options of a forward pass. */
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
  /** Frees the tensors that it computed. The weights stay with the model. */
  dispose?(): void;
}

/** Positions of a forward pass: `tokens` of each of `batch` sequences, after `past` that came before. */
export interface CostSize {
  readonly tokens: number;
  readonly batch: number;
  readonly past: number;
}

/** A mixer before it is built. Only the plan names its weights. */
export interface MixerPlan {
  /**
   * Its weights under a module path, in the order in which a new model draws them.
   * @param depth layers of the model: outputs start smaller by it, because each adds to the residual stream
   */
  rows(path: string, depth: number): WeightRow[];
  build(path: string, weights: Weights): Mixer;
  /** Tensors of its state between calls; none for a mixer without state. */
  readonly state: StateKind;
  /** Whether it reads positions and documents. */
  readonly readsPositions: boolean;
  /** True if it reads ragged batches: sequences of different lengths without padding. */
  readonly takesRagged: boolean;
  /** Inputs and outputs of its linear maps, in the order of computation. */
  readonly linears: readonly (readonly [inputs: number, outputs: number])[];
  /** Floating-point operations outside linear maps. A transcendental function counts as one. */
  flops(size: CostSize): number;
}
