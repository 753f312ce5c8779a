/**
 * Normalisation, fused with the residual addition that precedes it in every block.
 * Source of RMSNorm: Zhang & Sennrich 2019; both as in PyTorch (biased variance, eps inside the root).
 */
import { type DType, ShapeError } from '../../core/index.ts';
import { record, willRecord } from '../autograd.ts';
import type { Tensor } from '../tensor.ts';
import { add, cast, mul, rsqrt, shift, square, sub } from './elementwise.ts';
import { mean as meanOver } from './reduce.ts';
import { reshape } from './shape.ts';

export interface NormOptions {
  eps?: number;
  /** Added to x before the norm; the sum is returned as `sum`, in the residual's dtype. */
  residual?: Tensor | null;
  /** Element type of y; that of x unless given. */
  dtype?: DType;
}

export interface NormResult {
  y: Tensor;
  /** x + residual, or x itself without one: the stream that the next block adds to. */
  sum: Tensor;
}

const statistics = (x: Tensor): DType => (x.dtype === 'f64' ? 'f64' : 'f32');

function checkNorm(op: string, x: Tensor, options: NormOptions, parameters: Record<string, Tensor | null>): void {
  for (const [name, p] of Object.entries(parameters)) {
    if (p && p.size !== x.cols) throw new ShapeError(op, name, `[${x.cols}]`, p.shape);
  }
  const r = options.residual;
  if (r && r.size !== x.size) throw new ShapeError(op, 'residual', `[${x.shape}]`, r.shape);
}

/**
 * y = s / sqrt(mean(s^2) + eps) * weight over the last axis, s = x + residual. Arithmetic in f32.
 * x, residual [..., d]; weight [d] or null for none -> y, sum [..., d].
 * @throws ShapeError if weight or residual do not fit x.
 */
export function rmsNorm(x: Tensor, weight: Tensor | null, options: NormOptions = {}): NormResult {
  const { eps = 1e-5, residual = null, dtype = x.dtype } = options;
  checkNorm('rmsNorm', x, options, { weight });
  const { device } = x;
  const dims = { rows: x.rows, cols: x.cols };
  const y = device.empty(x.shape, dtype);
  const sum = residual ? device.empty(x.shape, residual.dtype) : x;
  const rstd = willRecord(x, weight, residual) ? device.empty([x.rows, 1], statistics(x)) : null;
  device.launch('rms_norm', { x, residual, weight, y, sum: residual ? sum : null, rstd }, dims, { eps });
  if (!rstd) return { y, sum };
  const [xType, rType] = [x.dtype, residual?.dtype];
  const saved = weight ? [sum, rstd, weight] : [sum, rstd];
  record('rmsNorm', [x, residual, weight], residual ? [y, sum] : [y], saved, ([dy, dsum], [s, r, w], needs) => {
    if (!dy) return [needs[0] ? cast(dsum!, xType).alias() : null, needs[1] ? cast(dsum!, rType!).alias() : null, null];
    const dx = device.empty(s.shape, residual ? s.dtype : xType);
    const dweight = needs[2] ? device.zeros(w.shape, w.dtype) : null;
    device.launch('rms_norm_bwd', { s, weight: w ?? null, rstd: r, dy, dsum: dsum ?? null, dx, dweight }, dims);
    return [needs[0] ? cast(dx, xType).alias() : null, needs[1] ? dx.alias() : null, dweight];
  });
  rstd.dispose();
  return { y, sum };
}

/**
 * y = (s - mean) / sqrt(var + eps) * weight + bias over the last axis, s = x + residual. Arithmetic in f32.
 * x, residual [..., d]; weight, bias [d] or null -> y, sum [..., d].
 * @throws ShapeError if weight, bias or residual do not fit x.
 */
export function layerNorm(
  x: Tensor,
  weight: Tensor | null,
  bias: Tensor | null,
  options: NormOptions = {},
): NormResult {
  const { eps = 1e-5, residual = null, dtype = x.dtype } = options;
  checkNorm('layerNorm', x, options, { weight, bias });
  const { device } = x;
  const dims = { rows: x.rows, cols: x.cols };
  const y = device.empty(x.shape, dtype);
  const sum = residual ? device.empty(x.shape, residual.dtype) : x;
  const stats = willRecord(x, weight, bias, residual);
  const mean = stats ? device.empty([x.rows, 1], statistics(x)) : null;
  const rstd = stats ? device.empty([x.rows, 1], statistics(x)) : null;
  device.launch('layer_norm', { x, residual, weight, bias, y, sum: residual ? sum : null, mean, rstd }, dims, { eps });
  if (!mean || !rstd) return { y, sum };
  const [xType, rType] = [x.dtype, residual?.dtype];
  const saved = weight ? [sum, mean, rstd, weight] : [sum, mean, rstd];
  record(
    'layerNorm',
    [x, residual, weight, bias],
    residual ? [y, sum] : [y],
    saved,
    ([dy, dsum], [s, m, r, w], needs) => {
      if (!dy)
        return [
          needs[0] ? cast(dsum!, xType).alias() : null,
          needs[1] ? cast(dsum!, rType!).alias() : null,
          null,
          null,
        ];
      const dx = device.empty(s.shape, residual ? s.dtype : xType);
      const dweight = needs[2] ? device.zeros(w.shape, w.dtype) : null;
      const dbias = needs[3] ? device.zeros([s.cols], bias!.dtype) : null;
      device.launch(
        'layer_norm_bwd',
        { s, weight: w ?? null, mean: m, rstd: r, dy, dsum: dsum ?? null, dx, dweight, dbias },
        dims,
      );
      return [needs[0] ? cast(dx, xType).alias() : null, needs[1] ? dx.alias() : null, dweight, dbias];
    },
  );
  mean.dispose();
  rstd.dispose();
  return { y, sum };
}

/** `rmsNorm` composed from primitives: its twin for tests. One dtype throughout. */
export function rmsNormRef(
  x: Tensor,
  weight: Tensor | null,
  { eps = 1e-5, residual = null }: NormOptions = {},
): NormResult {
  const s = residual ? add(x, residual) : x;
  const rstd = rsqrt(shift(meanOver(square(s), -1), eps));
  const normed = mul(s, reshape(rstd, [...s.shape.slice(0, -1), 1]));
  return { y: weight ? mul(normed, weight) : normed, sum: s };
}

/** `layerNorm` composed from primitives: its twin for tests. One dtype throughout. */
export function layerNormRef(
  x: Tensor,
  weight: Tensor | null,
  bias: Tensor | null,
  options: NormOptions = {},
): NormResult {
  const { eps = 1e-5, residual = null } = options;
  const s = residual ? add(x, residual) : x;
  const column = [...s.shape.slice(0, -1), 1];
  const centred = sub(s, reshape(meanOver(s, -1), column));
  const rstd = rsqrt(shift(meanOver(square(centred), -1), eps));
  const normed = mul(centred, reshape(rstd, column));
  const weighted = weight ? mul(normed, weight) : normed;
  return { y: bias ? add(weighted, bias) : weighted, sum: s };
}
