/**
 * Dynamic loss scaling for f16: gradients are multiplied by a scale so that small ones do not vanish; when one
 * overflows, the step is skipped and the scale halved; after a while without, it is doubled.
 * Source: Micikevicius et al. 2018, "Mixed precision training", section 3.2.
 */

export interface LossScaleState {
  readonly scale: number;
  /** Steps since the scale last changed. */
  readonly goodSteps: number;
}

export interface LossScaleOptions {
  initialScale?: number;
  growthInterval?: number;
}

const LEAST_SCALE = 1;
const MOST_SCALE = 2 ** 24;

export class LossScale {
  private current: LossScaleState;
  private readonly growthInterval: number;

  constructor({ initialScale = 65536, growthInterval = 2000 }: LossScaleOptions = {}) {
    this.current = { scale: initialScale, goodSteps: 0 };
    this.growthInterval = growthInterval;
  }

  /** Factor on the gradients of the next step. */
  get scale(): number {
    return this.current.scale;
  }

  /** True if a smaller scale can mend an overflow. Otherwise the numbers themselves are not finite. */
  get canShrink(): boolean {
    return this.current.scale > LEAST_SCALE;
  }

  /** Takes note of a step: whether its gradients were finite. */
  record(isOverflowFree: boolean): void {
    const { scale, goodSteps } = this.current;
    if (!isOverflowFree) this.current = { scale: Math.max(LEAST_SCALE, scale / 2), goodSteps: 0 };
    else if (goodSteps + 1 >= this.growthInterval)
      this.current = { scale: Math.min(MOST_SCALE, scale * 2), goodSteps: 0 };
    else this.current = { scale, goodSteps: goodSteps + 1 };
  }

  state(): LossScaleState {
    return this.current;
  }

  restore(state: LossScaleState): void {
    this.current = { scale: state.scale, goodSteps: state.goodSteps };
  }
}
