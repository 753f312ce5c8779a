/** Ways to solve a `PathProblem`: one exact, for few variables, and three that are fast for many. */
import { type HostRandom, UsageError } from '../../core/index.ts';
import { type PathProblem, pathCost, plainPath, reversalDelta, reverse } from './path.ts';

/** Most variables of the exact solver: its table has n 2^n entries. */
export const MOST_EXACT = 12;

/** Always on to the cheapest variable that was not visited. */
export function nearestPath({ n, cost, start }: PathProblem): number[] {
  const path = [start];
  const left = new Set(Array.from({ length: n }, (_, i) => i).filter((i) => i !== start));
  while (left.size > 0) {
    const row = path[path.length - 1] * n;
    const next = [...left].reduce((a, b) => (cost[row + b] < cost[row + a] ? b : a));
    left.delete(next);
    path.push(next);
  }
  return path;
}

/** Change of cost if the variable at position i went to position j, the others keeping their order; both from 1. */
function moveDelta(problem: PathProblem, path: readonly number[], i: number, j: number): number {
  const moved = [...path];
  moved.splice(j, 0, ...moved.splice(i, 1));
  const [from, to] = [Math.min(i, j) - 1, Math.min(problem.n, Math.max(i, j) + 2)];
  return pathCost(problem, moved.slice(from, to)) - pathCost(problem, path.slice(from, to));
}

/** From the nearest-neighbour path, reversals and moves as long as one of them helps: the best of each round. */
export function localPath(problem: PathProblem): number[] {
  const { n } = problem;
  const path = nearestPath(problem);
  for (;;) {
    let best = { delta: -1e-12, apply: null as (() => void) | null };
    for (let i = 1; i < n; i++) {
      for (let j = 1; j < n; j++) {
        if (i === j) continue;
        const moved = moveDelta(problem, path, i, j);
        if (moved < best.delta) best = { delta: moved, apply: () => path.splice(j, 0, ...path.splice(i, 1)) };
        if (j <= i) continue;
        const reversed = reversalDelta(problem, path, i, j);
        if (reversed < best.delta) best = { delta: reversed, apply: () => reverse(path, i, j) };
      }
    }
    if (!best.apply) return path;
    best.apply();
  }
}

/** Temperature falls by this factor. */
const COOLING = 0.9;
/** Temperatures in a row without any change that end the search. */
const FROZEN = 3;
const SAMPLES = 100;

interface Change {
  readonly delta: number;
  readonly apply: () => void;
}

/** A reversal or a move, each half of the time: reversals alone are a poor neighbourhood where costs are not symmetric. */
function drawChange(problem: PathProblem, path: number[], random: HostRandom): Change {
  const { n } = problem;
  const i = 1 + random.integer(n - 1);
  const other = 1 + random.integer(n - 2);
  const j = other < i ? other : other + 1;
  if (random.uniform() < 0.5) {
    return { delta: moveDelta(problem, path, i, j), apply: () => path.splice(j, 0, ...path.splice(i, 1)) };
  }
  const [low, high] = [Math.min(i, j), Math.max(i, j)];
  return { delta: reversalDelta(problem, path, low, high), apply: () => reverse(path, low, high) };
}

/**
 * Simulated annealing from the plain order; the best path that was met is returned. The schedule is that of python-tsp
 * (temperature of |mean of 100 random changes| / ln 2; up to 10 n tries and n changes each), which changes paths by
 * reversals alone and returns the last one.
 */
export function annealedPath(problem: PathProblem, random: HostRandom): number[] {
  const { n } = problem;
  const path = plainPath(problem);
  if (n < 3) return path;
  const deltas = Array.from({ length: SAMPLES }, () => drawChange(problem, path, random).delta);
  let temperature = Math.abs(deltas.reduce((a, b) => a + b, 0) / SAMPLES) / Math.LN2;
  let now = pathCost(problem, path);
  let best = { cost: now, path: [...path] };
  for (let frozen = 0; frozen < FROZEN; temperature *= COOLING) {
    let accepted = 0;
    for (let tries = 0; tries < 10 * n && accepted < n; tries++) {
      const { delta, apply } = drawChange(problem, path, random);
      if (!(delta < 0 || (delta > 0 && random.uniform() < Math.exp(-delta / temperature)))) continue;
      apply();
      now += delta;
      accepted++;
      if (now < best.cost - 1e-12) best = { cost: now, path: [...path] };
    }
    frozen = accepted === 0 ? frozen + 1 : 0;
  }
  return best.path;
}

/** The cheapest path of all, by the recurrence of Held and Karp over subsets. @throws UsageError beyond 12 variables */
export function exactPath(problem: PathProblem): number[] {
  const { n, cost, start } = problem;
  if (n > MOST_EXACT) throw new UsageError(`exact order: at most ${MOST_EXACT} variables, got ${n}; use annealing`);
  const full = 1 << n;
  const best = new Float64Array(full * n).fill(Number.POSITIVE_INFINITY);
  const before = new Int8Array(full * n).fill(-1);
  best[(1 << start) * n + start] = 0;
  for (let set = 1; set < full; set++) {
    for (let last = 0; last < n; last++) {
      const so = best[set * n + last];
      if (so === Number.POSITIVE_INFINITY) continue;
      for (let next = 0; next < n; next++) {
        if (set & (1 << next)) continue;
        const at = (set | (1 << next)) * n + next;
        if (so + cost[last * n + next] >= best[at]) continue;
        best[at] = so + cost[last * n + next];
        before[at] = last;
      }
    }
  }
  let set = full - 1;
  let last = 0;
  for (let i = 1; i < n; i++) if (best[set * n + i] < best[set * n + last]) last = i;
  const path: number[] = [];
  for (let at = last; at >= 0; ) {
    path.unshift(at);
    const previous = before[set * n + at];
    set &= ~(1 << at);
    at = previous;
  }
  return path;
}
