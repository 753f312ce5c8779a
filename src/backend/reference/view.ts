/**
 * A tensor argument as the reference kernels see it: numbers by row and column, decoded from the storage dtype
 * on `get` and rounded to it on `set`. Every access is checked against the block, so a kernel that is given a
 * wrong shape fails instead of touching its neighbours.
 */
import {
  type DType,
  dtypeBytes,
  fromBf16,
  fromF16,
  KraitError,
  toBf16,
  toF16,
  toI8,
  viewAs,
} from '../../core/index.ts';

export interface MatrixView {
  readonly dtype: DType;
  get(row: number, col: number): number;
  /** Rounds to the dtype: nearest even for floats; towards zero, saturating, NaN to 0 for i32 and i8. */
  set(row: number, col: number, value: number): void;
  /** `set(row, col, get(row, col) + value)`. */
  add(row: number, col: number, value: number): void;
}

/** The tensors that a kernel takes: names that are always there, and names that may be null. */
export type Tensors<Required extends string, Optional extends string = never> = Record<Required, MatrixView> &
  Record<Optional, MatrixView | null>;

/** Dims or scalars by name. */
export type Numbers = Readonly<Record<string, number>>;

const same = (x: number): number => x;
const toI32 = (x: number): number => Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, Math.trunc(x) || 0));

const DECODE: Record<DType, (raw: number) => number> = {
  f32: same,
  f64: same,
  i32: same,
  bf16: fromBf16,
  f16: fromF16,
  i8: same,
};
const ENCODE: Record<DType, (x: number) => number> = {
  f32: same,
  f64: same,
  i32: toI32,
  bf16: toBf16,
  f16: toF16,
  i8: toI8,
};

/**
 * A view of `dtype` elements of `buffer` that starts at element `offset`, with rows `ld` elements apart.
 * `name` stands in the error of an access outside the buffer.
 */
export function createView(name: string, buffer: ArrayBuffer, offset: number, ld: number, dtype: DType): MatrixView {
  const data = viewAs(dtype, buffer, 0, Math.floor(buffer.byteLength / dtypeBytes(dtype)));
  const decode = DECODE[dtype];
  const encode = ENCODE[dtype];
  const at = (row: number, col: number): number => {
    const index = offset + row * ld + col;
    if (index >= 0 && index < data.length) return index;
    throw new KraitError(`${name}: row ${row}, column ${col} lies outside its block of ${data.length} ${dtype}`);
  };
  return {
    dtype,
    get: (row, col) => decode(data[at(row, col)]),
    set: (row, col, value) => {
      data[at(row, col)] = encode(value);
    },
    add: (row, col, value) => {
      const index = at(row, col);
      data[index] = encode(decode(data[index]) + value);
    },
  };
}
