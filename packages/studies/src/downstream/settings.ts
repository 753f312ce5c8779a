/** Settings of the downstream study, and its two presets. */
import { UsageError } from 'krait/core';
import type { Precision } from 'krait/train';
import { METHODS, type Method, type MethodKind } from './methods.ts';

export interface DownstreamSettings {
  /** Numbers of examples in front of a question; 0 is among them. */
  readonly shots: readonly number[];
  /** How often all but trials is repeated: each seed draws other examples, another order of the data, other first factors. */
  readonly seeds: number;
  readonly methods: readonly Method[];
  readonly precisions: readonly Precision[];
  /** Steps of instruction tuning, of `batchSize` rows of `maxLength` tokens. */
  readonly steps: number;
  readonly batchSize: number;
  readonly maxLength: number;
  /** Rank of adapters, and of those on x_proj alone, whose untied form has three of a third of it. */
  readonly rank: number;
  readonly pairRank: number;
  /** Learning rates that are tried for each method of a kind. */
  readonly rates: Readonly<Record<MethodKind, readonly number[]>>;
  /** Steps of a trial. */
  readonly searchSteps: number;
  /** Meta-training, where it is among the methods, and its trials. */
  readonly meta: { readonly steps: number; readonly searchSteps: number };
  /** Share of the steps in which the learning rate rises. */
  readonly warmup: number;
  /** Steps between checkpoints of a tuning that runs. */
  readonly saveEvery: number;
  /** Questions of each task: a number, or below 1 a share; all unless given. */
  readonly limit?: number;
}

export const PRESET_NAMES = ['micro', 'paper'] as const;
export type PresetName = (typeof PRESET_NAMES)[number];

const COMMON = {
  shots: [0, 1, 3, 5],
  seeds: 3,
  precisions: ['f32', 'bf16', 'f16'],
  meta: { steps: 1200, searchSteps: 300 },
} as const;

export const PRESETS: Readonly<Record<PresetName, DownstreamSettings>> = {
  /** For an hour on two cores with AVX-512. */
  micro: {
    ...COMMON,
    methods: METHODS,
    steps: 60,
    batchSize: 8,
    maxLength: 256,
    rank: 12,
    pairRank: 12,
    rates: { meta: [1e-3, 2e-3, 4e-3, 8e-3], full: [3e-4, 1e-3, 3e-3], lora: [1e-3, 3e-3, 1e-2] },
    searchSteps: 30,
    warmup: 0.1,
    saveEvery: 30,
  },
  /**
   * After arXiv 2406.00209: AdamW, cosine, no warm-up, rank 8 at this size. Its batch and length are not known; the
   * rates are searched here, about its own, for each model and method.
   */
  paper: {
    ...COMMON,
    methods: METHODS.filter((method) => method !== 'meta'),
    steps: 13_000,
    batchSize: 4,
    maxLength: 512,
    rank: 8,
    pairRank: 9,
    rates: { meta: [1e-4], full: [3e-6, 1e-5, 3e-5], lora: [1e-5, 1e-4, 1e-3] },
    searchSteps: 500,
    warmup: 0,
    saveEvery: 200,
  },
};

/** @throws UsageError naming the setting, its value and what it may be */
export function checkDownstream(settings: DownstreamSettings): void {
  const { shots, seeds, steps, batchSize, maxLength, rank, pairRank, searchSteps, saveEvery, rates, meta } = settings;
  const ofMeta = { 'meta steps': meta.steps, 'meta search steps': meta.searchSteps };
  const whole = { seeds, steps, batchSize, maxLength, rank, pairRank, searchSteps, saveEvery, ...ofMeta };
  for (const [name, value] of Object.entries(whole)) {
    if (!Number.isInteger(value) || value < 1) throw new UsageError(`${name}: ${value} is not a whole number >= 1`);
  }
  if (!shots.includes(0)) throw new UsageError(`shots: ${shots.join(',')} lacks 0, which gains are measured against`);
  if (settings.methods.length > 0 && !settings.precisions.includes('f32')) {
    throw new UsageError(`precisions: ${settings.precisions.join(',')} lacks f32, which others are measured against`);
  }
  if (settings.methods.includes('lora-x-untied') && pairRank % 3 !== 0) {
    throw new UsageError(
      `pair rank: ${pairRank} does not share out to three; give ${3 * Math.ceil(pairRank / 3)}, say`,
    );
  }
  for (const rate of Object.values(rates).flat()) {
    if (!(rate > 0 && Number.isFinite(rate))) throw new UsageError(`rates: ${rate} is not a number above 0`);
  }
  if (Object.values(rates).some(({ length }) => length === 0))
    throw new UsageError('rates: none is given; give one or more');
}
