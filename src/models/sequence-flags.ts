/** Marks on positions, as the sequence kernels read them: where a document starts, and what is padding. */
import { type Device, FLAG_PAD, FLAG_RESET, type Tensor } from '../tensor/index.ts';

export { FLAG_PAD, FLAG_RESET };

/** Rows of token ids made one length. */
export interface PaddedRows {
  /** i32 [b, l]; 0 at padding. */
  readonly ids: Tensor;
  /** i32 [b, l]; null where nothing is padded. */
  readonly flags: Tensor | null;
  readonly length: number;
}

/**
 * Rows of different lengths as one block, padded to the longest on the left or on the right. A row may be empty.
 * The ids under padding are 0 and change nothing.
 */
export function padRows(
  device: Device,
  rows: readonly (readonly number[])[],
  side: 'left' | 'right' = 'left',
): PaddedRows {
  const length = rows.reduce((most, row) => Math.max(most, row.length), 0);
  const ids = new Int32Array(rows.length * length);
  const flags = new Int32Array(rows.length * length).fill(FLAG_PAD);
  rows.forEach((row, i) => {
    const start = i * length + (side === 'left' ? length - row.length : 0);
    ids.set(row, start);
    flags.fill(0, start, start + row.length);
  });
  const shape = [rows.length, length];
  const isPadded = rows.some((row) => row.length < length);
  return {
    ids: device.from(ids, shape, 'i32'),
    flags: isPadded ? device.from(flags, shape, 'i32') : null,
    length,
  };
}
