/**
 * Orders of variables that cost least: a shortest open path through all of them with given start, where going from i to j
 * costs `cost[i][j]`, not the same as back (an asymmetric travelling salesman who need not return). VAST (MambaTS, Cai et
 * al. 2024, section 3.4) puts its variables in such an order.
 */
import { type HostRandom, UsageError } from '../../core/index.ts';
import type { Solver } from '../names.ts';

/** `cost[i * n + j]` from i to j, n x n; the diagonal is not read. */
export interface PathProblem {
  readonly n: number;
  readonly cost: ArrayLike<number>;
  readonly start: number;
}

/** Most variables that `exact` takes: its table has n 2^n entries. */
export const MOST_EXACT = 12;

export function pathCost({ n, cost }: PathProblem, order: readonly number[]): number {
  let sum = 0;
  for (let i = 1; i < order.length; i++) sum += cost[order[i - 1] * n + order[i]];
  return sum;
}

/** The start and the others as they are numbered. */
const startFirst = ({ n, start }: PathProblem): number[] => [
  start,
  ...Array.from({ length: n }, (_, i) => i).filter((i) => i !== start),
];

/** Always on to the cheapest that is left. */
export function nearestNeighbour({ n, cost, start }: PathProblem): number[] {
  const order = [start];
  const left = new Set(Array.from({ length: n }, (_, i) => i));
  left.delete(start);
  while (left.size > 0) {
    const at = order[order.length - 1];
    const next = [...left].reduce((best, j) => (cost[at * n + j] < cost[at * n + best] ? j : best));
    order.push(next);
    left.delete(next);
  }
  return order;
}

/**
 * Segments after the start turned round where they stand, or (of up to three variables) put elsewhere, as long as anything
 * gains; from the nearest neighbours' order. A change is known without walking the path: hundreds of variables take seconds.
 */
export function localSearch(problem: PathProblem, from = nearestNeighbour(problem)): number[] {
  let order = [...from];
  for (let better: number[] | null = order; better; better = firstGain(problem, order)) order = better;
  return order;
}

/** Longest segment that is put elsewhere. */
const LONGEST_MOVED = 3;

/** The first neighbour of an order that costs less, by more than rounding. */
function firstGain({ n, cost }: PathProblem, order: readonly number[]): number[] | null {
  const step = (a: number, b: number) => (a < 0 || b < 0 ? 0 : cost[a * n + b]);
  // What the path costs from its start to each place, and what it would the other way.
  const [there, back] = [new Float64Array(n), new Float64Array(n)];
  for (let i = 1; i < n; i++) {
    there[i] = there[i - 1] + step(order[i - 1], order[i]);
    back[i] = back[i - 1] + step(order[i], order[i - 1]);
  }
  const least = -1e-12 * Math.abs(there[n - 1]);
  for (let i = 1; i < n; i++) {
    for (let j = i; j < n; j++) {
      const [before, first, last, after] = [order[i - 1], order[i], order[j], order[j + 1] ?? -1];
      const cut = step(before, first) + step(last, after);
      const inside = back[j] - back[i] - (there[j] - there[i]);
      if (j > i && step(before, last) + step(first, after) + inside - cut < least) {
        return [...order.slice(0, i), ...order.slice(i, j + 1).reverse(), ...order.slice(j + 1)];
      }
      const length = j - i + 1;
      if (length > LONGEST_MOVED) continue;
      const closed = step(before, after) - cut;
      const rest = (place: number) => order[place < i ? place : place + length] ?? -1;
      for (let at = 1; at <= n - length; at++) {
        if (at === i) continue;
        const [left, right] = [rest(at - 1), rest(at)];
        if (closed + step(left, first) + step(last, right) - step(left, right) >= least) continue;
        const others = [...order.slice(0, i), ...order.slice(j + 1)];
        return [...others.slice(0, at), ...order.slice(i, j + 1), ...others.slice(at)];
      }
    }
  }
  return null;
}

/**
 * Simulated annealing: a segment after the start is turned round or put elsewhere. First temperature: mean size of the
 * change of 100 random moves / ln 2; at each, up to 10 n moves or n accepted ones; then 0.9 of it, until three temperatures
 * accept nothing. The best order that it met is then searched locally. (The package that the authors call only turns
 * segments, which cost something else backwards, begins at the size of the mean change, which is near 0, and returns the
 * last order: on random costs of 10 variables that is 1.46 times the cheapest.)
 */
export function simulatedAnnealing(problem: PathProblem, random: HostRandom): number[] {
  const { n } = problem;
  let order = startFirst(problem);
  if (n < 4) return exactOrder(problem); // with two places to exchange there is nothing to anneal
  let cost = pathCost(problem, order);
  let best = { order, cost };
  const move = () => {
    const [a, b] = [1 + random.integer(n - 1), 1 + random.integer(n - 1)];
    const [i, j] = a < b ? [a, b] : [b, a];
    const [segment, rest] = [order.slice(i, j + 1), [...order.slice(0, i), ...order.slice(j + 1)]];
    const isTurned = random.uniform() < 0.5;
    const at = isTurned ? i : 1 + random.integer(rest.length);
    const moved = [...rest.slice(0, at), ...(isTurned ? segment.reverse() : segment), ...rest.slice(at)];
    return { order: moved, cost: pathCost(problem, moved) };
  };
  let change = 0;
  for (let i = 0; i < 100; i++) change += Math.abs(move().cost - cost) / 100;
  let temperature = change / Math.LN2;
  for (let still = 0; still < 3 && temperature > 0; temperature *= 0.9) {
    let accepted = 0;
    for (let tries = 0; tries < 10 * n && accepted < n; tries++) {
      const next = move();
      const delta = next.cost - cost;
      if (!(delta < 0 || (delta > 0 && random.uniform() < Math.exp(-delta / temperature)))) continue;
      accepted++;
      ({ order, cost } = next);
      if (cost < best.cost) best = { order, cost };
    }
    still = accepted === 0 ? still + 1 : 0;
  }
  return localSearch(problem, best.order);
}

/**
 * The cheapest order of all (Held and Karp 1962: the cheapest way to each end through each set).
 * @throws UsageError for more than 12 variables
 */
export function exactOrder(problem: PathProblem): number[] {
  const { n, cost } = problem;
  if (n > MOST_EXACT)
    throw new UsageError(`[order] exact: expected at most ${MOST_EXACT} variables, got ${n}; take annealing`);
  const nodes = startFirst(problem);
  const m = n - 1; // without the start; bit i stands for nodes[i + 1]
  if (m === 0) return nodes;
  const at = (set: number, end: number) => set * m + end;
  const least = new Float64Array(m << m).fill(Number.POSITIVE_INFINITY);
  const before = new Int32Array(m << m).fill(-1);
  for (let end = 0; end < m; end++) least[at(1 << end, end)] = cost[nodes[0] * n + nodes[end + 1]];
  for (let set = 1; set < 1 << m; set++) {
    for (let end = 0; end < m; end++) {
      const so = least[at(set, end)];
      if (so === Number.POSITIVE_INFINITY) continue;
      for (let next = 0; next < m; next++) {
        if (set & (1 << next)) continue;
        const [place, sum] = [at(set | (1 << next), next), so + cost[nodes[end + 1] * n + nodes[next + 1]]];
        if (sum < least[place]) [least[place], before[place]] = [sum, end];
      }
    }
  }
  return trace(nodes, m, least, before);
}

function trace(nodes: readonly number[], m: number, least: Float64Array, before: Int32Array): number[] {
  let set = (1 << m) - 1;
  let end = 0;
  for (let e = 1; e < m; e++) if (least[set * m + e] < least[set * m + end]) end = e;
  const order: number[] = [];
  while (end >= 0) {
    order.push(nodes[end + 1]);
    const previous = before[set * m + end];
    set &= ~(1 << end);
    end = previous;
  }
  return [nodes[0], ...order.reverse()];
}

/** An order by any solver; `none` leaves the variables as they are. */
export function solveOrder(problem: PathProblem, solver: Solver, random: HostRandom): number[] {
  switch (solver) {
    case 'none':
      return Array.from({ length: problem.n }, (_, i) => i);
    case 'nearest':
      return nearestNeighbour(problem);
    case 'local':
      return localSearch(problem);
    case 'exact':
      return exactOrder(problem);
    case 'annealing':
      return simulatedAnnealing(problem, random);
  }
}
