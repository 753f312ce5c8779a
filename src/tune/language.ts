/** Language modelling as a training task: blocks of tokens in, next-token loss out. */
import { KraitError, type RandomSource } from '../core/index.ts';
import { type LanguageModel, type ModelState, namedParts, partsFromNames, stateOf } from '../models/index.ts';
import type { Tensor } from '../tensor/index.ts';
import {
  defaultsOf,
  type Evaluation,
  type LossOptions,
  type SettingsOf,
  type StepBatches,
  type TaskState,
  type TrainedParameter,
  type TrainingTask,
} from '../train/index.ts';
import { type BatchSource, PackedBatches, StreamBatches, type TokenBatch, type TokenExample } from './batches/index.ts';
import { batchTensors, blockLoss, carriedState, evaluateLanguage } from './language-loss.ts';
import { checkChangeable } from './quantised-model.ts';
import { LANGUAGE_SETTINGS } from './settings.ts';

/** Something that draws random numbers in training only, as adapters with dropout do. */
export interface TrainingMode {
  random: RandomSource | null;
}

/** Rows of a block, positions of a row and the like are settings; the table says more about them. */
export interface LanguageTaskInput extends SettingsOf<typeof LANGUAGE_SETTINGS> {
  model: LanguageModel;
  /** Parameters to train; all of the model unless given. */
  parameters?: readonly TrainedParameter[];
  train: readonly TokenExample[];
  /** Held-out examples for evaluation during training. */
  validation?: readonly TokenExample[];
  seed?: number;
  /** False keeps the order of the examples. */
  isShuffled?: boolean;
  /** Adapters to tell when training draws random numbers. */
  mode?: TrainingMode | null;
  /**
   * Tokens that stand for labels: the loss is then that of choosing among them, as `classify` asks, not among the whole
   * vocabulary. Every target must be one of them.
   */
  choices?: readonly number[];
  /** More numbers for an evaluation, such as the accuracy of labels. */
  measure?: () => Promise<Record<string, number>>;
}

/** Options that are settings, with their defaults. */
export const LANGUAGE_DEFAULTS = defaultsOf(LANGUAGE_SETTINGS);
export type LanguageOptions = typeof LANGUAGE_DEFAULTS;

/** All parameters of a model, marked as trainable. @throws ConfigError for a model with int8 weights */
export function allParameters(model: LanguageModel): TrainedParameter[] {
  checkChangeable('training', model);
  return [...model.parameters].map(([name, tensor]) => ({
    name,
    tensor: tensor.trainable(),
    isDecayed: model.isDecayed(name),
  }));
}

export class LanguageTask implements TrainingTask<TokenBatch> {
  readonly parameters: readonly TrainedParameter[];
  readonly stepsPerEpoch: number;
  private readonly source: BatchSource;
  private carried: ModelState | null = null;
  private readonly input: LanguageOptions & LanguageTaskInput;

  /**
   * @throws KraitError for empty data, or examples that are longer than a row where they may not be; ConfigError for a
   * model with int8 weights
   */
  constructor(input: LanguageTaskInput) {
    checkChangeable('training', input.model);
    this.input = { ...LANGUAGE_DEFAULTS, ...defined(input) };
    this.parameters = input.parameters ?? allParameters(input.model);
    const { batching, batchSize, maxLength, seed = 0, isShuffled = true } = this.input;
    const common = { batchSize, maxLength, seed, isShuffled };
    this.source =
      batching === 'stream'
        ? new StreamBatches(input.train, common)
        : new PackedBatches(input.train, { ...common, isPacked: batching === 'packing' });
    this.stepsPerEpoch = this.source.batchesPerEpoch / this.input.gradAccumulation;
  }

  get device() {
    return this.input.model.device;
  }

  nextStep(): StepBatches<TokenBatch> {
    const microBatches = Array.from({ length: this.input.gradAccumulation }, () => this.source.next());
    const normalizer = microBatches.reduce((sum, { targetCount }) => sum + targetCount, 0);
    const tokens = microBatches.reduce((sum, { tokenCount }) => sum + tokenCount, 0);
    if (normalizer === 0) throw new KraitError('a step has no token that carries loss; use a larger batch');
    return { microBatches, normalizer, tokens };
  }

  loss(batch: TokenBatch, { normalizer, gradScale, random, checkpointing }: LossOptions): Tensor {
    const { model, batching, mode, choices } = this.input;
    if (mode) mode.random = random;
    const { ids, targets, flags } = batchTensors(this.device, batch);
    const wantState = batching === 'stream';
    const state = batch.isContinued ? this.carried : null;
    const recomputes = mode !== null && mode !== undefined && !checkpointing; // adapters are for machines with little memory
    const after = model.forward(ids, { flags, state, wantState, checkpointing, recomputes, random });
    if (after.state) this.carry(after.state);
    return blockLoss(model, after.hidden, targets, batch, { normalizer, gradScale, choices });
  }

  /** Adapters draw random numbers in training only. */
  afterStep(): void {
    const { mode } = this.input;
    if (mode) mode.random = null;
  }

  /** Keeps a state for the next block, cut off from the graph that made it. */
  private carry(state: ModelState): void {
    const after = carriedState(this.input.model, state, this.input.maxLength);
    for (const tensor of namedParts(after).values()) this.device.keep(tensor);
    this.adoptState(after);
  }

  private adoptState(state: ModelState): void {
    this.carried?.dispose();
    this.carried = state;
  }

  /** Mean loss of the held-out examples in nats, and bits per byte where their bytes are known. */
  get evaluate(): ((signal?: AbortSignal) => Promise<Evaluation>) | undefined {
    const { model, validation, batchSize, maxLength, measure } = this.input;
    if (!validation?.length) return undefined;
    return async (signal) => {
      const base = await evaluateLanguage(model, validation, { batchSize, maxLength, signal });
      return { ...base, ...(await measure?.()) };
    };
  }

  state(): TaskState {
    const tensors = this.carried ? namedParts(this.carried) : new Map<string, Tensor>();
    return { json: this.source.state(), ...(tensors.size > 0 && { tensors }) };
  }

  restore({ json, tensors }: TaskState): void {
    this.source.restore(json);
    if (!tensors?.size) return;
    const { layers, sequence } = partsFromNames(tensors, this.input.model.layerCount)!;
    const [some] = tensors.values();
    this.adoptState(stateOf(some.shape[0], layers, sequence));
  }

  /** Gives the carried state back. */
  dispose(): void {
    this.carried?.dispose();
    this.carried = null;
  }
}

/** Without the keys that are undefined, so that they do not hide defaults. */
const defined = <T extends object>(input: T): T =>
  Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined)) as T;
