/**
 * Layers: named parameters with a forward pass and a place for an adapter. `name` is the module's path in the
 * checkpoint, so that `${name}.weight` is the tensor's key.
 */
import type { DType } from '../core/index.ts';
import {
  type ConvOptions,
  causalConv,
  embedding,
  layerNorm,
  linear,
  type NormOptions,
  type NormResult,
  reshape,
  rmsNorm,
  type Tensor,
} from '../tensor/index.ts';
import type { EmbeddingAdapter, LinearAdapter, WeightAdapter } from './adapter.ts';

/** y = x W^T + bias; weight [n, k]. A quantised weight, i8, has a scale for each of its rows, f32 [n]. */
export class Linear {
  readonly kind = 'linear';
  adapter: LinearAdapter | null = null;

  constructor(
    readonly name: string,
    public weight: Tensor,
    public bias: Tensor | null = null,
    public scale: Tensor | null = null,
  ) {}

  /** x [..., k] -> [..., n] in `dtype` (x's unless given). `useBias: false` leaves the bias to a later kernel. */
  forward(x: Tensor, { dtype, useBias = true }: { dtype?: DType; useBias?: boolean } = {}): Tensor {
    const y = linear(x, this.weight, useBias ? this.bias : null, { dtype, scale: this.scale });
    return this.adapter ? this.adapter.apply(x, y) : y;
  }
}

/** Rows of a table; weight [v, d]. A quantised table, i8, has a scale for each of its rows, f32 [v]. */
export class Embedding {
  readonly kind = 'embedding';
  adapter: EmbeddingAdapter | null = null;

  constructor(
    readonly name: string,
    public weight: Tensor,
    public scale: Tensor | null = null,
  ) {}

  /** ids i32 [...] -> [..., d] in `dtype` (the table's unless given, f32 where that is i8). */
  forward(ids: Tensor, { dtype }: { dtype?: DType } = {}): Tensor {
    const y = embedding(this.weight, ids, { dtype, scale: this.scale });
    return this.adapter ? this.adapter.apply(ids, y) : y;
  }
}

/** Depthwise causal convolution; weight [d, 1, k] as checkpoints store it. */
export class DepthwiseConv {
  readonly kind = 'conv';
  adapter: WeightAdapter | null = null;

  constructor(
    readonly name: string,
    public weight: Tensor,
    public bias: Tensor | null = null,
  ) {}

  /** x [b, l, d] -> y [b, l, d] and the state after the last position if wanted. */
  forward(x: Tensor, options: Omit<ConvOptions, 'bias'> = {}): { y: Tensor; state: Tensor | null } {
    const whole = this.adapter ? this.adapter.weight(this.weight) : this.weight;
    const [d, , k] = whole.shape;
    return causalConv(x, reshape(whole, [d, k]), { bias: this.bias, ...options });
  }
}

/** RMSNorm over the last axis; weight [d], or null for none. */
export class RMSNorm {
  readonly kind = 'norm';

  constructor(
    readonly name: string,
    public weight: Tensor | null,
    readonly eps: number,
  ) {}

  forward(x: Tensor, options: Omit<NormOptions, 'eps'> = {}): NormResult {
    return rmsNorm(x, this.weight, { eps: this.eps, ...options });
  }
}

/** LayerNorm over the last axis; weight and bias [d]. */
export class LayerNorm {
  readonly kind = 'norm';

  constructor(
    readonly name: string,
    public weight: Tensor | null,
    public bias: Tensor | null,
    readonly eps: number,
  ) {}

  forward(x: Tensor, options: Omit<NormOptions, 'eps'> = {}): NormResult {
    return layerNorm(x, this.weight, this.bias, { eps: this.eps, ...options });
  }
}

/** A layer that adapters can attach to. */
export type AdaptableLayer = Linear | Embedding | DepthwiseConv;
