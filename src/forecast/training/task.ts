/**
 * A forecaster as a task of the one training loop: random windows of the training part, mean squared error, the rate halved
 * after each pass but the first, the weights of the best validation kept. For models that read across variables, each
 * sample has a random order of its variables (VPT) whose loss is remembered (VAST).
 */
import { HostRandom, KraitError } from '../../core/index.ts';
import { isRecord } from '../../io/index.ts';
import { type Device, mul, reshape, scale, square, sub, sum, type Tensor } from '../../tensor/index.ts';
import {
  type Evaluation,
  type LossOptions,
  type StepBatches,
  scaleGradient,
  type TaskState,
  type TrainedParameter,
  type TrainingTask,
} from '../../tune/trainer/index.ts';
import type { WindowBatch, WindowSet } from '../data/index.ts';
import type { ForecastModel } from '../models/index.ts';
import { type OrderName, Transitions, type TransitionsJson } from '../order/index.ts';
import { scoreWindows } from './score.ts';

export interface ForecastTaskOptions {
  readonly device: Device;
  readonly model: ForecastModel;
  readonly train: WindowSet;
  readonly validation: WindowSet;
  readonly batchSize: number;
  readonly seed: number;
  /** Whether each sample has a random order of variables while training. */
  readonly permute: boolean;
  /** How the order of variables is found from the losses of random ones. */
  readonly order: OrderName;
}

interface TrainingBatch extends WindowBatch {
  readonly orders: Int32Array | null;
}

interface Best {
  readonly loss: number;
  readonly order: readonly number[] | null;
}

/** Orders are drawn from streams beyond those of the epochs. */
const ORDER_STREAM = 2 ** 20;

export class ForecastTask implements TrainingTask<TrainingBatch> {
  readonly device: Device;
  readonly parameters: readonly TrainedParameter[];
  readonly stepsPerEpoch: number;
  readonly transitions: Transitions | null;
  private readonly batchSize: number;
  private position = 0;
  private shuffled: { epoch: number; windows: number[] } | null = null;
  private reading: Promise<void>[] = [];
  private best: Best | null = null;
  private bestWeights = new Map<string, Tensor>();

  constructor(private readonly options: ForecastTaskOptions) {
    const { device, model, train, permute } = options;
    this.device = device;
    this.parameters = [...model.parameters].map(([name, tensor]) => ({
      name,
      tensor: tensor.trainable(),
      isDecayed: false,
    }));
    this.batchSize = Math.min(options.batchSize, train.length);
    this.stepsPerEpoch = Math.floor(train.length / this.batchSize);
    this.transitions = model.readsAcross && permute ? new Transitions(train.variables) : null;
  }

  /** Passes 1 and 2 at the full rate, each later one at half of the rate before: `type1` of the published protocols. */
  rateFactor(step: number): number {
    return 0.5 ** Math.max(0, Math.floor(step / this.stepsPerEpoch) - 1);
  }

  async nextStep(): Promise<StepBatches<TrainingBatch>> {
    await this.settle();
    const { stepsPerEpoch, batchSize, options } = this;
    const epoch = Math.floor(this.position / stepsPerEpoch);
    if (this.shuffled?.epoch !== epoch) {
      const windows = Array.from({ length: options.train.length }, (_, i) => i);
      this.shuffled = { epoch, windows: new HostRandom(options.seed, epoch).shuffle(windows) };
    }
    const at = (this.position % stepsPerEpoch) * batchSize;
    const orders = this.transitions && this.randomOrders(batchSize);
    this.position++;
    const windows = this.shuffled.windows.slice(at, at + batchSize);
    const batch = { ...options.train.batch(windows, orders ?? undefined), orders };
    const normalizer = batch.mask ? batch.mask.reduce((n, m) => n + m, 0) : batch.future.length;
    return { microBatches: [batch], normalizer: Math.max(1, normalizer), tokens: batch.past.length };
  }

  private randomOrders(samples: number): Int32Array {
    const k = this.options.train.variables;
    const random = new HostRandom(this.options.seed, ORDER_STREAM + this.position);
    const orders = new Int32Array(samples * k);
    for (let i = 0; i < samples; i++) {
      orders.set(random.shuffle(Array.from({ length: k }, (_, v) => v)), i * k);
    }
    return orders;
  }

  loss(batch: TrainingBatch, { normalizer, gradScale, random }: LossOptions): Tensor {
    const { device, options, transitions } = this;
    const { b, k, past, future, mask, orders } = batch;
    const { lookback, horizon } = options.train;
    const y = options.model.forward(device.from(past, [b, k, lookback]), { random });
    const off = sub(y, device.from(future, [b, k, horizon]));
    const counted = mask ? mul(off, device.from(mask, [b, k, horizon])) : off;
    const samples = sum(reshape(square(counted), [b, k * horizon]), 1); // [b]
    if (transitions && orders) {
      const read = samples.read().then((sums) => {
        transitions.add(
          orders,
          [...sums].map((s) => s / (k * horizon)),
        );
      });
      read.catch(() => undefined); // told when it is awaited
      this.reading.push(read);
    }
    return scaleGradient(scale(sum(samples), 1 / normalizer), gradScale);
  }

  private async settle(): Promise<void> {
    const { reading } = this;
    this.reading = [];
    await Promise.all(reading);
  }

  /** The order that is best by what was learned so far; null where order does not matter or is that of the file. */
  order(): number[] | null {
    const { order, model, seed } = this.options;
    if (!model.readsAcross || order === 'file') return null;
    if (!this.transitions) return null;
    return this.transitions.order(order, seed);
  }

  /** Mean squared error over all validation windows. */
  async evaluate(signal?: AbortSignal): Promise<Evaluation> {
    await this.settle();
    const { device, model, validation } = this.options;
    const order = this.order();
    const { mse, mae } = await scoreWindows(device, model, validation, order, signal);
    if (mse < (this.best?.loss ?? Number.POSITIVE_INFINITY)) this.keep({ loss: mse, order });
    return { loss: mse, mae };
  }

  private keep(best: Best): void {
    const { device } = this;
    this.best = best;
    for (const { name, tensor } of this.parameters) {
      const copy = this.bestWeights.get(name) ?? device.keep(device.empty(tensor.shape, tensor.dtype));
      device.launch('copy', { x: tensor, y: copy }, { rows: tensor.rows, cols: tensor.cols });
      this.bestWeights.set(name, copy);
    }
  }

  /** Puts the weights of the best evaluation into the model; returns its loss and order. @throws KraitError without one */
  useBest(): Best {
    if (!this.best) throw new KraitError('[forecast] no evaluation gave a finite loss; lower the learning rate');
    for (const { name, tensor } of this.parameters) {
      const copy = this.bestWeights.get(name)!;
      this.device.launch('copy', { x: copy, y: tensor }, { rows: tensor.rows, cols: tensor.cols });
      tensor.storage.generation++;
    }
    return this.best;
  }

  state(): TaskState {
    // What was read of a step is there before its loss is, which the trainer waits for.
    const json = { position: this.position, best: this.best, transitions: this.transitions?.toJson() ?? null };
    return { json, ...(this.bestWeights.size > 0 && { tensors: this.bestWeights }) };
  }

  restore({ json, tensors }: TaskState): void {
    const state = (isRecord(json) ? json : {}) as { position: number; best: Best | null; transitions: unknown };
    this.position = state.position;
    this.best = state.best;
    if (this.transitions && isRecord(state.transitions)) {
      this.transitions.restore(state.transitions as unknown as TransitionsJson);
    }
    this.dispose();
    this.bestWeights = new Map(tensors ?? []);
  }

  /** Gives the kept weights back; the model stays. */
  dispose(): void {
    for (const tensor of this.bestWeights.values()) tensor.dispose();
    this.bestWeights = new Map();
  }
}
