/**
 * What the study computes from scores, as pure functions. Scores are shares from 0 to 1; what comes out is in percent
 * (AIPSS, shares of it) or percentage points (gains, divergences).
 * Source: Halloran, Gulati and Roysdon 2024, arXiv 2406.00209; the order of averaging is not stated there and is fixed here.
 */
import { type Estimate, estimateOf, meanOf } from 'krait/statistics';

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

/** A score with which questions it answers. */
export interface AskedPoint extends ScorePoint {
  /** Question by question `1` for a right answer, `0` for another. */
  readonly hits: string;
}

/** What a quantity takes from each question of a task with each seed, so that it is the mean over tasks of means of these. */
interface Taken {
  readonly task: string;
  /** [seed][question] */
  readonly bySeed: readonly (readonly number[])[];
}

/** Tasks of a name ask the same questions, in the same order. */
export type AsksOf = (task: string) => string;

/** What the choice of questions adds to a standard error over seeds. */
export interface QuestionError {
  /** Over the questions, each averaged over the seeds. NaN for a single one. */
  readonly ofQuestions: number;
  /** What seed and question move together: it is in the errors over seeds and over questions, and counts once. */
  readonly inBoth: number;
}

const NO_ERROR: QuestionError = { ofQuestions: Number.NaN, inBoth: 0 };

/** Mean square of what is left of [seed][question] without the means of either, over seeds times questions. */
function varianceInBoth(bySeed: readonly (readonly number[])[], byQuestion: readonly number[]): number {
  const [seeds, questions] = [bySeed.length, byQuestion.length];
  if (seeds < 2 || questions < 2) return 0;
  const whole = meanOf(byQuestion);
  let sum = 0;
  for (const values of bySeed) {
    const own = meanOf(values);
    values.forEach((x, i) => {
      sum += (x - own - byQuestion[i] + whole) ** 2;
    });
  }
  return sum / ((seeds - 1) * (questions - 1)) / (seeds * questions);
}

/**
 * Errors of a mean over tasks, in points. What several tasks take from the same question is one draw: of two tasks whose
 * labels are turned round, a guess at either loses in one what it wins in the other.
 */
function questionError(tasks: readonly Taken[], asksOf: AsksOf): QuestionError {
  if (tasks.length === 0) return NO_ERROR;
  const drawn = new Map<string, number[][]>();
  for (const { task, bySeed } of tasks) {
    const sums = drawn.get(asksOf(task));
    const added = bySeed.map((values, seed) => values.map((x, i) => x + (sums?.[seed][i] ?? 0)));
    drawn.set(asksOf(task), added);
  }
  const groups = [...drawn.values()].map((bySeed) => {
    const byQuestion = bySeed[0].map((_, i) => meanOf(bySeed.map((values) => values[i])));
    const error = estimateOf(byQuestion).error ?? Number.NaN;
    return { error, inBoth: Math.sqrt(varianceInBoth(bySeed, byQuestion)) };
  });
  const over = (errors: readonly number[]) => (100 * Math.hypot(...errors)) / tasks.length;
  return { ofQuestions: over(groups.map(({ error }) => error)), inBoth: over(groups.map(({ inBoth }) => inBoth)) };
}

const tasksOf = (points: readonly ScorePoint[]): string[] => [...new Set(points.map(({ task }) => task))];

/** Question by question the share of right answers in some scores; empty without any. */
function meanHits(points: readonly AskedPoint[]): number[] {
  if (points.length === 0) return [];
  return Array.from({ length: points[0].hits.length }, (_, i) => meanOf(points.map(({ hits }) => Number(hits[i]))));
}

/** For each seed, the mean hits of the selected scores of a task. */
const hitsOf = (
  seeds: readonly (readonly AskedPoint[])[],
  task: string,
  isWanted: (shots: number) => boolean,
): number[][] => seeds.map((points) => meanHits(points.filter((p) => p.task === task && isWanted(p.shots))));

/**
 * Errors of `meanGain` and of `aipss`, of first order, that the choice of questions makes, over seeds that were asked the
 * same ones. Both are of the same questions without and with examples, which counts. NaN where the quantity is.
 */
export function questionErrors(
  seeds: readonly (readonly AskedPoint[])[],
  asksOf: AsksOf = (task) => task,
): { readonly gain: QuestionError; readonly aipss: QuestionError } {
  const tasks = tasksOf(seeds.flat()).flatMap((task) => {
    const zeros = hitsOf(seeds, task, (shots) => shots === 0);
    const fews = hitsOf(seeds, task, (shots) => shots > 0);
    return [...zeros, ...fews].every((hits) => hits.length > 0) ? [{ task, zeros, fews }] : [];
  });
  const each = (task: string, fews: number[][], value: (few: number, seed: number, question: number) => number) => ({
    task,
    bySeed: fews.map((hits, seed) => hits.map((few, i) => value(few, seed, i))),
  });
  const gains = tasks.map(({ task, zeros, fews }) => each(task, fews, (few, seed, i) => few - zeros[seed][i]));
  const ratios = tasks.map(({ task, zeros, fews }) => {
    const [zero, few] = [zeros, fews].map((bySeed) => meanOf(bySeed.map(meanOf)));
    return each(task, fews, (own, seed, i) => (own * zero - few * zeros[seed][i]) / zero ** 2);
  });
  return { gain: questionError(gains, asksOf), aipss: questionError(ratios, asksOf) };
}

/** Error that the choice of questions makes of the mean score of one set less that of another, seed by seed, in points. */
export function questionErrorOfDifference(
  a: readonly (readonly AskedPoint[])[],
  b: readonly (readonly AskedPoint[])[],
  asksOf: AsksOf = (task) => task,
): QuestionError {
  const differences = tasksOf(a.flat()).map((task) => {
    const [mine, theirs] = [a, b].map((seeds) => hitsOf(seeds, task, () => true));
    return { task, bySeed: mine.map((hits, seed) => hits.map((x, i) => x - theirs[seed][i])) };
  });
  return questionError(differences, asksOf);
}

/**
 * An estimate over seeds whose error holds that of the questions too, as of two crossed factors: what both share counts once, and
 * none of the two is told as less than it is. Null where one of them is not known.
 */
export function withError({ value, error, count }: Estimate, { ofQuestions, inBoth }: QuestionError): Estimate {
  if (error === null || !Number.isFinite(ofQuestions)) return { value, error: null, count };
  const variance = error ** 2 + ofQuestions ** 2 - inBoth ** 2;
  return { value, error: Math.sqrt(Math.max(variance, error ** 2, ofQuestions ** 2)), count };
}

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
