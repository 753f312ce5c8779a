/**
 * Causal attention (Vaswani et al. 2017, section 3.2) with documents, padding and grouped heads, and its gradient:
 *   p = softmax(scale q k), y = p v;  dv = p dy, ds = p (dy v - dy y), dq = scale ds k, dk = scale ds q
 */
import type { MatrixView, Numbers, Tensors } from './view.ts';

type Documents = 'queryDocuments' | 'keyDocuments';
type Inputs = Tensors<'q' | 'k' | 'v', Documents>;

const dot = (d: number, x: MatrixView, xRow: number, xCol: number, y: MatrixView, yRow: number, yCol: number) => {
  let sum = 0;
  for (let i = 0; i < d; i++) sum += x.get(xRow, xCol + i) * y.get(yRow, yCol + i);
  return sum;
};

/** Calls body for every query of every head with the rows of the keys that it sees and their scores. */
function eachQuery(
  { q, k, queryDocuments, keyDocuments }: Inputs,
  { b, lq, lk, heads, kvHeads, d }: Numbers,
  scale: number,
  body: (query: { row: number; head: number; col: number; kvCol: number; seen: number[]; scores: number[] }) => void,
): void {
  for (let item = 0; item < b; item++) {
    for (let t = 0; t < lq; t++) {
      const row = item * lq + t;
      const own = queryDocuments?.get(row, 0) ?? 0;
      const seen: number[] = [];
      for (let s = item * lk; own >= 0 && s <= item * lk + t + lk - lq; s++) {
        if (!keyDocuments || keyDocuments.get(s, 0) === own) seen.push(s);
      }
      for (let head = 0; head < heads; head++) {
        const [col, kvCol] = [head * d, Math.floor((head * kvHeads) / heads) * d];
        body({ row, head, col, kvCol, seen, scores: seen.map((s) => scale * dot(d, q, row, col, k, s, kvCol)) });
      }
    }
  }
}

export function attention(tensors: Inputs & Tensors<'y', 'lse'>, dims: Numbers, { scale }: Numbers): void {
  const { v, y, lse } = tensors;
  eachQuery(tensors, dims, scale, ({ row, head, col, kvCol, seen, scores }) => {
    const most = Math.max(...scores);
    const powers = scores.map((score) => Math.exp(score - most));
    const total = powers.reduce((sum, power) => sum + power, 0);
    for (let i = 0; i < dims.d; i++) {
      const sum = seen.reduce((partial, s, j) => partial + powers[j] * v.get(s, kvCol + i), 0);
      y.set(row, col + i, seen.length ? sum / total : 0);
    }
    lse?.set(row, head, seen.length ? most + Math.log(total) : 0);
  });
}

export function attentionBwd(
  tensors: Inputs & Tensors<'y' | 'lse' | 'dy' | 'dq' | 'dk' | 'dv'>,
  dims: Numbers,
  { scale }: Numbers,
): void {
  const { q, k, v, y, lse, dy } = tensors;
  const { b, lq, lk, heads, kvHeads, d } = dims;
  const [dq, dk, dv] = [b * lq * heads * d, b * lk * kvHeads * d, b * lk * kvHeads * d].map((n) => new Float64Array(n));
  eachQuery(tensors, dims, scale, ({ row, head, col, kvCol, seen, scores }) => {
    const delta = dot(d, dy, row, col, y, row, col);
    seen.forEach((s, j) => {
      const p = Math.exp(scores[j] - lse.get(row, head));
      const ds = p * (dot(d, dy, row, col, v, s, kvCol) - delta);
      for (let i = 0; i < d; i++) {
        dv[s * kvHeads * d + kvCol + i] += p * dy.get(row, col + i);
        dq[row * heads * d + col + i] += scale * ds * k.get(s, kvCol + i);
        dk[s * kvHeads * d + kvCol + i] += scale * ds * q.get(row, col + i);
      }
    });
  });
  const write = (to: MatrixView, from: Float64Array, cols: number) => {
    from.forEach((x, i) => void to.set(Math.floor(i / cols), i % cols, x));
  };
  write(tensors.dq, dq, heads * d);
  write(tensors.dk, dk, kvHeads * d);
  write(tensors.dv, dv, kvHeads * d);
}
