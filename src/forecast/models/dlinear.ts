/**
 * DLinear: a moving average splits the window into trend and remainder, and each has a linear map to the horizon, shared
 * by all variables. The average repeats the first and last value beyond the window's ends.
 * Source: Zeng et al. 2023, "Are transformers effective for time series forecasting?", section 4.
 */
import { add, type Device, linear, sub, type Tensor } from '../../tensor/index.ts';
import { disposeAll, type ForecastModel, type Initializer } from './model.ts';

export interface DLinearConfig {
  readonly kind: 'dlinear';
  readonly lookback: number;
  readonly horizon: number;
  /** Values that the moving average spans; odd. */
  readonly window: number;
}

/** The moving average as a matrix [lookback, lookback]: row t holds the weights of the values around t. */
export function averagingMatrix(lookback: number, window: number): Float32Array {
  const matrix = new Float32Array(lookback * lookback);
  const half = (window - 1) / 2;
  for (let t = 0; t < lookback; t++) {
    for (let o = -half; o <= half; o++) {
      matrix[t * lookback + Math.min(lookback - 1, Math.max(0, t + o))] += 1 / window;
    }
  }
  return matrix;
}

export function initDLinear(init: Initializer, { lookback, horizon }: DLinearConfig): void {
  init.linear('seasonal', horizon, lookback);
  init.linear('trend', horizon, lookback);
}

export class DLinear implements ForecastModel {
  readonly kind = 'dlinear';
  readonly readsAcross = false;
  readonly lookback: number;
  readonly horizon: number;
  private readonly average: Tensor;

  constructor(
    device: Device,
    config: DLinearConfig,
    readonly parameters: ReadonlyMap<string, Tensor>,
  ) {
    this.lookback = config.lookback;
    this.horizon = config.horizon;
    const dtype = parameters.get('trend.weight')!.dtype;
    const matrix = averagingMatrix(config.lookback, config.window);
    this.average = device.keep(device.from(matrix, [config.lookback, config.lookback], dtype));
  }

  forward(past: Tensor): Tensor {
    const { parameters } = this;
    const apply = (x: Tensor, name: string) =>
      linear(x, parameters.get(`${name}.weight`)!, parameters.get(`${name}.bias`)!);
    const trend = linear(past, this.average); // [b, k, lookback]
    return add(apply(sub(past, trend), 'seasonal'), apply(trend, 'trend'));
  }

  dispose(): void {
    this.average.dispose();
    disposeAll(this.parameters);
  }
}
