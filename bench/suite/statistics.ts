/** The little arithmetic of the suite. */

import { median } from '../../src/study/index.ts';

export { median };

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
