/**
 * Forecasts that are fixed linear functions of the window, y = x R^T with R [horizon, lookback]: what a learned model has
 * to beat.
 */
import { UsageError } from '../../core/index.ts';
import { type Device, linear, type Tensor } from '../../tensor/index.ts';
import type { ForecastModel } from './model.ts';

/** The value one season before, again and again; a season longer than the window is an error. */
export function seasonalRule(lookback: number, horizon: number, season: number): Float32Array {
  if (!(Number.isInteger(season) && season >= 1 && season <= lookback)) {
    throw new UsageError(`season: expected a whole number from 1 to the look-back, ${lookback}, got ${season}`);
  }
  const rule = new Float32Array(horizon * lookback);
  for (let h = 0; h < horizon; h++) rule[h * lookback + lookback - season + (h % season)] = 1;
  return rule;
}

/** The line through the first and the last value of the window, continued: x_T + h (x_T - x_1) / (T - 1). */
export function driftRule(lookback: number, horizon: number): Float32Array {
  if (lookback < 2) throw new UsageError(`drift: expected a look-back of at least 2, got ${lookback}`);
  const rule = new Float32Array(horizon * lookback);
  for (let h = 0; h < horizon; h++) {
    const slope = (h + 1) / (lookback - 1);
    rule[h * lookback] = -slope;
    rule[h * lookback + lookback - 1] = 1 + slope;
  }
  return rule;
}

export class LinearRule implements ForecastModel {
  readonly parameters: ReadonlyMap<string, Tensor> = new Map();
  readonly readsAcross = false;
  private readonly rule: Tensor;

  constructor(
    device: Device,
    readonly kind: string,
    readonly lookback: number,
    readonly horizon: number,
    rule: Float32Array,
  ) {
    this.rule = device.keep(device.from(rule, [horizon, lookback]));
  }

  forward(past: Tensor): Tensor {
    return linear(past, this.rule);
  }

  dispose(): void {
    this.rule.dispose();
  }
}
