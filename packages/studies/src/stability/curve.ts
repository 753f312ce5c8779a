/** How a deviation goes along the positions after it was planted, over several texts and directions. */
import { ascending, type Estimate, estimateOf, quantile, slopeOf } from 'krait/statistics';

/** Values at the times of one text and direction. */
export type Series = readonly number[];

export interface DeviationCurve {
  /** Positions since the perturbation, the perturbed one being 1. */
  readonly times: readonly number[];
  /** Over all texts and directions: the middle, and what 10 % lie below and above. */
  readonly median: readonly number[];
  readonly low: readonly number[];
  readonly high: readonly number[];
  /** The same curve for a perturbation of the size of rounding, if it was run. Values near it are noise. */
  readonly noise: readonly number[] | null;
  /** Change of the logarithm a position, fitted from an eighth of the horizon on; the error is that of the texts. */
  readonly rate: Estimate | null;
  /** First time at which the median is at most half of what was planted, or else of the first value; null if never. */
  readonly halfTime: number | null;
  readonly last: number;
}

/** Fits leave out what is less than this many times the noise. */
const NOISE_MARGIN = 4;
const FIT_FROM = 1 / 8;

/** The rate of one series; null where too little of it stands out of the noise. Longer stretches between times weigh more. */
function rateOf(times: readonly number[], series: Series, noise: readonly number[] | null): number | null {
  const first = times[times.length - 1] * FIT_FROM;
  const kept = times.flatMap((t, i) => {
    const isLoud = series[i] > NOISE_MARGIN * (noise?.[i] ?? 0) && Number.isFinite(series[i]);
    return t >= first && isLoud ? [i] : [];
  });
  if (kept.length < 3) return null;
  return slopeOf(
    kept.map((i) => times[i]),
    kept.map((i) => Math.log(series[i])),
    kept.map((i) => times[i] - (times[i - 1] ?? 0)),
  );
}

const columns = (series: readonly Series[], share: number, length: number): number[] =>
  Array.from({ length }, (_, i) => quantile(ascending(series.map((s) => s[i])), share));

export interface CurveOptions {
  /** Series of perturbations of the size of rounding. */
  readonly noise?: readonly Series[];
  /** What was planted, in the unit of the series. */
  readonly planted?: number;
}

/** @param byText series of each text's directions */
export function curveOf(
  times: readonly number[],
  byText: readonly (readonly Series[])[],
  { noise = [], planted }: CurveOptions = {},
): DeviationCurve {
  const all = byText.flat();
  const column = (share: number) => columns(all, share, times.length);
  const floor = noise.length > 0 ? columns(noise, 0.5, times.length) : null;
  const rates = byText.flatMap((text) => {
    const found = text.map((series) => rateOf(times, series, floor)).filter((rate) => rate !== null);
    return found.length > 0 ? [estimateOf(found).value] : [];
  });
  const median = column(0.5);
  const half = median.findIndex((value) => value <= (planted ?? median[0]) / 2);
  return {
    times,
    median,
    low: column(0.1),
    high: column(0.9),
    noise: floor,
    rate: rates.length > 0 ? estimateOf(rates) : null,
    halfTime: half < 0 ? null : times[half],
    last: median[median.length - 1],
  };
}
