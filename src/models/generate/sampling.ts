/** The next token from its logits: pure functions over plain arrays. */
import { type HostRandom, KraitError, UsageError } from '../../core/index.ts';

export interface SamplingOptions {
  /** 0 takes the most probable token (greedy); 1 samples the model's own distribution. */
  temperature?: number;
  /** Sample from the k most probable tokens only; 0 for all. */
  topK?: number;
  /** Sample from the fewest tokens whose probability together reaches this; 1 for all. */
  topP?: number;
  /** Logits of tokens that were there before are divided by this if positive, else multiplied; 1 for none. */
  repetitionPenalty?: number;
}

/** @throws UsageError naming the option and what it may be */
export function checkSampling({ temperature = 0, topK = 0, topP = 1, repetitionPenalty = 1 }: SamplingOptions): void {
  const check = (isGood: boolean, name: string, value: number, expected: string) => {
    if (!isGood) throw new UsageError(`${name}: expected ${expected}, got ${value}`);
  };
  check(temperature >= 0 && temperature < Number.POSITIVE_INFINITY, 'temperature', temperature, 'a number from 0');
  check(Number.isInteger(topK) && topK >= 0, 'top-k', topK, 'a whole number from 0');
  check(topP > 0 && topP <= 1, 'top-p', topP, 'a number above 0 and at most 1');
  check(
    repetitionPenalty > 0 && repetitionPenalty < Number.POSITIVE_INFINITY,
    'repetition penalty',
    repetitionPenalty,
    'a number above 0',
  );
}

/** In place, as in Keskar et al. 2019 (CTRL), section 4.1. */
export function penalizeRepetition(logits: Float32Array | Float64Array, seen: Iterable<number>, penalty: number): void {
  if (penalty === 1) return;
  for (const token of seen) logits[token] *= logits[token] > 0 ? 1 / penalty : penalty;
}

/**
 * The most probable token; the first of equals.
 * @throws KraitError if a logit is NaN
 */
export function greedyToken(logits: ArrayLike<number>): number {
  let best = 0;
  let top = logits[0];
  for (let i = 0; i < logits.length; i++) {
    const value = logits[i];
    if (Number.isNaN(value))
      throw new KraitError(`logit of token ${i} is NaN; the weights or a value on the way overflowed`);
    if (value > top) {
      best = i;
      top = value;
    }
  }
  return best;
}

/** Log-probability of a token under the logits. */
export function logProbability(logits: ArrayLike<number>, token: number): number {
  const top = logits[greedyToken(logits)];
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - top);
  return logits[token] - top - Math.log(sum);
}

/** A token that may be drawn, and its probability before it is normalised over all that may. */
export interface Candidate {
  readonly token: number;
  readonly weight: number;
}

const byWeight = (a: Candidate, b: Candidate): number => b.weight - a.weight || a.token - b.token;

/**
 * The tokens that may be drawn, the most probable first: temperature, then top-k, then top-p. With both off they
 * come in the order of their ids.
 */
export function candidates(
  logits: ArrayLike<number>,
  { temperature = 1, topK = 0, topP = 1 }: SamplingOptions,
): Candidate[] {
  const top = logits[greedyToken(logits)];
  const weights = Float64Array.from(logits, (x) => Math.exp((x - top) / temperature));
  let list: Candidate[] = [];
  const isLimited = topK > 0 && topK < logits.length;
  // Tokens less probable than (1 - topP) / n have less than 1 - topP together: the others hold the nucleus. This
  // spares sorting a whole vocabulary. It does not hold after top-k, which is short anyway.
  const total = weights.reduce((sum, w) => sum + w, 0);
  const least = isLimited ? 0 : ((1 - topP) * total) / weights.length;
  for (let token = 0; token < weights.length; token++) {
    if (weights[token] > 0 && weights[token] >= least) list.push({ token, weight: weights[token] });
  }
  if (isLimited) list = list.sort(byWeight).slice(0, topK);
  else if (topP < 1) list.sort(byWeight);
  if (topP >= 1) return list;
  const mass = isLimited ? list.reduce((sum, { weight }) => sum + weight, 0) : total;
  let reached = 0;
  const count = list.findIndex(({ weight }) => {
    reached += weight;
    return reached >= topP * mass;
  });
  return count < 0 ? list : list.slice(0, count + 1);
}

/** Draws one candidate with probability proportional to its weight. */
export function draw(list: readonly Candidate[], random: HostRandom): number {
  const total = list.reduce((sum, { weight }) => sum + weight, 0);
  let left = random.uniform() * total;
  for (const { token, weight } of list) {
    left -= weight;
    if (left < 0) return token;
  }
  return list[list.length - 1].token;
}

/**
 * The next token. Changes `logits` where there is a repetition penalty.
 * @param seen tokens of the prompt and of what was generated
 */
export function sampleToken(
  logits: Float32Array | Float64Array,
  options: SamplingOptions,
  seen: Iterable<number>,
  random: HostRandom,
): number {
  penalizeRepetition(logits, seen, options.repetitionPenalty ?? 1);
  if ((options.temperature ?? 0) === 0) return greedyToken(logits);
  return draw(candidates(logits, options), random);
}
