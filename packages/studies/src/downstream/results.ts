/** Results of the cells: each variant of a model over its seeds, with the paper's quantities. */

import { type Estimate, estimateOf, meanOf } from 'krait/statistics';
import type { Precision } from 'krait/train';
import type { StudyCell } from './cells.ts';
import { METHOD_INFO, METHODS, type Method } from './methods.ts';
import {
  type AsksOf,
  aipss,
  meanGain,
  overSeeds,
  pairedDivergence,
  questionErrorOfDifference,
  questionErrors,
  type Share,
  seedDivergence,
  shareOf,
  withError,
} from './quantities.ts';
import type { TaskPoint } from './scoring.ts';
import type { DownstreamStudy } from './study.ts';
import type { TuningCost } from './tuning.ts';

/** A model as it is (`method` null) or tuned in one way, in one precision: its cells over the seeds. */
export interface Variant {
  readonly model: string;
  readonly method: Method | null;
  readonly precision: Precision;
  readonly rate: number | null;
  readonly bySeed: ReadonlyMap<number, readonly TaskPoint[]>;
  readonly costs: readonly TuningCost[];
  /** Loss of the validation part after tuning, in nats. */
  readonly losses: ReadonlyMap<number, number>;
  /** What diverged tunings said. */
  readonly failures: readonly string[];
  /** Inputs that were cut on the left. */
  readonly truncated: number;
}

export interface VariantResult extends Variant {
  /** Mean accuracy over tasks and numbers of examples, and without examples, in percent. */
  readonly accuracy: Estimate;
  readonly zeroShot: Estimate;
  /** Its error, and that of the gain, is over seeds and questions together; null for one seed. */
  readonly aipss: Estimate;
  /** Mean of acc_s - acc_0, in points. */
  readonly gain: Estimate;
  /** AIPSS in percent of the reference's, tuned alike; null without one, and of the reference itself. */
  readonly share: Share | null;
  /** The gain in percent of the reference's, likewise: defined where a zero-shot score is 0, too. */
  readonly gainShare: Share | null;
  /** Divergence from the same in f32, seed by seed, in points; null of f32 itself. */
  readonly divergence: Estimate | null;
  /** Divergence from full fine-tuning in f32, which is what the paper draws; null where nothing was tuned. */
  readonly fromFull: Estimate | null;
  /** What another seed alone moves. */
  readonly seedNoise: number | null;
  readonly tokensPerSecond: Estimate | null;
  readonly peakBytes: Estimate | null;
  /** Loss of the validation part after tuning, in nats. */
  readonly loss: Estimate | null;
  readonly trainable: number | null;
}

export const methodTitle = (method: Method | null): string => (method === null ? 'untuned' : METHOD_INFO[method].title);

export const sameVariant = (a: Pick<Variant, 'model' | 'method' | 'precision'>, b: typeof a): boolean =>
  a.model === b.model && a.method === b.method && a.precision === b.precision;

/** A variant that cells are still added to. */
interface Growing extends Omit<Variant, 'bySeed' | 'costs' | 'losses' | 'failures' | 'truncated'> {
  bySeed: Map<number, readonly TaskPoint[]>;
  costs: TuningCost[];
  losses: Map<number, number>;
  failures: string[];
  truncated: number;
}

/** Cells with scores, or without because tuning diverged, by what they are of. */
export function variantsOf(cells: readonly StudyCell[]): Variant[] {
  const variants: Growing[] = [];
  for (const { spec, result } of cells) {
    if (spec.kind === 'trial' || spec.kind === 'meta') continue;
    const { model, precision, seed } = spec;
    const key = { model, precision, method: spec.kind === 'tuned' ? spec.method : null };
    let own = variants.find((variant) => sameVariant(variant, key));
    if (!own) {
      own = { ...key, rate: result.rate, bySeed: new Map(), costs: [], losses: new Map(), failures: [], truncated: 0 };
      variants.push(own);
    }
    if (result.scores) own.bySeed.set(seed, result.scores.points);
    own.truncated += result.scores?.truncated ?? 0;
    if (result.cost) own.costs.push(result.cost);
    const loss = result.cost?.validationLoss ?? null;
    if (loss !== null) own.losses.set(seed, loss);
    if (result.failure !== null) own.failures.push(`seed ${seed}: ${result.failure}`);
  }
  return variants;
}

const meanAccuracy = (points: readonly TaskPoint[]): number => 100 * meanOf(points.map(({ value }) => value));

/** Mean accuracy over tasks with a number of examples, in percent, with its error over seeds. */
export const accuracyWith = (shots: number, { bySeed }: Pick<Variant, 'bySeed'>): Estimate =>
  estimateOf([...bySeed.values()].map((points) => meanAccuracy(points.filter((point) => point.shots === shots))));

/** Null where nothing was measured. */
const estimateOrNull = (values: readonly number[]): Estimate | null =>
  values.length === 0 ? null : estimateOf(values);

/** Tasks that ask the same questions have one name. */
const asking = ({ tasks }: DownstreamStudy): AsksOf => {
  const asks = new Map(tasks.map((task) => [task.name, task.asks]));
  return (task) => asks.get(task) ?? task;
};

function resultOf(variant: Variant, all: readonly Variant[], study: DownstreamStudy): VariantResult {
  const { reference } = study;
  const { model, method, precision, bySeed, costs, losses } = variant;
  const seeds = [...bySeed.values()];
  const other = (key: Partial<Pick<Variant, 'model' | 'method' | 'precision'>>) =>
    all.find((candidate) => sameVariant(candidate, { model, method, precision, ...key }));
  const theirs = reference === null || reference === model ? undefined : other({ model: reference });
  const estimates = (own: readonly (readonly TaskPoint[])[]) => {
    const ofQuestions = questionErrors(own, asking(study));
    return {
      gain: withError(overSeeds(own, meanGain), ofQuestions.gain),
      aipss: withError(overSeeds(own, aipss), ofQuestions.aipss),
    };
  };
  const mine = estimates(seeds);
  const reached = theirs && theirs.bySeed.size > 0 ? estimates([...theirs.bySeed.values()]) : null;
  const f32 = precision === 'f32' ? undefined : other({ precision: 'f32' });
  const full =
    method === null || method === 'meta' || (method === 'full' && precision === 'f32')
      ? undefined
      : other({ method: 'full', precision: 'f32' });
  const rates = costs.flatMap(({ tokensPerSecond }) => tokensPerSecond ?? []);
  return {
    ...variant,
    accuracy: estimateOf(seeds.map(meanAccuracy)),
    zeroShot: accuracyWith(0, variant),
    ...mine,
    share: reached && shareOf(mine.aipss, reached.aipss),
    gainShare: reached && shareOf(mine.gain, reached.gain),
    divergence: f32 ? pairedDivergence(f32.bySeed, bySeed) : null,
    fromFull: full ? pairedDivergence(full.bySeed, bySeed) : null,
    seedNoise: seedDivergence(bySeed),
    tokensPerSecond: estimateOrNull(rates),
    peakBytes: estimateOrNull(costs.map(({ peakBytes }) => peakBytes)),
    loss: estimateOrNull([...losses.values()]),
    trainable: costs[0]?.trainableParameters ?? null,
  };
}

/** Every variant that has a score. */
export function resultsOf(study: DownstreamStudy): VariantResult[] {
  const variants = variantsOf(study.cells);
  return variants.filter(({ bySeed }) => bySeed.size > 0).map((variant) => resultOf(variant, variants, study));
}

/** One task of a variant: accuracy in percent with each number of examples, and how far above chance it is. */
export interface TaskResult {
  readonly task: string;
  readonly chance: number | null;
  readonly byShots: ReadonlyMap<number, Estimate>;
  /** Over the numbers of examples, in percent. */
  readonly mean: Estimate;
  /**
   * How many standard errors the mean is above chance, of as many questions and of the seeds together; null where chance
   * is unknown.
   */
  readonly errorsAboveChance: number | null;
  /** Whether these are more than two. */
  readonly isAboveChance: boolean | null;
}

/**
 * What tasks that ask the same questions gain from examples, in the mean: who guesses without looking at the examples, however,
 * loses in one what it wins in another.
 */
export interface GroupGain {
  readonly tasks: readonly string[];
  /** Mean of acc_s - acc_0 in points, its error over seeds and questions together. */
  readonly gain: Estimate;
  /** Whether the gain is more than two errors above 0; those of the questions alone for one seed. */
  readonly gains: boolean;
}

/** Gain of each group of tasks with few-shot scores. */
export function groupGains({ bySeed }: Variant, study: DownstreamStudy): GroupGain[] {
  const groups = [...new Set(study.tasks.map(({ asks }) => asks))];
  return groups.flatMap((group) => {
    const tasks = study.tasks.filter(({ asks }) => asks === group).map(({ name }) => name);
    const seeds = [...bySeed.values()].map((points) => points.filter(({ task }) => tasks.includes(task)));
    const gains = seeds.map(meanGain).filter(Number.isFinite);
    if (gains.length === 0) return [];
    const error = questionErrors(seeds, asking(study)).gain;
    const gain = withError(estimateOf(gains), error);
    return [{ tasks, gain, gains: gain.value > 2 * (gain.error ?? error.ofQuestions) }];
  });
}

export function taskResults({ bySeed }: Variant, { tasks, settings }: DownstreamStudy): TaskResult[] {
  const seeds = [...bySeed.values()];
  return tasks.map(({ name: task, chance }) => {
    const own = seeds.map((points) => points.filter((point) => point.task === task));
    const byShots = new Map(
      settings.shots.map((shots) => {
        const values = own.flatMap((points) =>
          points.filter((point) => point.shots === shots).map(({ value }) => 100 * value),
        );
        return [shots, estimateOf(values)] as const;
      }),
    );
    const mean = estimateOf(own.map(meanAccuracy));
    const common = { task, chance, byShots, mean };
    if (chance === null) return { ...common, errorsAboveChance: null, isAboveChance: null };
    // The same questions are asked with every seed and number of examples: they count once.
    const ofQuestions = 100 * Math.sqrt((chance * (1 - chance)) / (own.flat()[0]?.questions ?? 1));
    const errorsAboveChance = (mean.value - 100 * chance) / Math.hypot(ofQuestions, mean.error ?? 0);
    return { ...common, errorsAboveChance, isAboveChance: errorsAboveChance > 2 };
  });
}

/** Ways of tuning that every model was measured with: means over ways are compared between models over these alone. */
export const sharedMethods = (results: readonly VariantResult[], { models }: DownstreamStudy): Method[] =>
  METHODS.filter((method) =>
    models.every(({ label }) => results.some((result) => result.model === label && result.method === method)),
  );

/**
 * Accuracy seed by seed of one variant less that of another, over the seeds of both, in points; its error is over seeds and
 * questions together.
 */
export function accuracyDifference(a: Variant, b: Variant, study: DownstreamStudy): Estimate | null {
  const seeds = [...a.bySeed.keys()].filter((seed) => b.bySeed.has(seed));
  if (seeds.length === 0) return null;
  const [mine, theirs] = [a, b].map(({ bySeed }) => seeds.map((seed) => bySeed.get(seed)!));
  const differences = mine.map((points, i) => meanAccuracy(points) - meanAccuracy(theirs[i]));
  return withError(estimateOf(differences), questionErrorOfDifference(mine, theirs, asking(study)));
}

/** Validation loss seed by seed of one variant less that of another, over the seeds of both, in nats. */
export function lossDifference(a: Variant, b: Variant): Estimate | null {
  const seeds = [...a.losses.keys()].filter((seed) => b.losses.has(seed));
  return estimateOrNull(seeds.map((seed) => a.losses.get(seed)! - b.losses.get(seed)!));
}
