/** Numbers about numbers: quantiles, means with their errors, straight lines. What is not finite makes results NaN. */

/** The share `q` of sorted values lies below it; linear between neighbours. NaN without values. */
export function quantile(sorted: ArrayLike<number>, q: number): number {
  const at = q * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  if (at === low || sorted[low] === sorted[high]) return sorted[low]; // infinities have no difference
  return sorted[low] + (sorted[high] - sorted[low]) * (at - low);
}

/** Ascending; NaN, which sorts nowhere, comes last. */
export const ascending = (values: ArrayLike<number>): Float64Array => Float64Array.from(values).sort();

/** Median of any number of values; NaN for none. */
export const medianOf = (values: ArrayLike<number>): number => quantile(ascending(values), 0.5);

export const meanOf = (values: readonly number[]): number => values.reduce((sum, x) => sum + x, 0) / values.length;

/** Quantiles that describe distributions, with the extremes. */
export const SHARES = [0, 0.1, 0.25, 0.5, 0.75, 0.9, 1] as const;

/** A distribution: its extremes, quartiles, and what 10 % of the values lie below and above. */
export interface Spread {
  readonly min: number;
  readonly p10: number;
  readonly p25: number;
  readonly median: number;
  readonly p75: number;
  readonly p90: number;
  readonly max: number;
}

/** All fields are NaN if there are no values or one of them is NaN. */
export function spreadOf(values: ArrayLike<number>): Spread {
  const sorted = ascending(values);
  const hasNone = sorted.length === 0 || Number.isNaN(sorted[sorted.length - 1]);
  const [min, p10, p25, median, p75, p90, max] = SHARES.map((q) => (hasNone ? Number.NaN : quantile(sorted, q)));
  return { min, p10, p25, median, p75, p90, max };
}

/** A mean and its standard error, which is null for fewer than two values. */
export interface Estimate {
  readonly value: number;
  readonly error: number | null;
  /** Independent values that it is the mean of. */
  readonly count: number;
}

/** Share of the largest value below which a mean or an error is rounding, and reported as 0. */
const ROUNDING = 1e-12;

export function estimateOf(values: readonly number[]): Estimate {
  const count = values.length;
  const least = ROUNDING * Math.max(...values.map(Math.abs));
  const withoutRounding = (x: number) => (Math.abs(x) < least ? 0 : x);
  const value = meanOf(values);
  if (count < 2) return { value, error: null, count };
  const variance = values.reduce((sum, x) => sum + (x - value) ** 2, 0) / (count - 1);
  return { value: withoutRounding(value), error: withoutRounding(Math.sqrt(variance / count)), count };
}

/** Slope of the weighted least-squares line through (x, y); null for fewer than two places. */
export function slopeOf(x: readonly number[], y: readonly number[], weights: readonly number[]): number | null {
  const total = weights.reduce((sum, w) => sum + w, 0);
  const mean = (values: readonly number[]) => values.reduce((sum, v, i) => sum + v * weights[i], 0) / total;
  const [mx, my] = [mean(x), mean(y)];
  const square = x.reduce((sum, v, i) => sum + weights[i] * (v - mx) ** 2, 0);
  if (!(square > 0)) return null;
  return x.reduce((sum, v, i) => sum + weights[i] * (v - mx) * (y[i] - my), 0) / square;
}
