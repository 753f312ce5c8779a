/** Lyapunov exponents and frozen-gate decay of each layer, from what was seen of its recurrence. In nats a token. */
import { type Estimate, estimateOf, meanOf, medianOf, type Spread, spreadOf } from 'krait/statistics';
import { curveOf, type DeviationCurve, type Series } from './curve.ts';
import type { LayerTrace } from './recurrence.ts';

/** What the largest exponent says: below 0 a state forgets, at 0 it keeps, above 0 (or NaN) it is unstable. */
export type Verdict = 'stable' | 'marginal' | 'unstable';

export interface WindowExponents {
  /** Positions after the warm-up, the first included. */
  readonly from: number;
  readonly to: number;
  /** Largest exponent, and the middle one of the channels' slowest states; means over the texts. */
  readonly maximal: number;
  readonly median: number;
}

export interface LayerExponents {
  readonly layer: number;
  readonly verdict: Verdict;
  /** Largest exponent of a (channel, state), over the whole horizon; the error is that of the texts. */
  readonly maximal: Estimate;
  /** Largest of any text and any window: the worst that was seen. */
  readonly worst: number;
  /** Each channel's slowest state, its exponent averaged over the texts. */
  readonly channels: Spread;
  /** Exponents of all (channel, state). */
  readonly states: Spread;
  /** Number of (channel, state) whose exponent is above 0, and is not a finite number. */
  readonly above: number;
  readonly notFinite: number;
  /** Number of all (channel, state). */
  readonly count: number;
  readonly windows: readonly WindowExponents[];
}

export const verdictOf = (exponent: number): Verdict =>
  exponent < 0 ? 'stable' : exponent === 0 ? 'marginal' : 'unstable';

const WORST_FIRST: readonly Verdict[] = ['unstable', 'marginal', 'stable'];

/** The worst of several; stable where there is none. */
export const worstOf = (verdicts: readonly Verdict[]): Verdict =>
  WORST_FIRST.find((verdict) => verdicts.includes(verdict)) ?? 'stable';

/** Tokens after which half is left at an exponent; null where it does not decay. */
export const halfLife = (exponent: number): number | null => (exponent < 0 ? -Math.LN2 / exponent : null);

/** The largest value; NaN if one is. */
function largest(values: ArrayLike<number>): number {
  let most = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) most = Math.max(most, values[i]); // which keeps a NaN
  return most;
}

/** Exponents of the (state, channel)s of one text, [states, channels], from the mean steps of its channels. */
function exponentsOf(trace: LayerTrace, meanSteps: Float64Array): Float64Array {
  const { channels, rates } = trace;
  return rates.map((rate, i) => rate * meanSteps[i % channels]);
}

/** Each channel's largest of [states, channels]. */
function slowest(exponents: Float64Array, channels: number): Float64Array {
  const states = exponents.length / channels;
  return Float64Array.from({ length: channels }, (_, c) =>
    largest(Float64Array.from({ length: states }, (_state, i) => exponents[i * channels + c])),
  );
}

/** Mean steps of one text's channels over some stretches. */
function meanSteps(trace: LayerTrace, stretches: LayerTrace['stretches'], text: number): Float64Array {
  const { channels } = trace;
  const total = new Float64Array(channels);
  let positions = 0;
  for (const { from, to, steps } of stretches) {
    positions += to - from;
    for (let c = 0; c < channels; c++) total[c] += steps[text * channels + c];
  }
  return total.map((sum) => sum / positions);
}

const textsOf = ({ stretches, channels }: LayerTrace): number => stretches[0].steps.length / channels;

interface WindowResult extends WindowExponents {
  readonly worst: number;
}

function windowOf(trace: LayerTrace, from: number, to: number): WindowResult {
  const inside = trace.stretches.filter((s) => s.from >= from && s.to <= to);
  const texts = Array.from({ length: textsOf(trace) }, (_, text) => {
    const channels = slowest(exponentsOf(trace, meanSteps(trace, inside, text)), trace.channels);
    return { maximal: largest(channels), median: medianOf(channels) };
  });
  const maximal = texts.map((t) => t.maximal);
  return { from, to, maximal: meanOf(maximal), median: meanOf(texts.map((t) => t.median)), worst: largest(maximal) };
}

/** The exponents of one layer; windows of `window` positions end where stretches do. */
export function layerExponents(trace: LayerTrace, window: number): LayerExponents {
  const texts = Array.from({ length: textsOf(trace) }, (_, text) =>
    exponentsOf(trace, meanSteps(trace, trace.stretches, text)),
  );
  const average = texts[0].map((_, i) => meanOf(texts.map((exponents) => exponents[i])));
  const end = trace.stretches[trace.stretches.length - 1].to;
  const windows = Array.from({ length: end / window }, (_, i) => windowOf(trace, i * window, (i + 1) * window));
  const worst = largest([...windows.map((w) => w.worst), ...texts.map(largest)]);
  return {
    layer: trace.layer,
    verdict: verdictOf(largest(texts.map(largest))),
    maximal: estimateOf(texts.map(largest)),
    worst,
    channels: spreadOf(slowest(average, trace.channels)),
    states: spreadOf(average),
    above: average.filter((exponent) => exponent > 0).length,
    notFinite: average.filter((exponent) => !Number.isFinite(exponent)).length,
    count: average.length,
    windows: windows.map(({ from, to, maximal, median }) => ({ from, to, maximal, median })),
  };
}

/** What became of deviations of a layer's state with its gates frozen. */
export interface FrozenDecay {
  readonly layer: number;
  /** Norm against the planted one. */
  readonly curve: DeviationCurve;
  /** Norm of the Jacobian so far, the most that a deviation can be; the middle of the texts, at the times of the curve. */
  readonly bound: readonly number[];
  /** Largest norm of a deviation against that bound, over all times, texts and directions: at most 1 but for rounding. */
  readonly againstBound: number;
}

/** log ||J_t ... J_1||_2 of each text at the end of each stretch: [stretches][texts]. */
function logNorms(trace: LayerTrace): number[][] {
  const { channels, rates } = trace;
  const sums = new Float64Array(trace.stretches[0].steps.length);
  return trace.stretches.map(({ steps }) => {
    steps.forEach((step, i) => {
      sums[i] += step;
    });
    return Array.from({ length: textsOf(trace) }, (_, text) =>
      largest(rates.map((rate, i) => rate * sums[text * channels + (i % channels)])),
    );
  });
}

/** Norms below this are rounded coarsely, or are 0, in f32. */
const SMALLEST_NORM = 1e-36;

/** The decay at `times`, which are ends of stretches. */
export function frozenDecay(trace: LayerTrace, times: readonly number[]): FrozenDecay {
  const bounds = logNorms(trace);
  const ends = trace.stretches.map(({ to }) => to);
  const at = times.map((time) => ends.indexOf(time));
  const directions = trace.stretches[0].deviations.length;
  const byText = Array.from({ length: textsOf(trace) }, (_, text) =>
    Array.from(
      { length: directions },
      (_direction, k): Series => at.map((i) => trace.stretches[i].deviations[k][text]),
    ),
  );
  const shares = trace.stretches.flatMap(({ deviations }, i) =>
    deviations.flatMap((norms) =>
      Array.from(norms, (norm, text) => (norm < SMALLEST_NORM ? 0 : Math.exp(Math.log(norm) - bounds[i][text]))),
    ),
  );
  return {
    layer: trace.layer,
    curve: curveOf(times, byText, { planted: 1 }),
    bound: at.map((i) => Math.exp(medianOf(bounds[i]))),
    againstBound: largest(shares),
  };
}
