/** The problem that an order of variables solves: a path through all of them that costs least, from a given start. */
export interface PathProblem {
  readonly n: number;
  /** Cost of going from row i to column j, [n, n]; need not be symmetric. The diagonal is not read. */
  readonly cost: Float64Array;
  readonly start: number;
}

export function pathCost({ n, cost }: PathProblem, path: ArrayLike<number>): number {
  let total = 0;
  for (let i = 1; i < path.length; i++) total += cost[path[i - 1] * n + path[i]];
  return total;
}

/** The path through the variables in the order of their numbers, the start first. */
export const plainPath = ({ n, start }: PathProblem): number[] => [
  start,
  ...Array.from({ length: n }, (_, i) => i).filter((i) => i !== start),
];

/**
 * Change of cost if positions i..j of the path were reversed (1 <= i < j): every step inside changes its direction, which
 * matters where costs are not symmetric.
 */
export function reversalDelta({ n, cost }: PathProblem, path: readonly number[], i: number, j: number): number {
  const at = (a: number, b: number) => cost[path[a] * n + path[b]];
  let delta = at(i - 1, j) - at(i - 1, i);
  if (j + 1 < n) delta += at(i, j + 1) - at(j, j + 1);
  for (let p = i; p < j; p++) delta += at(p + 1, p) - at(p, p + 1);
  return delta;
}

export function reverse(path: number[], i: number, j: number): void {
  for (let a = i, b = j; a < b; a++, b--) [path[a], path[b]] = [path[b], path[a]];
}
