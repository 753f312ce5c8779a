/** The little arithmetic of the suite. */

/** The middle value; of an even number of them the mean of the two in the middle. @throws RangeError if there is none */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('the median of no values: measure at least one round');
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Half of the distance between the least and the greatest, as a share of the median: how far rounds differ. */
export function spread(values: readonly number[]): number {
  return (Math.max(...values) - Math.min(...values)) / 2 / median(values);
}

/**
 * The median of the ratios of rounds that followed one another: what slows a moment down slows both of them.
 * @throws RangeError if the two were not measured equally often
 */
export function medianRatio(over: readonly number[], under: readonly number[]): number {
  if (over.length !== under.length) {
    throw new RangeError(`${over.length} rounds against ${under.length}: a ratio needs as many of both`);
  }
  return median(over.map((value, i) => value / under[i]));
}
