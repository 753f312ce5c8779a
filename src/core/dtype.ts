/**
 * Element types, and the half-precision conversions that every device shares.
 * bf16 is the top 16 bits of an f32; f16 is IEEE 754 binary16. Both round to nearest, ties to even.
 * f64 exists on the reference device only: gradient checks run in it.
 * i8 holds quantised weights: numbers that mean something only together with the scale of their row.
 */

export const DTYPES = ['f32', 'bf16', 'f16', 'i32', 'f64', 'i8'] as const;
export type DType = (typeof DTYPES)[number];
export type FloatDType = Exclude<DType, 'i32' | 'i8'>;

/** Code of a dtype in the kernel ABI: its index in `DTYPES`. */
export const dtypeCode = (dtype: DType): number => DTYPES.indexOf(dtype);

const BYTES: Record<DType, number> = { f32: 4, bf16: 2, f16: 2, i32: 4, f64: 8, i8: 1 };
/** Bytes of one element. */
export const dtypeBytes = (dtype: DType): number => BYTES[dtype];

export const isFloat = (dtype: DType): dtype is FloatDType => dtype !== 'i32' && dtype !== 'i8';

export type NumericArray = Float32Array | Float64Array | Int32Array | Uint16Array | Int8Array;

/** A typed array over `buffer` that holds elements of `dtype` (half types as raw bits). */
export function viewAs(dtype: DType, buffer: ArrayBufferLike, byteOffset: number, length: number): NumericArray {
  switch (dtype) {
    case 'f32':
      return new Float32Array(buffer, byteOffset, length);
    case 'f64':
      return new Float64Array(buffer, byteOffset, length);
    case 'i32':
      return new Int32Array(buffer, byteOffset, length);
    case 'i8':
      return new Int8Array(buffer, byteOffset, length);
    default:
      return new Uint16Array(buffer, byteOffset, length);
  }
}

const scratch = new DataView(new ArrayBuffer(4));

function f32Bits(x: number): number {
  scratch.setFloat32(0, x);
  return scratch.getUint32(0);
}

function bitsF32(bits: number): number {
  scratch.setUint32(0, bits >>> 0);
  return scratch.getFloat32(0);
}

/** Round to bfloat16, returned as its 16 bits. NaN stays NaN (quiet). */
export function toBf16(x: number): number {
  const bits = f32Bits(x);
  if ((bits & 0x7fffffff) > 0x7f800000) return ((bits >>> 16) | 0x40) & 0xffff;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

export const fromBf16 = (bits: number): number => bitsF32(bits << 16);

/** Round to binary16, returned as its 16 bits. Overflow gives infinity, NaN stays NaN. */
export function toF16(x: number): number {
  const bits = f32Bits(x);
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00; // >= 65536
  if (magnitude < 0x38800000) {
    // Subnormal: adding 0.5 places the 10 bits at the bottom of an f32 significand, rounded by the addition.
    const shifted = Math.fround(bitsF32(magnitude) + 0.5);
    return sign | (f32Bits(shifted) - 0x3f000000);
  }
  const odd = (magnitude >>> 13) & 1;
  return sign | ((magnitude - 0x38000000 + 0xfff + odd) >>> 13);
}

export function fromF16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Towards zero, saturating; NaN gives 0. */
export const toI8 = (x: number): number => Math.max(-128, Math.min(127, Math.trunc(x) || 0));

/** Raw elements of `dtype` from plain numbers. */
export function encode(dtype: DType, values: ArrayLike<number>): NumericArray {
  switch (dtype) {
    case 'f32':
      return Float32Array.from(values);
    case 'f64':
      return Float64Array.from(values);
    case 'i32':
      return Int32Array.from(values);
    case 'bf16':
      return Uint16Array.from(values, toBf16);
    case 'f16':
      return Uint16Array.from(values, toF16);
    case 'i8':
      return Int8Array.from(values, toI8);
  }
}

/** Plain numbers from raw elements of `dtype`: f64 for f64, f32 for the other floats, i32 and i8 as i32. */
export function decode(dtype: DType, raw: NumericArray): Float32Array | Float64Array | Int32Array {
  switch (dtype) {
    case 'bf16':
      return Float32Array.from(raw, fromBf16);
    case 'f16':
      return Float32Array.from(raw, fromF16);
    case 'i8':
      return Int32Array.from(raw);
    default:
      return raw as Float32Array;
  }
}
