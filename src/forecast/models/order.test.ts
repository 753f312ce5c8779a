/** Solvers against one another and against all orders; the costs that VAST gathers. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { HostRandom, UsageError } from '../../core/index.ts';
import {
  exactOrder,
  localSearch,
  nearestNeighbour,
  type PathProblem,
  pathCost,
  simulatedAnnealing,
  solveOrder,
  VariableCosts,
} from './index.ts';

function randomProblem(n: number, seed: number): PathProblem {
  const random = new HostRandom(seed);
  return { n, cost: Float64Array.from({ length: n * n }, () => random.uniform()), start: random.integer(n) };
}

/** The cheapest of all orders, tried one by one. */
function bruteForce(problem: PathProblem): number {
  const walk = (order: number[]): number => {
    if (order.length === problem.n) return pathCost(problem, order);
    let best = Number.POSITIVE_INFINITY;
    for (let i = 0; i < problem.n; i++) if (!order.includes(i)) best = Math.min(best, walk([...order, i]));
    return best;
  };
  return walk([problem.start]);
}

const isOrder = (problem: PathProblem, order: readonly number[]) =>
  order[0] === problem.start && new Set(order).size === problem.n && order.every((i) => i >= 0 && i < problem.n);

describe('orders', () => {
  it('that are exact cost what the cheapest of all costs', () => {
    for (let n = 1; n <= 7; n++) {
      for (let seed = 0; seed < 5; seed++) {
        const problem = randomProblem(n, 100 * n + seed);
        const order = exactOrder(problem);
        assert.ok(isOrder(problem, order), `${order}`);
        assert.ok(Math.abs(pathCost(problem, order) - bruteForce(problem)) < 1e-12, `n ${n}, seed ${seed}`);
      }
    }
    assert.throws(() => exactOrder(randomProblem(13, 0)), UsageError);
  });

  it('of the heuristics are near the exact ones: how near is fixed by their kind', () => {
    const ratios = { nearest: 0, local: 0, annealing: 0 };
    const rounds = 12;
    for (let seed = 0; seed < rounds; seed++) {
      const problem = randomProblem(10, seed);
      const best = pathCost(problem, exactOrder(problem));
      const found = {
        nearest: nearestNeighbour(problem),
        local: localSearch(problem),
        annealing: simulatedAnnealing(problem, new HostRandom(seed)),
      };
      for (const [name, order] of Object.entries(found) as [keyof typeof ratios, number[]][]) {
        assert.ok(isOrder(problem, order), `${name}: ${order}`);
        const ratio = pathCost(problem, order) / best;
        assert.ok(ratio > 1 - 1e-12, `${name} is cheaper than the cheapest`);
        ratios[name] += ratio / rounds;
      }
      assert.ok(pathCost(problem, found.local) <= pathCost(problem, found.nearest) + 1e-12);
    }
    assert.ok(ratios.local < 1.1 && ratios.annealing < 1.05 && ratios.nearest < 2.2, JSON.stringify(ratios));
  });

  it('of the local search have no cheaper neighbour, of hundreds of variables too', () => {
    for (const [n, seed] of [
      [8, 1],
      [9, 2],
      [250, 3],
    ]) {
      const problem = randomProblem(n, seed);
      const order = localSearch(problem);
      assert.ok(isOrder(problem, order));
      const least = pathCost(problem, order) - 1e-9;
      const stride = n > 100 ? 41 : 1; // of 250 variables a sample of the segments
      for (let i = 1; i < n; i += stride) {
        for (let j = i; j < n; j += stride) {
          const [segment, rest] = [order.slice(i, j + 1), [...order.slice(0, i), ...order.slice(j + 1)]];
          const turned = [...rest.slice(0, i), ...segment.toReversed(), ...rest.slice(i)];
          assert.ok(pathCost(problem, turned) >= least, `${n}: ${i} to ${j} turned`);
          for (let at = 1; at <= rest.length && segment.length <= 3; at++) {
            const moved = [...rest.slice(0, at), ...segment, ...rest.slice(at)];
            assert.ok(pathCost(problem, moved) >= least, `${n}: ${i} to ${j} at ${at}`);
          }
        }
      }
    }
  });

  it('exist for one, two and equal variables', () => {
    for (const n of [1, 2, 3, 7]) {
      const problem = { n, cost: new Float64Array(n * n).fill(1), start: n - 1 };
      for (const solver of ['annealing', 'nearest', 'local', 'exact'] as const) {
        assert.ok(isOrder(problem, solveOrder(problem, solver, new HostRandom(1))), `${solver} ${n}`);
      }
    }
  });
});

describe('costs', () => {
  it('go to the sample that had them', () => {
    const costs = new VariableCosts(3);
    costs.add(
      [
        [0, 1, 2],
        [2, 0, 1],
      ],
      [1, 3],
    );
    const unit = Math.SQRT2; // deviation of 1 and 3
    const at = (i: number, j: number) => costs.sums[i * 3 + j] * unit;
    assert.ok(Math.abs(at(0, 0) - 1) < 1e-12 && Math.abs(at(2, 2) - 3) < 1e-12);
    assert.ok(Math.abs(at(0, 1) - 4) < 1e-12 && Math.abs(at(1, 2) - 1) < 1e-12 && Math.abs(at(2, 0) - 3) < 1e-12);
    assert.deepEqual([...costs.counts], [1, 2, 0, 0, 0, 1, 1, 0, 1]);
  });

  it('of pairs that never came are the mean, and of a batch of one no NaN', () => {
    const costs = new VariableCosts(3);
    costs.add([[0, 1, 2]], [2]);
    const means = costs.means();
    assert.equal(means[1 * 3 + 0], 2);
    assert.ok([...means].every(Number.isFinite));
    assert.deepEqual(new VariableCosts(2).order('annealing', 1), [0, 1]);
  });

  it('find the order that was planted in them', () => {
    const planted = [3, 1, 4, 0, 2, 5, 6];
    const random = new HostRandom(5);
    const costs = new VariableCosts(7);
    for (let batch = 0; batch < 800; batch++) {
      const orders = Array.from({ length: 8 }, () => random.shuffle([0, 1, 2, 3, 4, 5, 6]));
      const follows = (order: number[]) =>
        Number(order[0] === planted[0]) +
        order.filter((v, t) => t > 0 && planted.indexOf(v) === planted.indexOf(order[t - 1]) + 1).length;
      costs.add(
        orders,
        orders.map((order) => 3 - follows(order) + 0.1 * random.uniform()),
      );
    }
    for (const solver of ['annealing', 'local', 'exact'] as const)
      assert.deepEqual(costs.order(solver, 1), planted, solver);
  });

  it('are the same after a save', () => {
    const costs = new VariableCosts(4);
    costs.add(
      [
        [0, 1, 2, 3],
        [3, 2, 1, 0],
      ],
      [1, 2],
    );
    const again = new VariableCosts(4);
    again.restore(JSON.parse(JSON.stringify(costs.toJson())) as ReturnType<VariableCosts['toJson']>);
    assert.deepEqual(again, costs);
  });
});
