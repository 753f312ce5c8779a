/** Metrics, by lm-eval's names. */

export const METRIC_NAMES = [
  'acc',
  'acc_norm',
  'acc_bytes',
  'exact_match',
  'f1',
  'perplexity',
  'word_perplexity',
  'byte_perplexity',
  'bits_per_byte',
] as const;

export type MetricName = (typeof METRIC_NAMES)[number];

const LOWER: readonly MetricName[] = ['perplexity', 'word_perplexity', 'byte_perplexity', 'bits_per_byte'];

export const isHigherBetter = (metric: MetricName): boolean => !LOWER.includes(metric);

/**
 * What one question contributes to a metric: a number; of `f1` the right and the chosen answer; of the perplexities of
 * words and bytes a text's log-probability and its number of words or bytes.
 */
export type MetricValue = number | readonly [number, number];
