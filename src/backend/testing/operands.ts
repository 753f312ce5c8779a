/**
 * Matrices for kernel tests: values that are exact in their dtype, laid out with an offset and with rows further
 * apart than their columns, so that a kernel which ignores `offset` or `ld`, or writes past a row, is found out.
 */
import {
  type DType,
  dtypeBytes,
  fromBf16,
  fromF16,
  HostRandom,
  isFloat,
  type NumericArray,
  toBf16,
  toF16,
  viewAs,
} from '../../core/index.ts';

export interface Operand {
  readonly rows: number;
  readonly cols: number;
  readonly ld: number;
  readonly offset: number;
  readonly dtype: DType;
  /** Dense [rows, cols], exact in `dtype`; null for memory that a kernel has to write first. */
  readonly values: Float64Array | null;
  /** Element that the kernel is pointed to, if it is not the first. */
  readonly start?: number;
}

/** Byte of all memory that holds no value: NaN in every float dtype, -1 in i32 and i8. */
const GUARD = 0xff;
/** Elements after the last row that must survive. */
const TAIL = 4;

/** `encode` of core, in loops: constructors and loops are ten times faster than `from` over these many elements. */
function toRaw(dtype: DType, values: ArrayLike<number>): NumericArray {
  if (dtype === 'f32') return new Float32Array(values);
  if (dtype === 'f64') return new Float64Array(values);
  if (dtype === 'i32') return new Int32Array(values);
  if (dtype === 'i8') return new Int8Array(values);
  const toHalf = dtype === 'bf16' ? toBf16 : toF16;
  const raw = new Uint16Array(values.length);
  for (let i = 0; i < raw.length; i++) raw[i] = toHalf(values[i]);
  return raw;
}

function fromRaw(dtype: DType, raw: NumericArray): Float64Array {
  const values = new Float64Array(raw);
  const fromHalf = dtype === 'bf16' ? fromBf16 : fromF16;
  if (dtype === 'bf16' || dtype === 'f16') for (let i = 0; i < raw.length; i++) values[i] = fromHalf(raw[i]);
  return values;
}

/** `values` rounded to `dtype`. */
export const rounded = (dtype: DType, values: ArrayLike<number>): Float64Array => fromRaw(dtype, toRaw(dtype, values));

/** Dense operand from numbers; they are rounded to `dtype`. */
export function operand(rows: number, cols: number, values: ArrayLike<number>, dtype: DType = 'f64'): Operand {
  return { rows, cols, ld: cols, offset: 0, dtype, values: rounded(dtype, values) };
}

/** The same operand with floats stored as f64. */
export const inDouble = (x: Operand): Operand => (isFloat(x.dtype) ? { ...x, dtype: 'f64' } : x);

/** Elements that the operand's block holds. */
const extent = (x: Operand): number => x.offset + Math.max(0, x.rows - 1) * x.ld + x.cols + TAIL;

const elementsOf = (x: Operand, bytes: Uint8Array) => viewAs(x.dtype, bytes.buffer, bytes.byteOffset, extent(x));

const blocks = new WeakMap<Operand, Uint8Array>();

/** The block of an operand: guards everywhere, values where they belong. Kept, so nobody may write to it. */
export function toBytes(x: Operand): Uint8Array {
  let bytes = blocks.get(x);
  if (!bytes) {
    bytes = new Uint8Array(extent(x) * dtypeBytes(x.dtype)).fill(GUARD);
    if (x.values) {
      const elements = elementsOf(x, bytes);
      const raw = toRaw(x.dtype, x.values);
      for (let r = 0; r < x.rows; r++) elements.set(raw.subarray(r * x.cols, (r + 1) * x.cols), x.offset + r * x.ld);
    }
    blocks.set(x, bytes);
  }
  return bytes;
}

/** The values in a block, dense. */
export function fromBytes(x: Operand, bytes: Uint8Array): Float64Array {
  const elements = elementsOf(x, bytes);
  const raw = viewAs(x.dtype, new ArrayBuffer(x.rows * x.cols * dtypeBytes(x.dtype)), 0, x.rows * x.cols);
  for (let r = 0; r < x.rows; r++) {
    const start = x.offset + r * x.ld;
    raw.set(elements.subarray(start, start + x.cols), r * x.cols);
  }
  return fromRaw(x.dtype, raw);
}

/** The block with its values blanked: what is left must never change. */
export function guardsOf(x: Operand, bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  const elements = elementsOf(x, copy);
  for (let r = 0; r < x.rows; r++) elements.fill(0, x.offset + r * x.ld, x.offset + r * x.ld + x.cols);
  return copy;
}

/** Dtypes of the operands that may have any: one for all, or drawn for each. */
export type Types = 'f32' | 'bf16' | 'f16' | 'f64' | 'mixed';
export const ALL_TYPES: readonly Types[] = ['f32', 'bf16', 'f16', 'mixed'];

export interface Layout {
  readonly pad: number;
  readonly offset: number;
}
export const DENSE: Layout = { pad: 0, offset: 0 };
export const STRIDED: Layout = { pad: 3, offset: 5 };

/** Draws operands of one test case. Everything follows from the seed, the types and the layout. */
export class Draw {
  readonly random: HostRandom;

  constructor(
    readonly seed: number,
    readonly types: Types = 'f32',
    readonly layout: Layout = DENSE,
  ) {
    this.random = new HostRandom(seed);
  }

  /** A dtype for the next operand that may have any. */
  any(): DType {
    if (this.types !== 'mixed') return this.types;
    return (['f32', 'bf16', 'f16'] as const)[this.random.integer(3)];
  }

  /** f32, or f64 where everything is: the dtype of operands whose table row says f32. */
  fixed(): DType {
    return this.types === 'f64' ? 'f64' : 'f32';
  }

  /** The layout of this case around given values. */
  place(rows: number, cols: number, values: ArrayLike<number> | null, dtype: DType): Operand {
    const { pad, offset } = this.layout;
    return { rows, cols, ld: cols + pad, offset, dtype, values: values && rounded(dtype, values) };
  }

  /** Values from `next`, called row by row. */
  values(rows: number, cols: number, next: (index: number) => number, dtype = this.any()): Operand {
    return this.place(
      rows,
      cols,
      Float64Array.from({ length: rows * cols }, (_, i) => next(i)),
      dtype,
    );
  }

  normal(rows: number, cols: number, dtype = this.any(), scale = 1): Operand {
    return this.values(rows, cols, () => scale * this.random.normal(), dtype);
  }

  uniform(rows: number, cols: number, low: number, high: number, dtype = this.any()): Operand {
    return this.values(rows, cols, () => low + (high - low) * this.random.uniform(), dtype);
  }

  /** i32 in [low, high). */
  integers(rows: number, cols: number, low: number, high: number): Operand {
    return this.values(rows, cols, () => low + this.random.integer(high - low), 'i32');
  }

  /** i8, all of its values. */
  quantised(rows: number, cols: number): Operand {
    return this.values(rows, cols, () => this.random.integer(256) - 128, 'i8');
  }

  /** Scales of `n` quantised rows, from large to small; one of them 0. */
  scales(n: number): Operand {
    return this.values(1, n, (i) => (i === 1 ? 0 : 0.1 * this.random.uniform() ** 3), this.fixed());
  }

  /** Memory for an output: nothing in it yet. */
  output(rows: number, cols: number, dtype = this.any()): Operand {
    return this.place(rows, cols, null, dtype);
  }

  /** The operand if a coin says so, or null. */
  maybe(make: () => Operand): Operand | null {
    return this.random.uniform() < 0.5 ? make() : null;
  }
}

/** Dense, whatever the layout: for kernels that ignore `ld`. */
export const dense = (x: Operand): Operand => ({ ...x, ld: x.cols });
