/**
 * What the study computes from scores, as pure functions. Scores are shares from 0 to 1; what comes out is in percent
 * (AIPSS, shares of it) or percentage points (gains, divergences).
 * Source: Halloran, Gulati and Roysdon 2024, arXiv 2406.00209; the order of averaging is not stated there and is fixed here.
 */
import { type Estimate, estimateOf, meanOf } from '../statistics.ts';

/** A task's score with a number of examples in front of each question. */
export interface ScorePoint {
  readonly task: string;
  readonly shots: number;
  readonly value: number;
}

const keyOf = ({ task, shots }: Pick<ScorePoint, 'task' | 'shots'>): string => `${task} ${shots}`;

/** Few-shot scores, each with the zero-shot score of its task. Tasks without one are left out. */
function pairs(points: readonly ScorePoint[]): { readonly zero: number; readonly few: number }[] {
  const zeros = new Map(points.filter(({ shots }) => shots === 0).map(({ task, value }) => [task, value]));
  return points.flatMap(({ task, shots, value }) =>
    shots > 0 && zeros.has(task) ? [{ zero: zeros.get(task)!, few: value }] : [],
  );
}

/**
 * AIPSS, the average improvement percentage over zero-shot: the mean over tasks and numbers of examples s > 0 of
 * 100 (acc_s - acc_0) / acc_0. NaN without few-shot scores, and where a task's zero-shot score is 0.
 */
export function aipss(points: readonly ScorePoint[]): number {
  const all = pairs(points).map(({ zero, few }) => (zero === 0 ? Number.NaN : (100 * (few - zero)) / zero));
  return all.length === 0 ? Number.NaN : meanOf(all);
}

/** Mean over tasks and numbers of examples s > 0 of 100 (acc_s - acc_0), which no small denominator can blow up. */
export function meanGain(points: readonly ScorePoint[]): number {
  const all = pairs(points).map(({ zero, few }) => 100 * (few - zero));
  return all.length === 0 ? Number.NaN : meanOf(all);
}

/** A quantity of each seed's scores, with its standard error over the seeds. */
export const overSeeds = (
  seeds: readonly (readonly ScorePoint[])[],
  quantity: (points: readonly ScorePoint[]) => number,
): Estimate => estimateOf(seeds.map(quantity));

/** A score of so many questions. */
export interface CountedPoint extends ScorePoint {
  readonly questions: number;
}

/**
 * Error of `meanGain` and of `aipss` that the choice of questions makes, of first order, from the mean score without and
 * with examples of each task. At most that: both are of the same questions, and are taken as independent here.
 * NaN where `aipss` is.
 */
export function questionErrors(points: readonly CountedPoint[]): { readonly gain: number; readonly aipss: number } {
  const tasks = [...new Set(points.map(({ task }) => task))].flatMap((task) => {
    const own = points.filter((point) => point.task === task);
    const mean = (isWanted: (shots: number) => boolean) =>
      meanOf(own.filter(({ shots }) => isWanted(shots)).map(({ value }) => value));
    const [zero, few] = [mean((shots) => shots === 0), mean((shots) => shots > 0)];
    return Number.isFinite(zero + few) ? [{ zero, few, questions: own[0].questions }] : [];
  });
  const variance = (value: number, questions: number) => (value * (1 - value)) / questions;
  const errorOver = (errors: readonly number[]) => (100 * Math.hypot(...errors)) / errors.length;
  return {
    gain: errorOver(tasks.map(({ zero, few, questions: n }) => Math.sqrt(variance(zero, n) + variance(few, n)))),
    aipss: errorOver(
      tasks.map(
        ({ zero, few, questions: n }) =>
          Math.hypot(few * Math.sqrt(variance(zero, n)), zero * Math.sqrt(variance(few, n))) / zero ** 2,
      ),
    ),
  };
}

/** An estimate whose error holds that of the questions too. */
export const withError = ({ value, error, count }: Estimate, more: number): Estimate => ({
  value,
  error: error === null ? null : Math.hypot(error, more),
  count,
});

/** A share in percent; `isMeaningful` is false where its denominator is not told from 0. */
export interface Share extends Estimate {
  readonly isMeaningful: boolean;
}

/**
 * 100 a / b of two estimates, taken as independent. The error is that of first order, from both errors; null where one has none.
 * Not meaningful where b is not above two of its errors, or has none: then a small or negative b makes any share.
 */
export function shareOf(a: Estimate, b: Estimate): Share {
  const value = (100 * a.value) / b.value;
  const count = Math.min(a.count, b.count);
  const isMeaningful = Number.isFinite(value) && b.error !== null && b.value > 2 * b.error && b.value > 0;
  if (a.error === null || b.error === null) return { value, error: null, count, isMeaningful };
  const error = (100 * Math.hypot(a.error, (a.value * b.error) / b.value)) / Math.abs(b.value);
  return { value, error, count, isMeaningful };
}

/**
 * Mean divergence of two sets of scores: the mean over tasks and numbers of examples of 100 |a(s) - b(s)|, of those that
 * both have. NaN where there are none.
 */
export function divergence(a: readonly ScorePoint[], b: readonly ScorePoint[]): number {
  const others = new Map(b.map((point) => [keyOf(point), point.value]));
  const all = a.flatMap((point) => {
    const other = others.get(keyOf(point));
    return other === undefined ? [] : [100 * Math.abs(point.value - other)];
  });
  return all.length === 0 ? Number.NaN : meanOf(all);
}

/** Divergence seed by seed, of the seeds that both have, with its standard error over them. Null where there are none. */
export function pairedDivergence(
  a: ReadonlyMap<number, readonly ScorePoint[]>,
  b: ReadonlyMap<number, readonly ScorePoint[]>,
): Estimate | null {
  const common = [...a].flatMap(([seed, points]) => (b.has(seed) ? [divergence(points, b.get(seed)!)] : []));
  return common.length === 0 ? null : estimateOf(common);
}

/**
 * What another seed alone moves: the mean divergence over all pairs of seeds of one set. A divergence of that size says
 * nothing about precision. Null for fewer than two seeds.
 */
export function seedDivergence(seeds: ReadonlyMap<number, readonly ScorePoint[]>): number | null {
  const all = [...seeds.values()];
  const each = all.flatMap((points, i) => all.slice(i + 1).map((other) => divergence(points, other)));
  return each.length === 0 ? null : meanOf(each);
}
