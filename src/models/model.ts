/**
 * What every language model offers to generation, tuning and evaluation, whatever its blocks are.
 */
import type { DType, RandomSource } from '../core/index.ts';
import type { AdaptableLayer } from '../nn/index.ts';
import type { Device, HeadLossOptions, Piece, Tensor } from '../tensor/index.ts';

/**
 * What a model remembers between calls: for each layer its named tensors, batch first. Constant in length where the
 * memory is a recurrence; `keys`, `values` and `documents` of attention have an entry a position, on their second axis.
 */
export interface ModelState {
  readonly layers: readonly Record<string, Tensor>[];
  dispose(): void;
}

/**
 * What the input made of a layer's recurrence: position t multiplies state i of a channel by
 * exp(steps[t, channel] rates[i, channel]), whatever the state is. Tensors live as long as the call that hands them out;
 * `device.keep(t.alias())` keeps one. Where many states share a step, as in the heads of Mamba-2, a channel is a head.
 */
export interface LayerDecay {
  readonly layer: number;
  /** After bias and softplus, f32 (f64 in an f64 model) [b, l, channels]. */
  readonly steps: Tensor;
  /** [states of a channel, channels]; below 0 in every model that forgets. */
  readonly rates: Tensor;
}

export interface ForwardOptions {
  /** i32 [b, l]: bit 0 starts a new document at the position, bit 1 marks padding (backend/kernels.ts). */
  flags?: Tensor | null;
  /**
   * Sequences of different lengths without padding: ids and flags are [1, n], all positions one after the other, a state
   * has a row a sequence. Without gradients, and only where the model `takesPieces`.
   */
  pieces?: readonly Piece[] | null;
  /** State before the first position; a fresh start if absent. Not consumed. */
  state?: ModelState | null;
  /** Whether to return the state after the last position; the caller disposes of it. */
  wantState?: boolean;
  /** Keep only each block's input for the backward pass and compute the rest again. */
  checkpointing?: boolean;
  /** Compute again in the backward pass what takes much memory and little time, where the family knows what; not with checkpointing. */
  isLean?: boolean;
  /** Called for each layer that has a recurrence, in order, while the forward pass is queued; not with checkpointing. */
  observe?: (decay: LayerDecay) => void;
  /** Added to the residual stream where it enters the first layer, [b, l, hiddenSize] in the stream's type. */
  streamOffset?: Tensor | null;
  /** Source of dropout's random numbers; adapters with dropout draw from it only in training. */
  random?: RandomSource;
}

export interface CausalLM {
  /** `model_type` of its config.json. */
  readonly family: string;
  readonly device: Device;
  /** Type of the activations that feed matrix products: f32, bf16 or f16. Residual and recurrence stay f32. */
  activations: DType;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly layerCount: number;
  /**
   * Positions that the model was made for, and remembers where it reads a stream; longer texts run all the same. Null
   * where the state has a constant size: it remembers without an end.
   */
  readonly memoryLength: number | null;
  /** Whether it reads sequences of different lengths without padding (`ForwardOptions.pieces`). */
  readonly takesPieces: boolean;
  /** Module path of the output head, even where it is tied: `lm_head`. */
  readonly headPath: string;
  /** Every parameter under its checkpoint name (a tied head is listed once, as the embedding). */
  readonly parameters: ReadonlyMap<string, Tensor>;
  /** Scales of the rows of weights that are i8, under the weights' names; of a model in floats, none. */
  readonly scales: ReadonlyMap<string, Tensor>;
  /** Layers that adapters can attach to, under their module path (`backbone.layers.0.mixer.in_proj`). */
  readonly adaptable: ReadonlyMap<string, AdaptableLayer>;
  /** Parameters whose checkpoint names the decay of AdamW leaves alone (A_log, D, norms, biases). */
  isDecayed(name: string): boolean;
  /** ids i32 [b, l] -> hidden states after the final norm, [b, l, hiddenSize]. */
  forward(ids: Tensor, options?: ForwardOptions): { hidden: Tensor; state: ModelState | null };
  /** hidden [..., hiddenSize] -> logits f32 [..., vocabSize]. */
  logits(hidden: Tensor): Tensor;
  /** Mean cross-entropy of hidden states against targets i32 (IGNORE_INDEX carries none), without storing logits. */
  loss(hidden: Tensor, targets: Tensor, options: HeadLossOptions): Tensor;
  /** config.json as it would be saved. */
  configJson(): Record<string, unknown>;
  dispose(): void;
}
