/**
 * Forecasting as a training task: windows in, squared error of scaled values out, by the protocol of the papers (Adam, the
 * rate halved from the third epoch on, the best epoch on validation kept). With VPT each sample has its variables in a
 * random order of its own, and what that order cost is credited to it; evaluations read the variables in the order of
 * least cost (VAST), found anew for each.
 */
import { HostRandom, UsageError } from '../core/index.ts';
import {
  abs,
  add,
  mul,
  neg,
  relu,
  reshape,
  scale,
  scaleGradient,
  shift,
  square,
  sub,
  sum,
  type Tensor,
} from '../tensor/index.ts';
import type {
  Evaluation,
  LossOptions,
  StepBatches,
  TaskState,
  TrainedParameter,
  TrainingTask,
} from '../train/index.ts';
import {
  cutWindows,
  type ScaledSeries,
  type Splits,
  type WindowBatch,
  type WindowSize,
  windowStarts,
} from './data/index.ts';
import { everyStart, ModelForecaster, normaliseRows, scoreWindows } from './forecaster.ts';
import { type ForecastModel, MOST_EXACT, VariableCosts } from './models/index.ts';
import type { ForecastLoss, Solver } from './names.ts';

export interface ForecastTaskInput {
  readonly model: ForecastModel;
  readonly series: ScaledSeries;
  readonly splits: Splits;
  readonly size: WindowSize;
  readonly batchSize: number;
  readonly seed: number;
  /** Random orders of variables in training; nothing for a model that does not see their order. */
  readonly permutes: boolean;
  /** Finds the order of evaluations; `none`: as the variables come. */
  readonly solver: Solver;
  readonly loss: ForecastLoss;
}

const LOSSES: Readonly<Record<ForecastLoss, (error: Tensor) => Tensor>> = {
  mse: square,
  mae: abs,
  huber(error) {
    const size = abs(error);
    const inner = relu(shift(neg(size), 1)); // 1 - |e| within 1
    return add(shift(size, -0.5), scale(square(inner), 0.5));
  },
};

interface Batch extends WindowBatch {
  readonly orders: readonly (readonly number[])[] | null;
}

/** Streams of random numbers that dropout, which counts from 0, never comes to. */
const [SHUFFLES, ORDERS] = [0x40000000, 0x80000000];

/** The best evaluation: its epoch, and its order of the variables. */
interface BestEpoch {
  readonly loss: number;
  readonly epoch: number;
  readonly order: number[] | null;
}

interface SavedState {
  position: number;
  costs: ReturnType<VariableCosts['toJson']>;
  best: BestEpoch | null;
}

export class ForecastTask implements TrainingTask<Batch> {
  readonly device;
  readonly parameters: readonly TrainedParameter[];
  readonly stepsPerEpoch: number;
  readonly costs: VariableCosts;
  private readonly starts: readonly number[];
  private readonly permutes: boolean;
  private position = 0;
  private epoch: { number: number; starts: number[] } | null = null;
  private best: (BestEpoch & { weights: Map<string, Tensor> }) | null = null;

  /** @throws UsageError for more variables than the solver takes */
  constructor(private readonly input: ForecastTaskInput) {
    const { model, splits, size, batchSize, series } = input;
    const k = series.values.length;
    if (input.solver === 'exact' && k > MOST_EXACT) {
      throw new UsageError(`--solver: exact takes ${MOST_EXACT} variables at most, there are ${k}; take annealing`);
    }
    this.device = model.device;
    // Weight decay is for matrices alone: not for norms, biases and what makes the states decay.
    this.parameters = [...model.parameters]
      .filter(([, tensor]) => tensor.requiresGrad)
      .map(([name, tensor]) => ({ name, tensor, isDecayed: isMatrix(name) }));
    this.starts = everyStart(windowStarts(splits.train, size));
    this.stepsPerEpoch = Math.max(1, Math.floor(this.starts.length / batchSize));
    this.permutes = input.permutes && model.isOrdered;
    this.costs = new VariableCosts(k);
  }

  /** `type1`: epochs 1 and 2 at the full rate, each later one at half of that before. */
  rateFactor(i: number): number {
    return 0.5 ** Math.max(0, Math.floor(i / this.stepsPerEpoch) - 1);
  }

  /** First rows of the windows of a step. The last windows of an epoch that fill no batch are left out, as published. */
  private stepStarts(step: number): number[] {
    const { batchSize, seed } = this.input;
    const number = Math.floor(step / this.stepsPerEpoch);
    if (this.epoch?.number !== number) {
      this.epoch = { number, starts: new HostRandom(seed, SHUFFLES + number).shuffle([...this.starts]) };
    }
    const at = (step % this.stepsPerEpoch) * batchSize;
    return this.epoch.starts.slice(at, at + batchSize);
  }

  nextStep(): StepBatches<Batch> {
    const { series, size, seed } = this.input;
    const step = this.position++;
    const starts = this.stepStarts(step);
    const k = series.values.length;
    const random = new HostRandom(seed, ORDERS + step);
    const newOrder = () => random.shuffle(Array.from({ length: k }, (_, i) => i));
    const orders = this.permutes ? starts.map(newOrder) : null;
    const windows = cutWindows(series, starts, size, orders ?? undefined);
    return {
      microBatches: [{ ...windows, orders }],
      normalizer: Math.max(1, windows.counted),
      tokens: windows.inputs.length,
    };
  }

  /** Mean error of the values as they are scaled, of a model that may forecast normalised ones. */
  loss(batch: Batch, { normalizer, gradScale, random }: LossOptions): Tensor {
    const { device } = this;
    const { model, size } = this.input;
    const { b, inputs, ahead, orders } = batch;
    const norm = model.isNormalised ? normaliseRows(inputs, size.lookback) : null;
    const rows = inputs.length / size.lookback;
    const x = device.from(norm?.normalised ?? inputs, [b, rows / b, size.lookback]);
    const y = reshape(model.forward(x, { random, ahead, orders }), [rows, size.horizon]);
    const { targets, factors } = weigh(batch, norm, size.horizon);
    const error = sub(y, device.from(targets, [rows, size.horizon]));
    const weighed = factors ? mul(error, device.from(factors, [rows, factors.length / rows])) : error;
    const costs = sum(reshape(LOSSES[this.input.loss](weighed), [b, targets.length / b]), 1); // [b]
    if (batch.orders) this.credit(batch, costs);
    return scaleGradient(scale(sum(costs), 1 / normalizer), gradScale);
  }

  /** Reads the samples' costs, which are there before the loss is, for VAST. */
  private credit({ orders, weights, targets, b }: Batch, costs: Tensor): void {
    const size = targets.length / b;
    const counts = Array.from({ length: b }, (_, i) =>
      weights
        ? Math.max(
            1,
            weights.subarray(i * size, (i + 1) * size).reduce((n, w) => n + w, 0),
          )
        : size,
    );
    costs.read().then(
      (sums) => {
        this.costs.add(
          orders!,
          counts.map((count, i) => sums[i] / count),
        );
      },
      () => undefined, // the loss, read after it, fails too and is reported
    );
  }

  /** The order that evaluations read the variables in; null where the model does not see it, or nothing was learned yet. */
  private currentOrder(): number[] | null {
    const { model, solver, seed } = this.input;
    if (!model.isOrdered || solver === 'none' || !this.permutes || this.costs.isEmpty) return null;
    return this.costs.order(solver, seed);
  }

  /** Squared error over every window of the validation part; the weights of the best are kept. */
  async evaluate(signal?: AbortSignal): Promise<Evaluation> {
    const { model, series, splits, size } = this.input;
    const order = this.currentOrder();
    const forecaster = new ModelForecaster(model, size, order);
    const { mse, mae } = await scoreWindows(forecaster, series, windowStarts(splits.validation, size), signal);
    if (!signal?.aborted && mse < (this.best?.loss ?? Number.POSITIVE_INFINITY)) this.keepBest(mse, order);
    return { loss: mse, mae };
  }

  private keepBest(loss: number, order: number[] | null): void {
    const { device } = this;
    this.disposeBest();
    const weights = new Map(
      this.parameters.map(({ name, tensor }) => {
        const copy = device.keep(device.empty(tensor.shape, tensor.dtype));
        copyInto(copy, tensor);
        return [name, copy] as const;
      }),
    );
    this.best = { loss, epoch: this.position / this.stepsPerEpoch, order, weights };
  }

  /**
   * The forecaster of the best epoch: its weights are written into the model. Of a model that was never evaluated, that
   * of the weights as they are.
   */
  bestForecaster(): { forecaster: ModelForecaster; validation: number; bestEpoch: number } {
    const { model, size } = this.input;
    const { best } = this;
    if (!best) {
      const forecaster = new ModelForecaster(model, size, this.currentOrder());
      return { forecaster, validation: Number.NaN, bestEpoch: Number.NaN };
    }
    for (const { name, tensor } of this.parameters) copyInto(tensor, best.weights.get(name)!);
    return { forecaster: new ModelForecaster(model, size, best.order), validation: best.loss, bestEpoch: best.epoch };
  }

  state(): TaskState {
    const { position, costs, best } = this;
    const json: SavedState = {
      position,
      costs: costs.toJson(),
      best: best && { loss: best.loss, epoch: best.epoch, order: best.order },
    };
    return { json, ...(best && { tensors: best.weights }) };
  }

  restore({ json, tensors }: TaskState): void {
    const { position, costs, best } = json as SavedState;
    this.position = position;
    this.costs.restore(costs);
    this.disposeBest();
    this.best = best && { ...best, weights: new Map(tensors) };
  }

  private disposeBest(): void {
    for (const tensor of this.best?.weights.values() ?? []) tensor.dispose();
    this.best = null;
  }

  /** Gives back what is the task's own; the model is the caller's. */
  dispose(): void {
    this.disposeBest();
  }
}

const isMatrix = (name: string): boolean => name.endsWith('.weight') && !/norm/.test(name);

function copyInto(target: Tensor, source: Tensor): void {
  const { rows, cols, device } = source;
  device.launch('copy', { x: source, y: target }, { rows, cols });
  target.storage.generation++;
}

/** Targets as the model is to give them, and what its errors are multiplied by: (y s + m - t) w = (y - (t - m) / s) s w. */
function weigh({ targets, weights }: Batch, norm: ReturnType<typeof normaliseRows> | null, horizon: number) {
  if (!norm) return { targets, factors: weights };
  const scaled = targets.map((t, i) => (t - norm.mean[Math.floor(i / horizon)]) / norm.root[Math.floor(i / horizon)]);
  const factors = weights ? weights.map((w, i) => w * norm.root[Math.floor(i / horizon)]) : norm.root;
  return { targets: scaled, factors };
}
