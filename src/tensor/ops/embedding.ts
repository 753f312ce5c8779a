/** Rows of a table by number. */
import { type DType, DTypeError, ShapeError } from '../../core/index.ts';
import { record } from '../autograd.ts';
import type { Tensor } from '../tensor.ts';

/**
 * y[i] = table[ids[i]]: table [v, d], ids i32 of any shape -> [...ids.shape, d], in `dtype` (the table's unless
 * given). An id outside the table gives zeros and no gradient. The table's gradient is dense, in the table's dtype.
 * Also picks rows out of activations: `embedding(x, rows)`.
 * @throws DTypeError if ids are not i32.
 */
export function embedding(table: Tensor, ids: Tensor, options: { dtype?: DType } = {}): Tensor {
  if (ids.dtype !== 'i32') throw new DTypeError('embedding', 'ids', 'i32', ids.dtype);
  if (table.rank !== 2) throw new ShapeError('embedding', 'table', '[v, d]', table.shape);
  const [v, d] = table.shape;
  const { device } = table;
  const y = device.empty([...ids.shape, d], options.dtype ?? table.dtype);
  const dims = { n: ids.size, d, v };
  const column = (t: Tensor) => t.alias([t.size, 1]);
  device.scope(() => device.launch('embedding', { table, ids: column(ids), y }, dims));
  const dtype = table.dtype;
  record('embedding', [table], [y], [ids], ([dy], [rows]) => {
    const dtable = device.zeros([v, d], dtype);
    device.launch('embedding_bwd', { dy, ids: column(rows), dtable }, dims);
    return [dtable];
  });
  return y;
}
