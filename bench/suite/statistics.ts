/** The little arithmetic of the suite. */

import { medianOf } from '../../src/core/statistics.ts';

/** The middle value; of an even number of them the mean of the two in the middle. @throws RangeError if there is none */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('the median of no values: measure at least one round');
  return medianOf(values);
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

/**
 * What stands around each of `count` long rounds, which lie between groups of equally many short ones: the median of the
 * group before it and the one after it.
 * @throws RangeError if there are no such groups
 */
export function around(outer: readonly number[], count: number): number[] {
  const size = outer.length / (count + 1);
  if (!Number.isInteger(size) || size === 0) {
    throw new RangeError(`${outer.length} rounds around ${count}: each needs as many before as after it`);
  }
  return Array.from({ length: count }, (_, i) => median(outer.slice(i * size, (i + 2) * size)));
}
