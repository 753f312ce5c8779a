import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { HostRandom } from '../../core/index.ts';
import {
  annealedPath,
  exactPath,
  localPath,
  nearestPath,
  type PathProblem,
  pathCost,
  reversalDelta,
  reverse,
  Transitions,
} from './index.ts';

const problemOf = (n: number, seed: number): PathProblem => {
  const random = new HostRandom(seed);
  return { n, cost: Float64Array.from({ length: n * n }, () => random.uniform()), start: random.integer(n) };
};

/** Cheapest path by trying all. */
function bruteForce(problem: PathProblem): number {
  const visit = (path: number[]): number => {
    if (path.length === problem.n) return pathCost(problem, path);
    const rest = Array.from({ length: problem.n }, (_, i) => i).filter((i) => !path.includes(i));
    return Math.min(...rest.map((i) => visit([...path, i])));
  };
  return visit([problem.start]);
}

const SOLVERS = {
  nearest: nearestPath,
  local: localPath,
  annealing: (p: PathProblem) => annealedPath(p, new HostRandom(7)),
  exact: exactPath,
};

describe('orders of variables', () => {
  for (const [name, solve] of Object.entries(SOLVERS)) {
    it(`${name}: a path through every variable once, from the start, for 1 to 12 of them`, () => {
      for (let n = 1; n <= 12; n++) {
        const problem = problemOf(n, 100 + n);
        const path = solve(problem);
        assert.equal(path[0], problem.start);
        assert.deepEqual(
          [...path].sort((a, b) => a - b),
          Array.from({ length: n }, (_, i) => i),
        );
      }
    });
  }

  it('exact: the cheapest of all paths', () => {
    for (let seed = 0; seed < 12; seed++) {
      const problem = problemOf(2 + (seed % 6), seed);
      assert.ok(Math.abs(pathCost(problem, exactPath(problem)) - bruteForce(problem)) < 1e-12);
    }
    assert.throws(() => exactPath(problemOf(13, 1)), /at most 12 variables, got 13/);
  });

  it('the heuristics come close to it on random asymmetric costs', () => {
    const excess = { nearest: 0, local: 0, annealing: 0 };
    let optimum = 0;
    for (let seed = 0; seed < 20; seed++) {
      const problem = problemOf(10, 1000 + seed);
      const least = pathCost(problem, exactPath(problem));
      optimum += least;
      for (const name of ['nearest', 'local', 'annealing'] as const) {
        const cost = pathCost(problem, SOLVERS[name](problem));
        assert.ok(cost >= least - 1e-9, `${name} is cheaper than the cheapest`);
        excess[name] += cost - least;
      }
    }
    assert.ok(excess.local < 0.25 * optimum && excess.annealing < 0.25 * optimum, JSON.stringify({ excess, optimum }));
    assert.ok(excess.local < excess.nearest && excess.annealing < excess.nearest, JSON.stringify({ excess, optimum }));
  });

  it('knows what a reversal costs', () => {
    const problem = problemOf(9, 3);
    const path = nearestPath(problem);
    for (let i = 1; i < 9; i++) {
      for (let j = i + 1; j < 9; j++) {
        const other = [...path];
        reverse(other, i, j);
        const delta = pathCost(problem, other) - pathCost(problem, path);
        assert.ok(Math.abs(delta - reversalDelta(problem, path, i, j)) < 1e-12);
      }
    }
  });
});

describe('learned transitions', () => {
  it('credits each cost to the order of its own sample', () => {
    const transitions = new Transitions(3);
    transitions.add([0, 1, 2, 2, 1, 0], [1, 3]); // deviation sqrt(2)
    const unit = Math.SQRT2;
    const means = transitions.means();
    const at = (i: number, j: number) => means[i * 3 + j] * unit;
    const near = (a: number, b: number) => assert.ok(Math.abs(a - b) < 1e-12, `${a} is not ${b}`);
    near(at(0, 0), 1);
    near(at(0, 1), 1);
    near(at(1, 2), 1);
    near(at(2, 2), 3);
    near(at(2, 1), 3);
    near(at(1, 0), 3);
    near(at(0, 2), 2); // never occurred: the mean of all
  });

  it('finds the order that was cheap, from noisy samples, and survives being saved', () => {
    const n = 6;
    const wanted = [3, 0, 5, 2, 4, 1];
    const random = new HostRandom(5);
    const learned = new Transitions(n);
    for (let step = 0; step < 400; step++) {
      const orders = Array.from({ length: 8 }, () => random.shuffle(Array.from({ length: n }, (_, i) => i)));
      const costs = orders.map((order) => {
        const kept = order.filter((v, t) =>
          t === 0 ? v === wanted[0] : wanted.indexOf(v) === wanted.indexOf(order[t - 1]) + 1,
        );
        return 10 - kept.length + random.normal();
      });
      learned.add(orders.flat(), costs);
    }
    const restored = new Transitions(n);
    restored.restore(JSON.parse(JSON.stringify(learned.toJson())));
    for (const how of ['annealing', 'local', 'exact'] as const) assert.deepEqual(restored.order(how, 1), wanted, how);
    assert.deepEqual(restored.order('file', 1), [0, 1, 2, 3, 4, 5]);
  });

  it('takes one sample, and one variable', () => {
    const transitions = new Transitions(1);
    transitions.add([0], [2]);
    assert.deepEqual([...transitions.means()], [2]);
    assert.deepEqual(transitions.order('annealing', 0), [0]);
  });
});
