/**
 * DLinear (Zeng et al. 2023, "Are Transformers Effective for Time Series Forecasting?"): the look-back is split into a
 * moving average and the rest, each is mapped to the horizon by one matrix that all variables share, and both are added.
 *   y = W_s (x - M x) + b_s + W_t M x + b_t
 */
import { Linear } from '../../nn/index.ts';
import { add, type Device, linear, sub, type Tensor } from '../../tensor/index.ts';
import { disposeAll, type ForecastModel, type ForecastSize, ParameterMaker } from './forecast-model.ts';
import { type ForecasterKind, PROTOCOL } from './kind.ts';

/** Values of the moving average: the authors'. */
const KERNEL = 25;

/** Rows of the average over `kernel` values; beyond its ends a window repeats its first and last value. */
export function averagingMatrix(length: number, kernel = KERNEL): Float32Array {
  const matrix = new Float32Array(length * length);
  const half = (kernel - 1) / 2;
  for (let row = 0; row < length; row++) {
    for (let at = row - half; at <= row + half; at++) {
      matrix[row * length + Math.min(length - 1, Math.max(0, at))] += 1 / kernel;
    }
  }
  return matrix;
}

export class DLinear implements ForecastModel {
  readonly isNormalised = false;
  readonly isOrdered = false;
  readonly head = null;
  readonly parameters: ReadonlyMap<string, Tensor>;
  private readonly seasonal: Linear;
  private readonly trend: Linear;
  private readonly average: Tensor;

  constructor(
    readonly device: Device,
    { lookback, horizon }: ForecastSize,
    seed: number,
  ) {
    const maker = new ParameterMaker(device, seed);
    const [seasonal, trend] = ['seasonal', 'trend'].map((name) => maker.linearWithBias(name, horizon, lookback));
    this.seasonal = new Linear('seasonal', seasonal.weight, seasonal.bias);
    this.trend = new Linear('trend', trend.weight, trend.bias);
    this.average = device.keep(device.from(averagingMatrix(lookback), [lookback, lookback]));
    this.parameters = maker.parameters;
  }

  forward(x: Tensor): Tensor {
    const slow = linear(x, this.average);
    return add(this.seasonal.forward(sub(x, slow)), this.trend.forward(slow));
  }

  dispose(): void {
    this.average.dispose();
    disposeAll(this.parameters);
  }
}

/** Rates of the authors' scripts (cure-lab/LTSF-Linear) where they are not those of ETTh1, which other files get. */
const RATES: Record<string, number> = { etth2: 0.05, ettm2: 0.001, weather: 1e-4, electricity: 1e-4, traffic: 1e-4 };

export const DLINEAR: ForecasterKind<'dlinear'> = {
  name: 'dlinear',
  defaults: {},
  create: (device, size, seed) => new DLinear(device, size, seed),
  published: (data) => ({
    ...PROTOCOL,
    lookback: 336,
    batchSize: 32,
    learningRate: RATES[data] ?? 0.005,
    settings: {},
  }),
};
