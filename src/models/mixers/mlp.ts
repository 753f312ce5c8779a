/** The feed-forward part of a Transformer (Vaswani et al. 2017): a mixer of channels alone, without state. y = down(f(up(x))). */
import type { Linear } from '../../nn/index.ts';
import {
  add,
  cast,
  dropout,
  gelu,
  mul,
  recompute,
  relu,
  scale,
  sigmoid,
  silu,
  square,
  type Tensor,
} from '../../tensor/index.ts';
import { type LinearInit, linearRows } from '../checkpoint/table.ts';
import { linearOf } from '../weighted-layers.ts';
import type { Mixer, MixerContext, MixerPlan, MixerResult, Weights } from './mixer.ts';

/** x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), with (1 + tanh u)/2 = sigmoid(2u). */
function geluTanh(half: Tensor): Tensor {
  const isHalf = half.dtype === 'bf16' || half.dtype === 'f16';
  const x = isHalf ? cast(half, 'f32') : half;
  const inner = add(x, scale(mul(square(x), x), 0.044715));
  return cast(mul(x, sigmoid(scale(inner, 2 * Math.sqrt(2 / Math.PI)))), half.dtype);
}

/** Activations by the names of transformers; `gelu_new`, `gelu_fast` and `gelu_pytorch_tanh` are one function, the tanh form. */
export const ACTIVATIONS = {
  gelu,
  gelu_new: geluTanh,
  gelu_fast: geluTanh,
  gelu_pytorch_tanh: geluTanh,
  relu,
  silu,
} as const satisfies Record<string, (x: Tensor) => Tensor>;

export type Activation = keyof typeof ACTIVATIONS;

export interface MlpSpec {
  readonly hiddenSize: number;
  /** Width between the two maps. */
  readonly innerSize: number;
  readonly activation: Activation;
  readonly names: { readonly up: string; readonly down: string };
  readonly initial: { readonly up: LinearInit; readonly down: LinearInit };
  /** Probability with which inner values drop out in training. */
  readonly dropout: number;
}

class MlpMixer implements Mixer {
  readonly own = [];
  readonly layers: readonly [up: Linear, down: Linear];

  constructor(
    private readonly spec: MlpSpec,
    path: string,
    weights: Weights,
  ) {
    const { up, down } = spec.names;
    this.layers = [linearOf(weights, `${path}.${up}`), linearOf(weights, `${path}.${down}`)];
  }

  forward(x: Tensor, { mode: { recomputes, random } }: MixerContext): MixerResult {
    const [up, down] = this.layers;
    const activate = ACTIVATIONS[this.spec.activation];
    const p = random ? this.spec.dropout : 0;
    const inner = up.forward(x); // [b, l, innerSize]
    const active = activate(inner);
    const y = down.forward(p > 0 ? dropout(active, p, random!) : active);
    if (recomputes) recompute(active, [inner], activate);
    return { y, state: null };
  }
}

/** An MLP that is still to be built. */
export function mlpMixer(spec: MlpSpec): MixerPlan {
  const { hiddenSize: d, innerSize: e, names, initial } = spec;
  return {
    rows: (path) => [
      ...linearRows(`${path}.${names.up}`, [e, d], initial.up),
      ...linearRows(`${path}.${names.down}`, [d, e], initial.down),
    ],
    build: (path, weights) => new MlpMixer(spec, path, weights),
    state: {},
    readsPositions: false,
    takesRagged: true,
    linears: [
      [d, e],
      [e, d],
    ],
    flops: ({ tokens, batch }) => batch * tokens * e,
  };
}
