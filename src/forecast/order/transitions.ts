/**
 * What training learns of the order of variables (VAST): the mean cost of reading one variable right after another, over
 * the random orders that it tried. The published code gives most of these costs to other samples of the batch than those
 * they came from; here each goes to its own.
 */
import { HostRandom } from '../../core/index.ts';
import { plainPath } from './path.ts';
import { annealedPath, exactPath, localPath, nearestPath } from './solvers.ts';

/** How an order is found from the costs; `file` leaves the variables as they are. */
export const ORDERS = ['annealing', 'nearest', 'local', 'exact', 'file'] as const;
export type OrderName = (typeof ORDERS)[number];

export interface TransitionsJson {
  readonly cost: readonly number[];
  readonly count: readonly number[];
}

export class Transitions {
  /** Sums of costs and how many; entry (i, j) of j read right after i, (i, i) of i read first. */
  private cost: Float64Array;
  private count: Float64Array;

  constructor(readonly n: number) {
    this.cost = new Float64Array(n * n);
    this.count = new Float64Array(n * n);
  }

  /**
   * Adds what a batch tried: orders [b, n] and the cost of each sample [b], which is divided by the batch's unbiased
   * deviation first, so that early batches do not outweigh late ones. A batch without one is not divided.
   */
  add(orders: ArrayLike<number>, costs: ArrayLike<number>): void {
    const { n } = this;
    const b = costs.length;
    const values = Array.from(costs);
    const mean = values.reduce((sum, c) => sum + c, 0) / b;
    const deviation = Math.sqrt(values.reduce((sum, c) => sum + (c - mean) ** 2, 0) / Math.max(1, b - 1));
    const unit = deviation > 0 ? deviation : 1;
    values.forEach((cost, sample) => {
      for (let t = 0; t < n; t++) {
        const to = orders[sample * n + t];
        const at = (t === 0 ? to : orders[sample * n + t - 1]) * n + to;
        this.cost[at] += cost / unit;
        this.count[at]++;
      }
    });
  }

  /** Mean cost of each entry; what never occurred has the mean of all others, neither good nor bad. */
  means(): Float64Array {
    const { cost, count } = this;
    const total =
      cost.reduce((a, b) => a + b, 0) /
      Math.max(
        1,
        count.reduce((a, b) => a + b, 0),
      );
    return cost.map((sum, i) => (count[i] > 0 ? sum / count[i] : total));
  }

  /** The order of variables that costs least, beginning with the one that is cheapest to begin with. */
  order(how: OrderName, seed: number): number[] {
    const { n } = this;
    const cost = this.means();
    let start = 0;
    for (let i = 1; i < n; i++) if (cost[i * n + i] < cost[start * n + start]) start = i;
    const problem = { n, cost, start };
    switch (how) {
      case 'annealing':
        return annealedPath(problem, new HostRandom(seed));
      case 'nearest':
        return nearestPath(problem);
      case 'local':
        return localPath(problem);
      case 'exact':
        return exactPath(problem);
      case 'file':
        return plainPath({ ...problem, start: 0 });
    }
  }

  toJson(): TransitionsJson {
    return { cost: [...this.cost], count: [...this.count] };
  }

  restore({ cost, count }: TransitionsJson): void {
    this.cost = Float64Array.from(cost);
    this.count = Float64Array.from(count);
  }
}
