/**
 * Rows of a table by number: y[i] = table[ids[i]], times the scale of the row if there is one; its gradient adds: dtable[ids[i]] += dy[i].
 * An id outside 0..v-1 reads zeros and receives no gradient.
 */
import type { Numbers, Tensors } from './view.ts';

export function embedding(
  { table, ids, y, scale }: Tensors<'table' | 'ids' | 'y', 'scale'>,
  { n, d, v }: Numbers,
): void {
  for (let i = 0; i < n; i++) {
    const id = ids.get(i, 0);
    const isInside = id >= 0 && id < v;
    const factor = isInside ? (scale?.get(0, id) ?? 1) : 0;
    for (let c = 0; c < d; c++) y.set(i, c, isInside ? factor * table.get(id, c) : 0);
  }
}

/** The sum of all positions is taken in f64 and added once. */
export function embeddingBwd({ dy, ids, dtable }: Tensors<'dy' | 'ids' | 'dtable'>, { n, d, v }: Numbers): void {
  const sums = new Map<number, Float64Array>();
  for (let i = 0; i < n; i++) {
    const id = ids.get(i, 0);
    if (id < 0 || id >= v) continue;
    const sum = sums.get(id) ?? new Float64Array(d);
    for (let c = 0; c < d; c++) sum[c] += dy.get(i, c);
    sums.set(id, sum);
  }
  for (const [id, sum] of sums) for (let c = 0; c < d; c++) dtable.add(id, c, sum[c]);
}
