/**
 * Weights as 8-bit integers with one f32 scale a row: w = q * scale, q in -127..127, scale = max |w| / 127. Symmetric,
 * so that 0 stays 0; -128 is not used. Rounding is to nearest, ties to even: no weight is off by more than scale / 2.
 *
 * What it is not: it looks at weights alone, not at the activations they meet (as GPTQ or AWQ do).
 */

const LARGEST = 127;
/** Added and taken away again, it leaves an f64 below 2^51 rounded to a whole number, ties to even. */
const WHOLE = 1.5 * 2 ** 52;

/** Rows of a matrix, quantised. */
export interface QuantisedRows {
  readonly values: Int8Array;
  /** One a row. */
  readonly scales: Float32Array;
}

/** Largest magnitude of a row; NaN if a value is NaN. */
function largestOf(values: ArrayLike<number>, start: number, cols: number): number {
  let largest = 0;
  for (let i = start; i < start + cols; i++) {
    const size = Math.abs(values[i]);
    if (!(size <= largest)) largest = size; // NaN too
    if (Number.isNaN(largest)) break;
  }
  return largest;
}

/**
 * Quantises whole rows of `cols` numbers. A row of zeros has scale 0. A row with NaN or infinity in it has scale NaN:
 * what is computed from it is NaN, not a wrong number.
 */
export function quantiseRows(values: ArrayLike<number>, cols: number): QuantisedRows {
  const rows = cols === 0 ? 0 : values.length / cols;
  const quantised = new Int8Array(values.length);
  const scales = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    const start = row * cols;
    const largest = largestOf(values, start, cols);
    const scale = Number.isFinite(largest) ? Math.fround(largest / LARGEST) : Number.NaN;
    scales[row] = scale;
    if (!(scale > 0)) continue;
    const steps = 1 / scale;
    // The scale was rounded too: where it has few bits left (subnormal), the largest value can lie past 127 steps.
    for (let i = start; i < start + cols; i++) {
      const q = values[i] * steps + WHOLE - WHOLE;
      quantised[i] = q > LARGEST ? LARGEST : q < -LARGEST ? -LARGEST : q;
    }
  }
  return { values: quantised, scales };
}
