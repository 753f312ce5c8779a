/** Windows of scaled series: what a model sees and what it has to say, gathered into batches on the host. */
import type { Part } from './split.ts';

export interface WindowBatch {
  /** Windows, variables. */
  readonly b: number;
  readonly k: number;
  /** f32 [b, k, lookback] */
  readonly past: Float32Array;
  /** f32 [b, k, horizon] */
  readonly future: Float32Array;
  /** 1 where the future was measured, 0 where it was filled, [b, k, horizon]; null where all of it was measured. */
  readonly mask: Float32Array | null;
}

export class WindowSet {
  /**
   * @param series scaled, [variables][rows]
   * @param observed masks of measured values, or null
   * @param part rows of the targets; looks back before its start where there are rows, except for the first part
   */
  constructor(
    private readonly series: readonly Float32Array[],
    private readonly observed: readonly Uint8Array[] | null,
    readonly part: Part,
    readonly lookback: number,
    readonly horizon: number,
  ) {}

  /** Row of the first target of window 0. */
  private get first(): number {
    return Math.max(this.part.start, this.lookback);
  }

  /** Every window whose targets lie in the part, one row apart. */
  get length(): number {
    return Math.max(0, this.part.end - this.horizon - this.first + 1);
  }

  get variables(): number {
    return this.series.length;
  }

  /** Row of the first target of a window. */
  origin(window: number): number {
    return this.first + window;
  }

  /**
   * The windows of these numbers, in this order.
   * @param orders [windows, variables]: which variable stands in each row of each window; as in the file unless given
   */
  batch(windows: readonly number[], orders?: ArrayLike<number>): WindowBatch {
    const { series, observed, lookback, horizon } = this;
    const [b, k] = [windows.length, series.length];
    const past = new Float32Array(b * k * lookback);
    const future = new Float32Array(b * k * horizon);
    const mask = observed ? new Float32Array(b * k * horizon) : null;
    windows.forEach((window, i) => {
      const at = this.origin(window);
      for (let v = 0; v < k; v++) {
        const row = i * k + v;
        const from = orders ? orders[row] : v;
        past.set(series[from].subarray(at - lookback, at), row * lookback);
        future.set(series[from].subarray(at, at + horizon), row * horizon);
        mask?.set(observed![from].subarray(at, at + horizon), row * horizon);
      }
    });
    return { b, k, past, future, mask };
  }
}
