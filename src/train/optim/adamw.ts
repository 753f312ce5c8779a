/**
 * AdamW with decoupled weight decay: one kernel a parameter.
 * Source: Loshchilov and Hutter 2019, "Decoupled weight decay regularization", algorithm 2; equations in the reference
 * kernel `backend/reference/adamw.ts`.
 */
import type { Tensor } from '../../tensor/index.ts';
import { MomentOptimizer, type Slot, type TrainedParameter } from './optimizer.ts';

export interface AdamWOptions {
  betas?: readonly [number, number];
  eps?: number;
  weightDecay?: number;
}

export const ADAMW_DEFAULTS = { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 } as const;

export class AdamW extends MomentOptimizer<'m' | 'v'> {
  private readonly options: Required<AdamWOptions>;

  /** @throws KraitError if there is nothing to train or a name stands twice */
  constructor(parameters: Iterable<TrainedParameter>, options: AdamWOptions = {}) {
    super('adamw', ['m', 'v'], parameters);
    this.options = { ...ADAMW_DEFAULTS, ...options };
  }

  protected apply(slots: readonly Slot<'m' | 'v'>[], control: Tensor, learningRate: number): void {
    const { betas, eps, weightDecay } = this.options;
    for (const { tensor, master, moments, isDecayed } of slots) {
      const { m, v } = moments;
      const tensors = { param: master ?? tensor, grad: tensor.grad, m, v, control, half: master ? tensor : null };
      const decay = { weightDecay: isDecayed ? weightDecay : 0 };
      const scalars = { lr: learningRate, beta1: betas[0], beta2: betas[1], eps, step: this.step, ...decay };
      this.device.launch('adamw', tensors, { n: tensor.size }, scalars);
    }
  }
}
