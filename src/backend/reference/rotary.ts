/** Positions within documents, and rotary embeddings (Su et al. 2021, section 3.4.2, in halves). */
import { FLAG_PAD, FLAG_RESET } from '../kernels.ts';
import type { Numbers, Tensors } from './view.ts';

export function sequencePositions(
  { flags, before, positions, documents, after }: Tensors<'positions' | 'documents', 'flags' | 'before' | 'after'>,
  { b, l }: Numbers,
): void {
  for (let i = 0; i < b; i++) {
    let position = before?.get(i, 0) ?? 0;
    let document = before?.get(i, 1) ?? 0;
    for (let t = 0; t < l; t++) {
      const flag = flags?.get(i, t) ?? 0;
      const isPadding = (flag & FLAG_PAD) !== 0;
      if (!isPadding && flag & FLAG_RESET) {
        position = 0;
        document++;
      }
      positions.set(i * l + t, 0, position);
      documents.set(i * l + t, 0, isPadding ? -1 : document);
      if (!isPadding) position++;
    }
    after?.set(i, 0, position);
    after?.set(i, 1, document);
  }
}

export function rotary(
  { x, positions, rates, y }: Tensors<'x' | 'positions' | 'rates' | 'y'>,
  { rows, heads, d, rotated, inverse }: Numbers,
): void {
  const half = rotated / 2;
  for (let r = 0; r < rows; r++) {
    for (let head = 0; head < heads; head++) {
      for (let i = 0; i < d; i++) {
        const at = head * d + i;
        if (i >= half) {
          if (i >= rotated) y.set(r, at, x.get(r, at));
          continue;
        }
        const angle = (inverse ? -1 : 1) * positions.get(r, 0) * rates.get(0, i);
        const [first, second] = [x.get(r, at), x.get(r, at + half)];
        y.set(r, at, first * Math.cos(angle) - second * Math.sin(angle));
        y.set(r, at + half, second * Math.cos(angle) + first * Math.sin(angle));
      }
    }
  }
}
