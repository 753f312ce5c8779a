/** Errors of a forecaster over all windows of a part, on scaled data; filled values do not count. */
import { abs, type Device, mul, square, sub, sum } from '../../tensor/index.ts';
import type { WindowSet } from '../data/index.ts';
import { EVALUATION, type ForecastModel } from '../models/index.ts';

export interface Scores {
  readonly mse: number;
  readonly mae: number;
  readonly windows: number;
}

/** Windows that are read at the same time. */
const BATCH = 64;

/** `orders` for `batch`: the same order of variables for each window, or none. */
export const repeatedOrder = (order: readonly number[] | null, windows: number): number[] | undefined =>
  order ? Array.from({ length: windows * order.length }, (_, i) => order[i % order.length]) : undefined;

/** Numbers of all windows in pieces. */
export function* pieces(length: number, size = BATCH): Generator<number[]> {
  for (let at = 0; at < length; at += size) {
    yield Array.from({ length: Math.min(size, length - at) }, (_, i) => at + i);
  }
}

/**
 * Mean squared and absolute error over every window, variable and step.
 * @param order of the variables, for models that read one after the other
 * @throws DOMException AbortError where the signal fires
 */
export async function scoreWindows(
  device: Device,
  model: ForecastModel,
  windows: WindowSet,
  order: readonly number[] | null,
  signal?: AbortSignal,
): Promise<Scores> {
  let [squares, absolutes, count] = [0, 0, 0];
  for (const numbers of pieces(windows.length)) {
    signal?.throwIfAborted();
    const { b, k, past, future, mask } = windows.batch(numbers, repeatedOrder(order, numbers.length));
    const sums = device.noGrad(() =>
      device.scope(() => {
        const y = model.forward(device.from(past, [b, k, windows.lookback]), EVALUATION);
        const shape = [b, k, windows.horizon];
        const off = sub(y, device.from(future, shape));
        const counted = mask ? mul(off, device.from(mask, shape)) : off;
        return [sum(square(counted)), sum(abs(counted))].map((total) => total.item());
      }),
    );
    const [sq, ab] = await Promise.all(sums);
    squares += sq;
    absolutes += ab;
    count += mask ? mask.reduce((a, m) => a + m, 0) : future.length;
  }
  return { mse: squares / count, mae: absolutes / count, windows: windows.length };
}

/** Forecasts of windows, f32 [windows, variables, horizon] in the order of the file, scaled. */
export async function forecastWindows(
  device: Device,
  model: ForecastModel,
  past: Float32Array,
  sizes: { windows: number; variables: number },
  order: readonly number[] | null,
): Promise<Float32Array> {
  const { windows: b, variables: k } = sizes;
  const { lookback, horizon } = model;
  const rows = order ?? Array.from({ length: k }, (_, v) => v);
  const ordered = new Float32Array(past.length);
  for (let row = 0; row < b * k; row++) {
    const from = Math.floor(row / k) * k + rows[row % k];
    ordered.set(past.subarray(from * lookback, (from + 1) * lookback), row * lookback);
  }
  const y = device.noGrad(() => device.scope(() => model.forward(device.from(ordered, [b, k, lookback]), EVALUATION)));
  const values = await y.read();
  y.dispose();
  const out = new Float32Array(b * k * horizon);
  for (let row = 0; row < b * k; row++) {
    const to = Math.floor(row / k) * k + rows[row % k];
    out.set(values.subarray(row * horizon, (row + 1) * horizon), to * horizon);
  }
  return out;
}
