/**
 * A linear forecast by ridge regression, in closed form: the map W [horizon, lookback] that makes
 *   sum over windows and variables of |y - m - W (x - m)|^2 + lambda |W|^2,   m = mean of the window's look-back x
 * least. All windows of a range count, but for those of a variable of whose targets most were filled: a gap that repeats
 * its last value would teach that values stay. Products come from the series' lagged products, in float64: of neighbouring
 * windows only the ends differ, so that C[i + 1, j + 1] = C[i, j] - x[s + i] x[s + j] + x[e + i] x[e + j]. Memory grows with
 * (lookback + horizon)^2, time with lookback^3.
 */
import { KraitError, UsageError } from '../../core/index.ts';
import type { RowRange, ScaledSeries, WindowSize } from '../data/index.ts';

/** Sums that regression needs of windows: products of centred inputs, and of centred inputs with centred targets. */
interface Moments {
  /** [lookback, lookback] */
  readonly inputs: Float64Array;
  /** [lookback, horizon] */
  readonly cross: Float64Array;
  /** Mean of the squares of inputs as they are: what rounding of the centred ones is measured by. */
  readonly energy: number;
  /** Sum of squares of centred targets. */
  readonly targets: number;
  /** Windows times variables. */
  readonly rows: number;
}

/** Sums over the windows [start, end) of products of their values i and j, both from 0 to `width`. */
function addProducts(sums: Float64Array, x: Float32Array, { start, end }: RowRange, width: number): void {
  const own = new Float64Array(width * width);
  for (let j = 0; j < width; j++) {
    let sum = 0;
    for (let t = start; t < end; t++) sum += x[t] * x[t + j];
    own[j] = sum;
  }
  for (let i = 1; i < width; i++) {
    for (let j = i; j < width; j++) {
      const [a, b] = [x[start + i - 1] * x[start + j - 1], x[end + i - 1] * x[end + j - 1]];
      own[i * width + j] = own[(i - 1) * width + j - 1] - a + b;
    }
  }
  for (let i = 0; i < width; i++) {
    for (let j = i; j < width; j++) {
      sums[i * width + j] += own[i * width + j];
      if (i !== j) sums[j * width + i] += own[i * width + j];
    }
  }
}

/** Runs of windows in a range of whose targets no more than half were filled. */
function countedRuns(mask: Uint8Array | null, range: RowRange, { lookback, horizon }: WindowSize): RowRange[] {
  if (!mask) return [range];
  const runs: RowRange[] = [];
  let there = 0;
  for (let t = range.start + lookback; t < range.start + lookback + horizon; t++) there += mask[t];
  let from = -1;
  for (let start = range.start; start < range.end; start++) {
    const isCounted = 2 * there >= horizon;
    if (isCounted && from < 0) from = start;
    if (!isCounted && from >= 0) {
      runs.push({ start: from, end: start });
      from = -1;
    }
    there += (mask[start + lookback + horizon] ?? 0) - mask[start + lookback];
  }
  return from < 0 ? runs : [...runs, { start: from, end: range.end }];
}

/** Moments of the windows that start in a range. */
export function windowMoments(series: ScaledSeries, range: RowRange, { lookback: l, horizon: h }: WindowSize): Moments {
  const width = l + h;
  const products = new Float64Array(width * width);
  let rows = 0;
  series.values.forEach((x, k) => {
    for (const run of countedRuns(series.masks[k], range, { lookback: l, horizon: h })) {
      addProducts(products, x, run, width);
      rows += run.end - run.start;
    }
  });
  // Products with the mean of the look-back, and of it with itself.
  const withMean = new Float64Array(width);
  for (let i = 0; i < width; i++) {
    let sum = 0;
    for (let j = 0; j < l; j++) sum += products[i * width + j];
    withMean[i] = sum / l;
  }
  let [square, energy] = [0, 0];
  for (let j = 0; j < l; j++) {
    square += withMean[j] / l;
    energy += products[j * width + j] / l;
  }
  const centred = (i: number, j: number) => products[i * width + j] - withMean[i] - withMean[j] + square;
  const inputs = new Float64Array(l * l);
  const cross = new Float64Array(l * h);
  let targets = 0;
  for (let i = 0; i < l; i++) {
    for (let j = 0; j < l; j++) inputs[i * l + j] = centred(i, j);
    for (let j = 0; j < h; j++) cross[i * h + j] = centred(i, l + j);
  }
  for (let j = l; j < width; j++) targets += centred(j, j);
  return { inputs, cross, energy, targets, rows };
}

/** Lower factor of A + lambda, in place of a copy; null where it is not positive definite. */
function factor(a: Float64Array, n: number, lambda: number): Float64Array | null {
  const f = Float64Array.from(a);
  for (let i = 0; i < n; i++) {
    const row = f.subarray(i * n, i * n + n);
    row[i] += lambda;
    for (let j = 0; j <= i; j++) {
      const other = f.subarray(j * n, j * n + n);
      let [sum, k] = [row[j], 0];
      for (; k + 4 <= j; k += 4) {
        sum -= row[k] * other[k] + row[k + 1] * other[k + 1] + row[k + 2] * other[k + 2] + row[k + 3] * other[k + 3];
      }
      for (; k < j; k++) sum -= row[k] * other[k];
      if (j < i) row[j] = sum / other[j];
      else if (sum > 0) row[i] = Math.sqrt(sum);
      else return null;
    }
  }
  return f;
}

/**
 * out[c] += sum over k in [from, to) of weights[first + k step] x[k, c], x [.., m]: four rows at a time, so that `out` is
 * read and written a fourth as often.
 */
function addRows(
  out: Float64Array,
  x: Float64Array,
  m: number,
  [from, to]: readonly [number, number],
  weights: Float64Array,
  first: number,
  step: number,
): void {
  let k = from;
  for (; k + 4 <= to; k += 4) {
    const at = first + k * step;
    const [a, b, c, d] = [weights[at], weights[at + step], weights[at + 2 * step], weights[at + 3 * step]];
    const row = k * m;
    for (let i = 0; i < m; i++) {
      out[i] += a * x[row + i] + b * x[row + m + i] + c * x[row + 2 * m + i] + d * x[row + 3 * m + i];
    }
  }
  for (; k < to; k++) {
    const weight = weights[first + k * step];
    for (let i = 0; i < m; i++) out[i] += weight * x[k * m + i];
  }
}

/** X of (A + lambda) X = B, from the factor: [n, m]. */
function solve(f: Float64Array, n: number, b: Float64Array, m: number): Float64Array {
  const x = Float64Array.from(b);
  const sums = new Float64Array(m);
  const finish = (i: number) => {
    for (let c = 0; c < m; c++) x[i * m + c] = (x[i * m + c] - sums[c]) / f[i * n + i];
    sums.fill(0);
  };
  for (let i = 0; i < n; i++) {
    addRows(sums, x, m, [0, i], f, i * n, 1);
    finish(i);
  }
  for (let i = n - 1; i >= 0; i--) {
    addRows(sums, x, m, [i + 1, n], f, i, n);
    finish(i);
  }
  return x;
}

/** Mean squared error of a map X [lookback, horizon] over the windows of moments. */
function errorOf({ inputs, cross, targets, rows }: Moments, x: Float64Array, l: number, h: number): number {
  let total = targets;
  const product = new Float64Array(h);
  for (let i = 0; i < l; i++) {
    product.fill(0);
    addRows(product, x, h, [0, l], inputs, i * l, 1);
    for (let c = 0; c < h; c++) total += x[i * h + c] * (product[c] - 2 * cross[i * h + c]);
  }
  return total / (rows * h);
}

/** Most steps of look-back and horizon together: some 400 MB, and three minutes for all penalties (1,440 steps: 16 s). */
export const MOST_RIDGE_STEPS = 3072;

/** Penalties that are tried, over the mean of the inputs' squares. */
const PENALTIES = [1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1, 3, 10];

export interface Ridge {
  /** W [horizon, lookback]. */
  readonly weight: Float32Array;
  readonly penalty: number;
  /** Mean squared error over the windows that chose the penalty. */
  readonly validation: number;
}

/**
 * The map of the windows of `train` whose penalty is the best for those of `validation`. In windows that count, filled
 * values count as others.
 * @throws UsageError for more than 3,072 steps; KraitError where no penalty gives a solution
 */
export function fitRidge(series: ScaledSeries, train: RowRange, validation: RowRange, size: WindowSize): Ridge {
  const { lookback: l, horizon: h } = size;
  if (l + h > MOST_RIDGE_STEPS) {
    const most = `look-back and horizon are ${l + h} steps, of which ridge regression takes ${MOST_RIDGE_STEPS} at most`;
    throw new UsageError(`--lookback: ${most}; give a smaller one, or forecast without it: --no-shortcut`);
  }
  const [taught, judged] = [windowMoments(series, train, size), windowMoments(series, validation, size)];
  let trace = 0;
  for (let i = 0; i < l; i++) trace += taught.inputs[i * l + i];
  const unit = Math.max(trace / l, 1e-9 * taught.energy, 1e-12);
  let best: { x: Float64Array; penalty: number; error: number } | null = null;
  for (const penalty of PENALTIES) {
    const f = factor(taught.inputs, l, penalty * unit);
    if (!f) continue; // too small for what rounding left of the products
    const x = solve(f, l, taught.cross, h);
    const error = errorOf(judged, x, l, h);
    if (!best || error < best.error) best = { x, penalty, error };
  }
  if (!best)
    throw new KraitError('ridge: the products of these windows are not finite; look at the values of the file');
  const { x, penalty, error } = best;
  const weight = Float32Array.from({ length: h * l }, (_, i) => x[(i % l) * h + Math.floor(i / l)]);
  return { weight, penalty, validation: error };
}
