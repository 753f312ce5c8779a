/**
 * The training loop, for any task. Steps are queued without waiting: while the device computes one, the host prepares
 * the next and reads the numbers of the one before. (With f16 it waits for each step, because the loss scale of the
 * next depends on it.)
 *
 * A resumed run is bit-identical to one that never stopped: a checkpoint holds the trained weights, the optimiser's moments,
 * masters and count, the loss scale, the position of the random numbers and of the data, and what the task carries.
 */
import { DivergedError } from '../core/index.ts';
import type { FileSystem } from '../io/index.ts';
import { CheckpointStore } from './checkpoint-store.ts';
import { learningRateAt } from './optim/index.ts';
import { resolveOptions, type TrainerOptions } from './options.ts';
import { RateMeter } from './rate.ts';
import { RunLog } from './run-log.ts';
import { type Best, RunState } from './run-state.ts';
import { queueStep, type StepOutcome } from './step-queue.ts';
import type { Evaluation, TrainingTask } from './task.ts';

export interface StepReport {
  /** Optimiser step, counted from 1. */
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
  readonly learningRate: number;
  /** Norm of the gradient before clipping. */
  readonly gradNorm: number;
  /** Tokens of this step. */
  readonly tokens: number;
  readonly tokensPerSecond: number;
  /** True if f16 gradients overflowed and no parameter changed. */
  readonly isSkipped: boolean;
}

export interface TrainingCallbacks {
  /** Settings are checked, the run's folder is open and what is resumed is read; `step` steps are done. */
  onOpen?(step: number): void;
  onStep?(report: StepReport): void;
  onEval?(step: number, evaluation: Evaluation): void;
  /** `path` is the checkpoint's folder. */
  onCheckpoint?(step: number, path: string): void;
}

export interface RunPlace {
  readonly files: FileSystem;
  /** Folder of the run: checkpoints and logs go there. */
  readonly folder: string;
  /** Continue from the last checkpoint if there is one. Otherwise files of an earlier run in the folder are removed. */
  readonly resume?: boolean;
}

export interface TrainInput extends TrainingCallbacks {
  options: Partial<TrainerOptions> & { steps: number };
  /** Settings of the task that make a run what it is: a checkpoint remembers them, and a resumed run must have the same. */
  taskSettings?: Readonly<Record<string, unknown>>;
  /** Folder for checkpoints and logs. Nothing is written without it. */
  place?: RunPlace;
  /** Ends the run after the current step, with a checkpoint. */
  signal?: AbortSignal;
}

export interface TrainingResult {
  readonly status: 'completed' | 'aborted';
  /** True if training ended before its last step, because no evaluation was better (`patience`). */
  readonly isEarly: boolean;
  /** Steps done, those before a resume included. */
  readonly step: number;
  /** Loss of the last step; NaN if there was none. */
  readonly loss: number;
  readonly evaluation: Evaluation | null;
  readonly best: Best | null;
  /** Rate over the steps of this call, without evaluations and saves. */
  readonly tokensPerSecond: number;
  readonly seconds: number;
  readonly tokens: number;
  /** Most device memory in use at once. */
  readonly peakBytes: number;
  /** Steps that f16 skipped in this call. */
  readonly skippedSteps: number;
}

interface Pending {
  readonly step: number;
  readonly learningRate: number;
  readonly outcome: Promise<StepOutcome>;
}

class Run<B> {
  private readonly options: TrainerOptions;
  private readonly state: RunState<B>;
  private readonly store: CheckpointStore | null;
  private log: RunLog | null = null;
  private pending: Pending | null = null;
  private savedStep = -1;
  /** The last checkpoint whose weights have given a finite loss, in the step after it or in an evaluation. */
  private provenStep = -1;
  /** Steps in a row, up to now, whose loss was not finite; f16 skips such a step. */
  private lostSteps = 0;
  private loss = Number.NaN;
  private skippedSteps = 0;
  private readonly rate = new RateMeter();

  constructor(
    private readonly task: TrainingTask<B>,
    private readonly input: TrainInput,
  ) {
    this.options = resolveOptions(input.options);
    this.state = new RunState(task, this.options, input.taskSettings);
    this.store = input.place ? new CheckpointStore(input.place.files, input.place.folder) : null;
  }

  async run(): Promise<TrainingResult> {
    const { task, options, input } = this;
    task.device.backend.resetPeak();
    try {
      await this.open();
      input.onOpen?.(this.state.step);
      const begun = performance.now();
      this.rate.resume();
      // The run may have been stopped while it evaluated.
      if (this.state.step > 0 || options.evalOnStart) await this.evaluateWhereDue();
      while (this.state.step < options.steps && !this.isEarly && !input.signal?.aborted) {
        await this.queueNext();
        await this.evaluateWhereDue();
        if (this.isDue(options.saveEvery)) await this.saveGood();
      }
      await this.settle();
      if (this.lostSteps > 1 && this.state.step === options.steps)
        await this.fail(this.state.step, `loss is ${this.loss}`);
      if (this.savedStep !== this.state.step) await this.save(['last']);
      return this.result((performance.now() - begun) / 1000);
    } finally {
      await this.settle().catch(() => undefined); // reads must not outlive the device
      await this.log?.close();
      this.state.optimizer.zeroGrad();
      this.state.optimizer.dispose();
    }
  }

  private result(seconds: number): TrainingResult {
    const { loss, skippedSteps, options, rate } = this;
    const { step, evaluation, best } = this.state;
    return {
      status: step < options.steps && !this.isEarly ? 'aborted' : 'completed',
      isEarly: step < options.steps && this.isEarly,
      step,
      loss,
      evaluation,
      best,
      tokens: rate.tokens,
      tokensPerSecond: rate.rate,
      seconds,
      peakBytes: this.task.device.memory().peakBytes,
      skippedSteps,
    };
  }

  /** True if the last `patience` evaluations gave no new best. */
  private get isEarly(): boolean {
    const { best, evaluatedStep } = this.state;
    const { patience, evalEvery } = this.options;
    return patience > 0 && best !== null && evaluatedStep - best.step >= patience * evalEvery;
  }

  private rateAt(i: number): number {
    return learningRateAt(i, this.options) * (this.task.rateFactor?.(i) ?? 1);
  }

  // --- steps ------------------------------------------------------------------------------------------------

  private async queueNext(): Promise<void> {
    const { task, options } = this;
    const { optimizer, random, scaler } = this.state;
    const learningRate = this.rateAt(this.state.step);
    const data = await task.nextStep();
    const { clipNorm, checkpointing } = options;
    const settings = { learningRate, clipNorm, checkpointing, gradScale: scaler?.scale ?? 1 };
    const { outcome } = await queueStep(task, optimizer, random, data, settings);
    const before = this.pending;
    this.pending = { step: ++this.state.step, learningRate, outcome };
    if (before) await this.report(before);
    if (scaler) await this.settle();
  }

  /** Waits for the running step, and reports it. */
  private async settle(): Promise<void> {
    const { pending } = this;
    this.pending = null;
    if (pending) await this.report(pending);
  }

  private async report({ step, learningRate, outcome }: Pending): Promise<void> {
    const { loss, gradNorm, tokens, isApplied } = await outcome;
    const isSkipped = this.noteSkip(isApplied);
    if (!isSkipped && !Number.isFinite(loss)) await this.fail(step, `loss is ${loss}`);
    if (!isSkipped && !Number.isFinite(gradNorm)) await this.fail(step, `gradient norm is ${gradNorm}`);
    this.rate.add(tokens);
    this.loss = loss;
    this.lostSteps = Number.isFinite(loss) ? 0 : this.lostSteps + 1;
    if (this.lostSteps === 0 && this.savedStep < step) this.provenStep = this.savedStep;
    const tokensPerSecond = this.rate.recentRate;
    const scale: Record<string, number> = this.state.scaler ? { loss_scale: this.state.scaler.scale } : {};
    const values = { loss, learning_rate: learningRate, grad_norm: gradNorm, tokens, ...scale };
    await this.log?.write('train', step, { ...values, tokens_per_second: Math.round(tokensPerSecond) });
    const { steps } = this.options;
    this.input.onStep?.({ step, steps, loss, learningRate, gradNorm, tokens, tokensPerSecond, isSkipped });
  }

  /** Updates the loss scale. True if f16 overflowed and a smaller scale can help. */
  private noteSkip(isApplied: boolean): boolean {
    const { scaler, optimizer } = this.state;
    if (!scaler) return false;
    const isSkipped = !isApplied && scaler.canShrink;
    scaler.record(isApplied);
    if (!isApplied) optimizer.uncount();
    if (isSkipped) this.skippedSteps++;
    return isSkipped;
  }

  /**
   * Ends a run whose loss or gradient is not finite. The device does not apply such an update. A checkpoint with the weights
   * that gave it is not good, so the checkpoint before it becomes the last one again.
   * @throws DivergedError always
   */
  private async fail(step: number, reason: string): Promise<never> {
    const learningRate = this.rateAt(step - 1);
    const kept = await this.lastGoodCheckpoint();
    const remedy = `lower the learning rate (now ${learningRate}) or check the data and weights`;
    throw new DivergedError(step, reason, kept === null ? [remedy] : [kept, remedy]);
  }

  private async lastGoodCheckpoint(): Promise<string | null> {
    const { store, savedStep, provenStep } = this;
    if (!store || savedStep < 0) return null;
    if (savedStep === provenStep) return `the last good checkpoint is ${store.pathOf(savedStep)}`;
    if (provenStep < 0 || !(await store.has(provenStep)))
      return `no checkpoint is better than ${store.pathOf(savedStep)}`;
    await store.point('last', provenStep);
    return `the last good checkpoint is ${store.pathOf(provenStep)}`;
  }

  // --- evaluation and checkpoints ---------------------------------------------------------------------------

  private isDue(every: number): boolean {
    return every > 0 && (this.state.step % every === 0 || this.state.step === this.options.steps);
  }

  private async evaluateWhereDue(): Promise<void> {
    const { task, input } = this;
    if (!task.evaluate || !this.isDue(this.options.evalEvery) || this.state.evaluatedStep === this.state.step) return;
    await this.settle();
    const evaluation = await task.evaluate(input.signal);
    this.rate.resume();
    if (input.signal?.aborted) return;
    this.state.evaluation = evaluation;
    this.state.evaluatedStep = this.state.step;
    await this.log?.write('eval', this.state.step, evaluation);
    input.onEval?.(this.state.step, evaluation);
    if (!(evaluation.loss < (this.state.best?.loss ?? Number.POSITIVE_INFINITY))) return;
    this.state.best = { step: this.state.step, loss: evaluation.loss };
    await this.save(['last', 'best']);
    this.provenStep = this.state.step;
  }

  /** True if a checkpoint is due. While losses are not finite nothing is learned, and earlier checkpoints are better. */
  private async saveGood(): Promise<void> {
    await this.settle();
    if (this.lostSteps === 0) await this.save(['last']);
  }

  private async save(which: readonly ('last' | 'best')[]): Promise<void> {
    await this.settle();
    const { store } = this;
    const { step } = this.state;
    if (!store) return;
    if (this.savedStep === step) {
      for (const pointer of which) await store.point(pointer, step);
      return;
    }
    await this.log?.sync();
    await store.save(step, this.state.content(), which);
    this.savedStep = step;
    await store.prune(this.options.keepCheckpoints);
    this.rate.resume();
    this.input.onCheckpoint?.(step, store.pathOf(step));
  }

  private async open(): Promise<void> {
    const { store, input } = this;
    if (!store || !input.place) return;
    const { files, folder, resume = false } = input.place;
    await store.clean(!resume);
    const last = resume ? await store.pointer('last') : undefined;
    if (last !== undefined) {
      await this.state.restore(store, last);
      this.savedStep = last;
    }
    this.log = await RunLog.open(files, folder, last ?? -1);
  }
}

/**
 * Trains a task. Parameters are updated in place.
 * @throws ConfigError for settings that cannot be used; DivergedError for a loss or gradient that is not finite;
 * FileFormatError for a full disk and the like. The last good checkpoint stays the last.
 */
export async function train<B>(task: TrainingTask<B>, input: TrainInput): Promise<TrainingResult> {
  return new Run(task, input).run();
}
