/**
 * Where low-rank adapters attach. A layer computes its own output and lets its adapter change it; what the
 * adapter holds and how it is trained is none of the layer's business (`tune/lora`).
 */
import type { Tensor } from '../tensor/index.ts';

/** On a matrix product: returns y plus the adapter's own product of x. x [..., k], y [..., n]. */
export interface LinearAdapter {
  apply(x: Tensor, y: Tensor): Tensor;
}

/** On a table: returns y plus the adapter's rows for the same ids. y [..., d]. */
export interface EmbeddingAdapter {
  apply(ids: Tensor, y: Tensor): Tensor;
}

/** For weights that are read whole, such as the filter of a convolution. Returns the changed weight, in the same shape. */
export interface WeightAdapter {
  weight(base: Tensor): Tensor;
}
