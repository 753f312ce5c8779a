/** Rows of a table by number. */
import { type DType, DTypeError, ShapeError } from '../../core/index.ts';
import { record } from '../autograd.ts';
import type { Tensor } from '../tensor.ts';
import { checkRowScale } from './row-scale.ts';

/**
 * y[i] = table[ids[i]]: table [v, d], ids i32 of any shape -> [...ids.shape, d], in `dtype` (the table's unless
 * given). An id outside the table gives zeros and no gradient. The table's gradient is dense, in the table's dtype.
 * A table of i8 comes with `scale` f32 [v], which its rows are multiplied by; y is then f32 unless given.
 * Also picks rows out of activations: `embedding(x, rows)`.
 * @throws DTypeError if ids are not i32; as `checkRowScale`.
 */
export function embedding(
  table: Tensor,
  ids: Tensor,
  { scale = null, dtype = scale ? 'f32' : table.dtype }: { dtype?: DType; scale?: Tensor | null } = {},
): Tensor {
  if (ids.dtype !== 'i32') throw new DTypeError('embedding', 'ids', 'i32', ids.dtype);
  if (table.rank !== 2) throw new ShapeError('embedding', 'table', '[v, d]', table.shape);
  checkRowScale('embedding', 'table', table, scale, []);
  const [v, d] = table.shape;
  const { device } = table;
  const y = device.empty([...ids.shape, d], dtype);
  const dims = { n: ids.size, d, v };
  const column = (t: Tensor) => t.alias([t.size, 1]);
  device.scope(() => device.launch('embedding', { table, ids: column(ids), y, scale }, dims));
  const tableType = table.dtype;
  record('embedding', [table], [y], [ids], ([dy], [rows]) => {
    const dtable = device.zeros([v, d], tableType);
    device.launch('embedding_bwd', { dy, ids: column(rows), dtable }, dims);
    return [dtable];
  });
  return y;
}

/** An i8 matrix [n, k] times its rows' scales f32 [n], as plain numbers of `dtype`. */
export function dequantise(weight: Tensor, scale: Tensor, dtype: DType = 'f32'): Tensor {
  const { device } = weight;
  return device.scope(() => {
    const rows = device.from(
      Int32Array.from({ length: weight.rows }, (_, i) => i),
      [weight.rows],
      'i32',
    );
    return embedding(weight, rows, { scale, dtype });
  });
}
