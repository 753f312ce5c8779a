/**
 * VAST's memory (MambaTS, Cai et al. 2024): how dear it was, in training, that one variable came right after another. Each
 * sample with its random order credits its own cost to the start of its order and to each of its K - 1 steps. (The
 * published code repeats the costs in another order than the indices, so that most entries get another sample's cost; here
 * each gets its own. Results of the two need not agree.)
 */
import { HostRandom } from '../../core/index.ts';
import type { Solver } from '../names.ts';
import { solveOrder } from './order.ts';

export class VariableCosts {
  /** [k, k]: sum of costs of j right after i; on the diagonal, of i first. */
  readonly sums: Float64Array;
  readonly counts: Float64Array;

  constructor(readonly k: number) {
    this.sums = new Float64Array(k * k);
    this.counts = new Float64Array(k * k);
  }

  /**
   * Credits a batch. Costs are divided by their standard deviation over the batch (unbiased), as published; a batch of one
   * sample, or of equal costs, has none and is credited as it is.
   */
  add(orders: readonly ArrayLike<number>[], costs: ArrayLike<number>): void {
    const n = costs.length;
    const mean = Array.from(costs).reduce((sum, c) => sum + c, 0) / n;
    const variance = n > 1 ? Array.from(costs).reduce((sum, c) => sum + (c - mean) ** 2, 0) / (n - 1) : 0;
    const unit = variance > 0 ? Math.sqrt(variance) : 1;
    orders.forEach((order, b) => {
      const cost = costs[b] / unit;
      let from = order[0];
      for (let t = 0; t < this.k; t++) {
        const at = from * this.k + order[t];
        this.sums[at] += cost;
        this.counts[at] += 1;
        from = order[t];
      }
    });
  }

  /** Whether nothing was credited yet. */
  get isEmpty(): boolean {
    return this.counts.every((count) => count === 0);
  }

  /** Mean costs; what was never seen costs the mean of what was. */
  means(): Float64Array {
    const total = this.counts.reduce((sum, c) => sum + c, 0);
    const overall = total > 0 ? this.sums.reduce((sum, c) => sum + c, 0) / total : 0;
    return this.sums.map((sum, i) => (this.counts[i] > 0 ? sum / this.counts[i] : overall));
  }

  /** The order of least cost, from the variable that is the cheapest to begin with. */
  order(solver: Solver, seed: number): number[] {
    const { k } = this;
    const means = this.means();
    const lowest = means.reduce((least, c) => Math.min(least, c), Number.POSITIVE_INFINITY);
    const cost = means.map((c) => c + Math.abs(lowest) + 1e-7);
    let start = 0;
    for (let i = 1; i < k; i++) if (cost[i * k + i] < cost[start * k + start]) start = i;
    return solveOrder({ n: k, cost, start }, solver, new HostRandom(seed, 0x0a57));
  }

  toJson(): { sums: number[]; counts: number[] } {
    return { sums: [...this.sums], counts: [...this.counts] };
  }

  /** Takes over what `toJson` gave. */
  restore({ sums, counts }: { sums: readonly number[]; counts: readonly number[] }): void {
    this.sums.set(sums);
    this.counts.set(counts);
  }
}
