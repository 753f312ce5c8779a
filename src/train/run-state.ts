/** Everything a run needs to go on as if it had never stopped, to and from its checkpoints. */
import { ConfigError, RandomSource } from '../core/index.ts';
import { isRecord } from '../io/index.ts';
import type { Tensor } from '../tensor/index.ts';
import { type CheckpointContent, type CheckpointStore, numberOf, recordOf } from './checkpoint-store.ts';
import { createOptimizer, LossScale, type LossScaleState, type Optimizer } from './optim/index.ts';
import { optimizerSettings, rememberedSetting, runSettings, type TrainerOptions } from './options.ts';
import type { Evaluation, TrainingTask } from './task.ts';

export interface Best {
  readonly step: number;
  readonly loss: number;
}

export class RunState<B> {
  /** Steps that were queued. */
  step = 0;
  best: Best | null = null;
  evaluation: Evaluation | null = null;
  /** The step after which the last evaluation was made. */
  evaluatedStep = -1;
  readonly optimizer: Optimizer;
  readonly scaler: LossScale | null;
  readonly random: RandomSource;

  constructor(
    private readonly task: TrainingTask<B>,
    private readonly options: TrainerOptions,
    private readonly taskSettings: Readonly<Record<string, unknown>> = {},
  ) {
    const { optimizer, precision, seed, initialLossScale } = options;
    this.optimizer = createOptimizer(optimizer, task.parameters, optimizerSettings(options));
    this.scaler = precision === 'f16' ? new LossScale({ initialScale: initialLossScale }) : null;
    this.random = new RandomSource(seed);
  }

  private get weights(): Map<string, Tensor> {
    return new Map(this.task.parameters.map(({ name, tensor }) => [name, tensor]));
  }

  content(): CheckpointContent {
    const { task, optimizer, random, scaler, step, best, evaluation, evaluatedStep, options } = this;
    const data = task.state();
    const groups = { weights: this.weights, optimizer: optimizer.state(), ...(data.tensors && { task: data.tensors }) };
    const json = {
      step,
      settings: { ...runSettings(options), task: this.taskSettings },
      optimizer_step: optimizer.step,
      random_stream: random.stream,
      loss_scale: scaler?.state() ?? null,
      best,
      evaluation,
      evaluated_step: evaluatedStep,
      data: data.json,
    };
    return { groups, json };
  }

  /**
   * Takes over what a checkpoint holds.
   * @throws ConfigError if it is of a run with other settings; CheckpointError if it is of other parameters
   */
  async restore(store: CheckpointStore, step: number): Promise<void> {
    const json = await store.readJson(step);
    const where = store.pathOf(step);
    this.checkSettings(recordOf(json, 'settings', where), where);
    await store.readInto(step, 'weights', this.weights);
    await store.readInto(step, 'optimizer', this.optimizer.state());
    this.step = numberOf(json, 'step', where);
    this.optimizer.step = numberOf(json, 'optimizer_step', where);
    this.random.stream = numberOf(json, 'random_stream', where);
    this.scaler?.restore(recordOf(json, 'loss_scale', where) as unknown as LossScaleState);
    this.best = isRecord(json.best) ? (json.best as unknown as Best) : null;
    this.evaluation = isRecord(json.evaluation) ? (json.evaluation as unknown as Evaluation) : null;
    this.evaluatedStep = numberOf(json, 'evaluated_step', where);
    // A kill between the two pointers of a save leaves `best` behind.
    if (this.best && (await store.pointer('best')) !== this.best.step) await store.point('best', this.best.step);
    this.task.restore({ json: json.data, tensors: await store.readNew(step, 'task', this.task.device) });
  }

  /** Checkpoints of version 0.1 remember nothing of the task: of these its settings are not compared. */
  private checkSettings(before: Record<string, unknown>, where: string): void {
    const check = (key: string, was: unknown, now: unknown) => {
      const [old, own] = [JSON.stringify(was), JSON.stringify(now)];
      if (old === own) return;
      throw new ConfigError(
        `${where}: ${key} was ${old}, now ${own}; resume with the settings of the run, or start anew`,
      );
    };
    for (const [key, value] of Object.entries(runSettings(this.options))) {
      check(key, rememberedSetting(before, key), value);
    }
    const task = isRecord(before.task) ? before.task : null;
    for (const [key, value] of Object.entries(task ? this.taskSettings : {})) check(key, task![key], value);
  }
}
