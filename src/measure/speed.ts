/**
 * How fast a model reads, writes and learns on a device. Work comes in rounds of equal size, each of them waited for; the
 * first is not counted. Weights may be random: speed does not depend on their values.
 */
import type { Profile } from '../backend/index.ts';
import { type DType, HostRandom, RandomSource, sizeOf } from '../core/index.ts';
import { medianOf } from '../core/statistics.ts';
import { generate } from '../models/generate/index.ts';
import {
  type LanguageModel,
  languageBlueprint,
  type ModelConfig,
  parseConfig,
  prefill,
  scaleName,
  storageType,
} from '../models/index.ts';
import type { Device, Tensor } from '../tensor/index.ts';
import { createOptimizer, queueStep, type TrainedParameter } from '../train/index.ts';
import {
  adapterParameters,
  allParameters,
  attachLora,
  detachLora,
  LanguageTask,
  type TrainingMode,
} from '../tune/index.ts';
import { LORA_RANK, PROMPT_TOKENS, type WorkSize } from './model-cost.ts';
import { SHAPES, type ShapeName, type Work } from './works.ts';

export const shapeConfig = (name: ShapeName): ModelConfig =>
  parseConfig(
    { model_type: 'mamba', use_bias: false, use_conv_bias: true, tie_word_embeddings: true, ...SHAPES[name] },
    `shape ${name}`,
  );

/** Random whole numbers of 8 bits: a prime number of them, so that rows that repeat them are not alike. */
function quantisedNoise(seed: number): Int8Array {
  const random = new HostRandom(seed);
  return Int8Array.from({ length: 65_537 }, () => random.integer(255) - 127);
}

/** Fills a weight with the same numbers over and over. */
function repeat(noise: Int8Array, weight: Tensor): void {
  for (let at = 0; at < weight.size; at += noise.length) weight.write(noise.subarray(0, weight.size - at), at);
}

/**
 * A model with random weights, its matrices drawn on the device: in a moment, where `createModel` takes a minute for
 * hundreds of millions. Not for training in earnest.
 */
export function randomModel(device: Device, config: ModelConfig, dtype: DType, seed = 0): LanguageModel {
  const { rows, build } = languageBlueprint(config);
  const weights = new Map<string, Tensor>();
  const noise = dtype === 'i8' ? quantisedNoise(seed) : null;
  rows.forEach((row, stream) => {
    const bound = 1 / Math.sqrt(row.shape[row.shape.length - 1]);
    const type = storageType(row, dtype);
    const drawn = () => device.uniform(row.shape, { seed, stream }, -bound, bound, type);
    const stated = () => device.from(row.initial(new HostRandom(seed, stream), sizeOf(row.shape)), row.shape, type);
    if (!noise || type !== 'i8') {
      weights.set(row.name, device.keep(row.isMatrix ? drawn() : stated()));
      return;
    }
    const weight = device.keep(device.empty(row.shape, type));
    repeat(noise, weight);
    weights.set(row.name, weight).set(scaleName(row.name), device.keep(device.full([weight.rows], bound / 127)));
  });
  return build(device, weights, dtype === 'i8' ? 'f32' : dtype);
}

/** Each `next` does a round of work and waits for it; gives the loss of a step in nats, null where there is none. */
export type Rounds = AsyncGenerator<number | null, void, undefined>;

export interface WorkloadSize extends WorkSize {
  /** Activation checkpointing: a training step computes activations twice and does not keep them. Off unless given. */
  readonly checkpointing?: boolean;
}

/** The ids that every kind of work reads: the same for the same size. */
export function randomRows({ vocabSize }: Pick<LanguageModel, 'vocabSize'>, { tokens, batch }: WorkSize): number[][] {
  const random = new HostRandom(1);
  return Array.from({ length: batch }, () => Array.from({ length: tokens }, () => random.integer(vocabSize)));
}

/** Prompts, up to the logits after their last tokens. */
async function* prefillRounds(model: LanguageModel, size: WorkSize): Rounds {
  const rows = randomRows(model, size);
  for (;;) {
    const { hidden, state } = await prefill(model, rows);
    const logits = model.device.noGrad(() => model.logits(hidden));
    await logits.read();
    for (const value of [hidden, state, logits]) value.dispose();
    yield null;
  }
}

/** Tokens after a short prompt, the most probable each time. The first round reads the prompt too. */
async function* decodeRounds(model: LanguageModel, { tokens, batch }: WorkSize): Rounds {
  const prompts = randomRows(model, { tokens: PROMPT_TOKENS, batch });
  const writing = generate(model, null, prompts, { maxTokens: Number.MAX_SAFE_INTEGER, eosTokens: [] });
  try {
    for (;;) {
      for (let i = 0; i < tokens * batch; i++) await writing.next();
      await model.device.sync(); // steps that are queued ahead count here, as those of the round before counted there
      yield null;
    }
  } finally {
    await writing.return();
  }
}

/** Optimiser steps, as the trainer takes them. */
async function* stepRounds(
  model: LanguageModel,
  { tokens, batch, checkpointing = false }: WorkloadSize,
  parameters: readonly TrainedParameter[],
  mode: TrainingMode | null,
): Rounds {
  const train = randomRows(model, { tokens, batch }).map((ids) => ({
    ids,
    targets: [[1, ids.length] as const],
    bytes: 0,
  }));
  const task = new LanguageTask({ model, parameters, train, batchSize: batch, maxLength: tokens, mode });
  const optimizer = createOptimizer('adamw', task.parameters);
  const random = new RandomSource(0);
  const settings = { learningRate: 1e-5, clipNorm: 1, gradScale: 1, checkpointing };
  try {
    for (;;) {
      const { outcome } = await queueStep(task, optimizer, random, task.nextStep(), settings);
      yield (await outcome).loss;
    }
  } finally {
    optimizer.zeroGrad();
    optimizer.dispose();
    task.dispose();
  }
}

async function* trainRounds(model: LanguageModel, size: WorkloadSize): Rounds {
  try {
    yield* stepRounds(model, size, allParameters(model), null);
  } finally {
    for (const tensor of model.parameters.values()) tensor.trainable(false);
  }
}

async function* loraRounds(model: LanguageModel, size: WorkloadSize): Rounds {
  const adapter = attachLora(model, { r: LORA_RANK, loraAlpha: 2 * LORA_RANK });
  try {
    yield* stepRounds(model, size, adapterParameters(adapter), adapter);
  } finally {
    detachLora(adapter);
  }
}

const ROUNDS: Record<Work, (model: LanguageModel, size: WorkloadSize) => Rounds> = {
  prefill: prefillRounds,
  decode: decodeRounds,
  train: trainRounds,
  lora: loraRounds,
};

/** Work without an end; `return` gives back what it holds. Training changes the model's weights. */
export const workRounds = (model: LanguageModel, work: Work, size: WorkloadSize): Rounds => ROUNDS[work](model, size);

/** Stored type of weights for work in `dtype`; trained weights stay f32. */
export const storedType = (work: Work, dtype: DType): DType => (work === 'train' ? 'f32' : dtype);

export interface SpeedOptions extends WorkSize {
  /** Rounds that are timed. */
  readonly rounds: number;
  /** Whether one more round is profiled, which is not timed. */
  readonly isProfiled: boolean;
  readonly signal?: AbortSignal;
  /** Called after each round, the first, which is not counted, too. */
  readonly onRound?: () => void;
}

export interface SpeedResult extends WorkSize {
  readonly work: Work;
  /** Of each round. */
  readonly seconds: readonly number[];
  /** By the median of the rounds. */
  readonly tokensPerSecond: number;
  /** Most device memory in use at once. */
  readonly peakBytes: number;
  readonly profile: Profile | null;
}

/**
 * Times rounds of work. Training changes the model's weights.
 * @throws the signal's reason once it fires, after the round that runs; RangeError for no rounds; KraitError, UsageError for
 * sizes that cannot be
 */
export async function measureSpeed(model: LanguageModel, work: Work, options: SpeedOptions): Promise<SpeedResult> {
  const { tokens, batch, rounds, isProfiled, signal, onRound } = options;
  if (rounds < 1) throw new RangeError(`rounds: expected at least 1, got ${rounds}`);
  const { backend } = model.device;
  backend.resetPeak();
  const workload = workRounds(model, work, { tokens, batch });
  const round = async () => {
    const startedMs = performance.now();
    await workload.next();
    const seconds = (performance.now() - startedMs) / 1000;
    onRound?.();
    signal?.throwIfAborted();
    return seconds;
  };
  try {
    await round();
    const seconds: number[] = [];
    while (seconds.length < rounds) seconds.push(await round());
    let profile: Profile | null = null;
    if (isProfiled) {
      backend.profiler.start();
      await round().finally(async () => {
        profile = await backend.profiler.stop();
      });
    }
    const { peakBytes } = backend.memory();
    const tokensPerSecond = (tokens * batch) / medianOf(seconds);
    return { work, tokens, batch, seconds, tokensPerSecond, peakBytes, profile };
  } finally {
    await workload.return();
  }
}
