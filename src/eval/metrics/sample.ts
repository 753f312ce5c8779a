/** Contribution of one question to each metric (lm-eval's `process_results`, api/task.py, 0.4.13). */
import { length, trim } from '../python/text.ts';
import type { GenerateAnswer, LoglikelihoodAnswer } from '../requests.ts';
import type { MetricName, MetricValue } from './names.ts';

export type SampleMetrics = Partial<Record<MetricName, MetricValue>>;

/** Index of the first largest value, as numpy's argmax: a value that is not a number is larger than all. */
export function argmax(values: readonly number[]): number {
  const nan = values.findIndex(Number.isNaN);
  if (nan >= 0) return nan;
  return values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
}

const bytesOf = (text: string): number => new TextEncoder().encode(text).length;

/**
 * Of a question with choices: whether the most probable one is right, by log-probability, by log-probability per
 * character (a code point) and per byte of UTF-8; whether greedy decoding would have written the right one.
 * @param choices without the space before them
 */
export function choiceMetrics(
  answers: readonly LoglikelihoodAnswer[],
  choices: readonly string[],
  gold: number,
): SampleMetrics {
  const logprobs = answers.map(({ logprob }) => logprob);
  const isRight = (values: readonly number[]) => Number(argmax(values) === gold);
  return {
    acc: isRight(logprobs),
    acc_norm: isRight(logprobs.map((x, i) => x / length(choices[i]))),
    acc_bytes: isRight(logprobs.map((x, i) => x / bytesOf(choices[i]))),
    exact_match: Number(answers[gold].isGreedy),
    f1: [gold, argmax(logprobs)],
  };
}

/** Score of a target after a prompt: its log-probability, and whether greedy decoding writes it. */
export const continuationMetrics = ({ logprob, isGreedy }: LoglikelihoodAnswer): SampleMetrics => ({
  perplexity: logprob,
  acc: Number(isGreedy),
});

/** Score of a text: its log-probability, and the count that divides it. */
export const textMetrics = (logprob: number, words: number, bytes: number): SampleMetrics => ({
  word_perplexity: [logprob, words],
  byte_perplexity: [logprob, bytes],
  bits_per_byte: [logprob, bytes],
});

/** Score of a generated answer: 1 if it equals one of the targets apart from surrounding white space. */
export const openMetrics = ({ text }: GenerateAnswer, targets: readonly string[]): SampleMetrics => ({
  exact_match: Number(targets.some((target) => trim(target) === trim(text))),
});
