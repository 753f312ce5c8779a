/**
 * Metrics of a task from those of its questions, and of a group from those of its tasks, with standard errors
 * (lm-eval's api/metrics.py, 0.4.13).
 */
import { UsageError } from '../../core/index.ts';
import { PythonRandom } from '../python/random.ts';
import type { MetricName, MetricValue } from './names.ts';

type Pair = readonly [number, number];

/** Resamples that an error is taken over where no formula gives it; lm-eval's number. */
export const BOOTSTRAP_ITERATIONS = 100_000;
/** Resamples of one generator. */
const CHUNK = 1000;

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const mean = (values: readonly number[]): number => sum(values) / values.length;

/** Standard deviation of a sample: by one less than its size. */
function sampleDeviation(values: readonly number[]): number {
  const middle = mean(values);
  return Math.sqrt(sum(values.map((value) => (value - middle) ** 2)) / (values.length - 1));
}

export const meanError = (values: readonly number[]): number => sampleDeviation(values) / Math.sqrt(values.length);

const ratio = (pairs: readonly Pair[]): number => sum(pairs.map(([a]) => a)) / sum(pairs.map(([, b]) => b));

/** F1 of the class 1 over some of the pairs; 0 where there is neither such an answer nor such a choice. */
function f1Of(golds: Uint8Array, choices: Uint8Array, indices: Iterable<number>): number {
  let hits = 0;
  let all = 0;
  for (const i of indices) {
    hits += golds[i] & choices[i];
    all += golds[i] + choices[i];
  }
  return all === 0 ? 0 : (2 * hits) / all;
}

/** F1 of the class 1, as scikit-learn's `f1_score` has it. @throws UsageError for more than two classes */
function f1(pairs: readonly Pair[], error: (statistic: Statistic) => number | null): Aggregate {
  const odd = pairs.flat().find((label) => label > 1);
  if (odd !== undefined) throw new UsageError(`f1 is of two choices, got choice number ${odd}; take acc instead`);
  const golds = Uint8Array.from(pairs, ([gold]) => gold);
  const choices = Uint8Array.from(pairs, ([, chosen]) => chosen);
  return { value: f1Of(golds, choices, pairs.keys()), error: error((indices) => f1Of(golds, choices, indices)) };
}

/** E to the minus mean log-probability. */
function perplexity(values: readonly number[], error: (statistic: Statistic) => number | null): Aggregate {
  const logprobs = Float64Array.from(values);
  const resampled = error((indices) => {
    let total = 0;
    for (let i = 0; i < indices.length; i++) total += logprobs[indices[i]];
    return Math.exp(-total / indices.length);
  });
  return { value: Math.exp(-mean(values)), error: resampled };
}

/** Statistic of a resample, given as indices. */
type Statistic = (indices: Uint32Array) => number;

/**
 * Standard deviation of a statistic over resamples: lm-eval's, with Python's generator seeded by the number of each
 * thousand.
 */
function bootstrapError(size: number, statistic: Statistic, iterations: number): number {
  const values: number[] = [];
  const chunk = Math.min(CHUNK, iterations);
  const indices = new Uint32Array(size);
  for (let seed = 0; seed < Math.floor(iterations / chunk); seed++) {
    const random = new PythonRandom(seed);
    for (let i = 0; i < chunk; i++) {
      for (let j = 0; j < size; j++) indices[j] = random.choice(size);
      values.push(statistic(indices));
    }
  }
  return sampleDeviation(values);
}

export interface Aggregate {
  readonly value: number;
  /** Null where lm-eval gives none: of one question, and of perplexities of words and bytes. */
  readonly error: number | null;
}

export interface AggregateOptions {
  /** Resamples for errors of `perplexity` and `f1`; 0 for none. */
  bootstrapIterations?: number;
}

const isPairs = (values: readonly MetricValue[]): values is readonly Pair[] => typeof values[0] !== 'number';

/** A task's metric from what its questions contributed, at least one. */
export function aggregate(
  metric: MetricName,
  values: readonly MetricValue[],
  { bootstrapIterations = BOOTSTRAP_ITERATIONS }: AggregateOptions = {},
): Aggregate {
  const hasError = values.length > 1 && bootstrapIterations > 0;
  const resampled = (statistic: Statistic) =>
    hasError ? bootstrapError(values.length, statistic, bootstrapIterations) : null;
  if (isPairs(values)) {
    if (metric === 'f1') return f1(values, resampled);
    const nats = -ratio(values);
    return { value: metric === 'bits_per_byte' ? nats / Math.LN2 : Math.exp(nats), error: null };
  }
  const numbers = values as readonly number[];
  if (metric === 'perplexity') return perplexity(numbers, resampled);
  return { value: mean(numbers), error: hasError ? meanError(numbers) : null };
}

/** One task's part in a group. */
export interface Weighted extends Aggregate {
  /** Questions. */
  readonly size: number;
}

/** Mean over tasks, weighted by size, and its pooled error (lm-eval's `pooled_sample_stderr`). */
export function pool(parts: readonly Weighted[]): Aggregate {
  const total = sum(parts.map(({ size }) => size));
  const value = sum(parts.map((part) => part.value * part.size)) / total;
  if (parts.some(({ error }) => error === null)) return { value, error: null };
  const squares = parts.map(({ error, size }) => (size - 1) * error! ** 2 * size);
  return { value, error: Math.sqrt(sum(squares) / (total - parts.length) / total) };
}
