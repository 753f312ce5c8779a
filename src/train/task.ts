/**
 * What the trainer needs to know of what is trained. Language models, classifiers and forecasters are tasks; the
 * trainer knows of none of them.
 */
import type { RandomSource } from '../core/index.ts';
import type { Device, Tensor } from '../tensor/index.ts';
import type { TrainedParameter } from './optim/index.ts';

export type { TrainedParameter };

/** The data of one optimiser step. */
export interface StepBatches<B> {
  /** One or more batches that fit in memory. Their gradients are added. */
  readonly microBatches: readonly B[];
  /** Divisor of loss and gradients: the number of targets with loss, over all micro-batches. */
  readonly normalizer: number;
  /** Tokens (or values of a series) that are read, for the rate. */
  readonly tokens: number;
}

export interface LossOptions {
  /** Divisor of the sum of losses. */
  normalizer: number;
  /** Factor on the gradients, not on the loss: the loss scale of f16 training. See `scaleGradient`. */
  gradScale: number;
  /** Source of dropout's random numbers. */
  random: RandomSource;
  /** Whether to keep less for the backward pass and compute it again. */
  checkpointing: boolean;
}

/** Result of an evaluation. The checkpoint with the lowest `loss` is the best. */
export interface Evaluation {
  /** Mean over targets, in nats for language. */
  readonly loss: number;
  /** Anything else worth logging: `bits_per_byte`, `accuracy`. */
  readonly [metric: string]: number;
}

/** Position in a task's data, as a checkpoint stores it. */
export interface TaskState {
  /** Plain JSON. */
  readonly json: unknown;
  /** Device tensors, such as a carried recurrent state. The task's own: not disposed of by the trainer. */
  readonly tensors?: ReadonlyMap<string, Tensor>;
}

export interface TrainingTask<B = unknown> {
  readonly device: Device;
  readonly parameters: readonly TrainedParameter[];
  /** Steps of one pass over the data, where that is known. */
  readonly stepsPerEpoch?: number;
  /** Factor on the learning rate of step `i`, counted from 0, besides the schedule's; a function of `i` alone. */
  rateFactor?(i: number): number;
  /** The next step's batches, as host data. Endless: the trainer knows when to stop. */
  nextStep(): StepBatches<B> | Promise<StepBatches<B>>;
  /** Scalar loss of one micro-batch: a sum divided by `normalizer`. */
  loss(batch: B, options: LossOptions): Tensor;
  /** Called when the gradients of a step are queued, before its update. */
  afterStep?(): void;
  evaluate?(signal?: AbortSignal): Promise<Evaluation>;
  state(): TaskState;
  /** Continues from a checkpoint. Takes the tensors over. */
  restore(state: TaskState): void;
}
