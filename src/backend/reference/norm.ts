/**
 * Root-mean-square and layer normalisation over columns, with an optional residual that is added first.
 *   s = x + residual
 *   rms:   rstd = 1/sqrt(mean(s^2) + eps),  y = s rstd weight
 *   layer: rstd = 1/sqrt(var(s) + eps),     y = (s - mean) rstd weight + bias   (biased variance)
 * Gradients with respect to s, with g = dy weight and n = the normalised s:
 *   rms:   dx = rstd (g - n mean(g n)) + dsum
 *   layer: dx = rstd (g - mean(g) - n mean(g n)) + dsum
 *   dweight += sum over rows of dy n,  dbias += sum over rows of dy
 * y is computed from s before it is rounded to the dtype of `sum`.
 */
import type { MatrixView, Numbers, Tensors } from './view.ts';

function sumRow(x: MatrixView, residual: MatrixView | null, row: number, cols: number): Float64Array {
  return Float64Array.from({ length: cols }, (_, c) => x.get(row, c) + (residual?.get(row, c) ?? 0));
}

function mean(values: Float64Array): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum / values.length;
}

export function rmsNorm(
  t: Tensors<'x' | 'y', 'residual' | 'weight' | 'sum' | 'rstd'>,
  { rows, cols }: Numbers,
  { eps }: Numbers,
): void {
  for (let r = 0; r < rows; r++) {
    const s = sumRow(t.x, t.residual, r, cols);
    const rstd = 1 / Math.sqrt(mean(s.map((value) => value * value)) + eps);
    for (let c = 0; c < cols; c++) {
      t.y.set(r, c, s[c] * rstd * (t.weight?.get(0, c) ?? 1));
      t.sum?.set(r, c, s[c]);
    }
    t.rstd?.set(r, 0, rstd);
  }
}

export function layerNorm(
  t: Tensors<'x' | 'y', 'residual' | 'weight' | 'bias' | 'sum' | 'mean' | 'rstd'>,
  { rows, cols }: Numbers,
  { eps }: Numbers,
): void {
  for (let r = 0; r < rows; r++) {
    const s = sumRow(t.x, t.residual, r, cols);
    const center = mean(s);
    const rstd = 1 / Math.sqrt(mean(s.map((value) => (value - center) ** 2)) + eps);
    for (let c = 0; c < cols; c++) {
      t.y.set(r, c, (s[c] - center) * rstd * (t.weight?.get(0, c) ?? 1) + (t.bias?.get(0, c) ?? 0));
      t.sum?.set(r, c, s[c]);
    }
    t.mean?.set(r, 0, center);
    t.rstd?.set(r, 0, rstd);
  }
}

type BwdTensors = Tensors<'s' | 'rstd' | 'dy' | 'dx', 'weight' | 'dsum' | 'dweight'>;

export const rmsNormBwd = (t: BwdTensors, d: Numbers): void => normBwd({ ...t, mean: null, dbias: null }, d);

export const layerNormBwd = (t: BwdTensors & Tensors<'mean', 'dbias'>, d: Numbers): void => normBwd(t, d);

/** Both gradients: without `mean` it is that of the rms norm. */
function normBwd(t: BwdTensors & Tensors<never, 'mean' | 'dbias'>, { rows, cols }: Numbers): void {
  const dweight = new Float64Array(cols);
  const dbias = new Float64Array(cols);
  for (let r = 0; r < rows; r++) {
    const center = t.mean?.get(r, 0) ?? 0;
    const rstd = t.rstd.get(r, 0);
    const dy = Float64Array.from({ length: cols }, (_, c) => t.dy.get(r, c));
    const n = dy.map((_, c) => (t.s.get(r, c) - center) * rstd);
    const g = dy.map((value, c) => value * (t.weight?.get(0, c) ?? 1));
    const meanG = t.mean ? mean(g) : 0;
    const meanGN = mean(g.map((value, c) => value * n[c]));
    for (let c = 0; c < cols; c++) {
      t.dx.set(r, c, rstd * (g[c] - meanG - n[c] * meanGN) + (t.dsum?.get(r, c) ?? 0));
      dweight[c] += dy[c] * n[c];
      dbias[c] += dy[c];
    }
  }
  for (let c = 0; c < cols; c++) {
    t.dweight?.add(0, c, dweight[c]);
    t.dbias?.add(0, c, dbias[c]);
  }
}
