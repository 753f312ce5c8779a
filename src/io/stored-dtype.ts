/**
 * Element types as safetensors files name them, and their conversion to the engine's.
 * Files are little-endian, as is every machine that runs JavaScript today.
 */
import { type DType, DTypeError, encode, fromF16, type NumericArray, toBf16, viewAs } from '../core/index.ts';

/** Bits of one element, by the name in the file. */
const BITS = {
  BOOL: 8,
  U8: 8,
  I8: 8,
  F8_E4M3: 8,
  F8_E5M2: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U16: 16,
  I16: 16,
  F16: 16,
  BF16: 16,
  U32: 32,
  I32: 32,
  F32: 32,
  U64: 64,
  I64: 64,
  F64: 64,
  C64: 64,
} as const;

export type StoredDType = keyof typeof BITS;

/** Every name that a file may use. */
export const STORED_DTYPES = Object.keys(BITS) as readonly StoredDType[];

/** Names that `decodeStored` takes. */
export const LOADABLE_DTYPES = [
  'F32',
  'F16',
  'BF16',
  'F64',
  'I64',
  'I32',
  'I16',
  'I8',
  'U32',
  'U16',
  'U8',
  'BOOL',
] as const;
type LoadableDType = (typeof LOADABLE_DTYPES)[number];

export const isStoredDType = (name: unknown): name is StoredDType =>
  typeof name === 'string' && Object.hasOwn(BITS, name);

const isLoadable = (name: StoredDType): name is LoadableDType => (LOADABLE_DTYPES as readonly string[]).includes(name);

/** Bits of one element. */
export const storedBits = (dtype: StoredDType): number => BITS[dtype];

const SAME: Readonly<Record<DType, StoredDType>> = {
  f32: 'F32',
  bf16: 'BF16',
  f16: 'F16',
  i32: 'I32',
  f64: 'F64',
  i8: 'I8',
};

/** The name that an engine dtype has in files. */
export const storedName = (dtype: DType): StoredDType => SAME[dtype];

/** The engine dtype that holds a stored one without loss, or the nearest: `I64` is i32 (checked when decoded). */
export function engineDType(stored: StoredDType): DType {
  if (stored === 'F32' || stored === 'F16' || stored === 'BF16' || stored === 'F64')
    return stored.toLowerCase() as DType;
  if (isLoadable(stored)) return 'i32';
  throw new DTypeError('load', 'dtype', `one of ${LOADABLE_DTYPES.join(', ')}`, stored);
}

/** Bytes at an address that their elements can be read from: the same bytes if they are, else a copy. */
function aligned(bytes: Uint8Array, elementBytes: number): Uint8Array {
  return bytes.byteOffset % elementBytes === 0 ? bytes : bytes.slice();
}

function viewStored(stored: LoadableDType, unaligned: Uint8Array): NumericArray | ArrayLike<number> | BigInt64Array {
  const width = BITS[stored] / 8;
  const { buffer, byteOffset, byteLength } = aligned(unaligned, width);
  const length = byteLength / width;
  switch (stored) {
    case 'F32':
      return new Float32Array(buffer, byteOffset, length);
    case 'F64':
      return new Float64Array(buffer, byteOffset, length);
    case 'F16':
    case 'BF16':
    case 'U16':
      return new Uint16Array(buffer, byteOffset, length);
    case 'I64':
      return new BigInt64Array(buffer, byteOffset, length);
    case 'I32':
      return new Int32Array(buffer, byteOffset, length);
    case 'I16':
      return new Int16Array(buffer, byteOffset, length);
    case 'U32':
      return new Uint32Array(buffer, byteOffset, length);
    case 'I8':
      return new Int8Array(buffer, byteOffset, length);
    case 'U8':
    case 'BOOL':
      return new Uint8Array(buffer, byteOffset, length);
  }
}

let halfTable: Float32Array | undefined;
/** All 65,536 binary16 values: a look-up is some ten times faster than the arithmetic. */
function halves(): Float32Array {
  halfTable ??= Float32Array.from({ length: 65536 }, (_, bits) => fromF16(bits));
  return halfTable;
}

function widen(stored: 'F16' | 'BF16', raw: Uint16Array): Float32Array {
  if (stored === 'F16') {
    const table = halves();
    const out = new Float32Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = table[raw[i]];
    return out;
  }
  const bits = new Uint32Array(raw.length);
  for (let i = 0; i < raw.length; i++) bits[i] = raw[i] << 16;
  return new Float32Array(bits.buffer);
}

/** As `toBf16`, for a whole array. */
function narrowToBf16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i];
    out[i] = (word & 0x7fffffff) > 0x7f800000 ? toBf16(values[i]) : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return out;
}

const I32_MAX = 2 ** 31 - 1;

function toI32(name: string, values: ArrayLike<number> | BigInt64Array): Int32Array {
  const out = new Int32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = Number(values[i]);
    if (value > I32_MAX || value < -I32_MAX - 1) {
      throw new DTypeError('load', name, 'integers of 32 bits', `${values[i]} at element ${i}`);
    }
    out[i] = value;
  }
  return out;
}

/**
 * Stored elements as raw elements of an engine dtype (half types as bits). Without a conversion the result is a view
 * of `bytes` where their address allows. Integers become floats by value; floats never become integers.
 * @param name the tensor, for errors
 * @throws DTypeError for a stored dtype that is not loadable, floats asked for as i32, anything else as i8, integers beyond 32 bits
 */
export function decodeStored(stored: StoredDType, bytes: Uint8Array, to: DType, name: string): NumericArray {
  if (!isLoadable(stored)) throw new DTypeError('load', name, `one of ${LOADABLE_DTYPES.join(', ')}`, stored);
  if (storedName(to) === stored) {
    const { buffer, byteOffset, byteLength } = aligned(bytes, BITS[stored] / 8);
    return viewAs(to, buffer, byteOffset, byteLength / (BITS[stored] / 8));
  }
  const raw = viewStored(stored, bytes);
  const isStoredFloat = stored === 'F32' || stored === 'F64' || stored === 'F16' || stored === 'BF16';
  if (to === 'i8') throw new DTypeError('load', name, 'I8', stored);
  if (to === 'i32') {
    if (isStoredFloat) throw new DTypeError('load', name, 'an integer dtype', stored);
    return toI32(name, raw as ArrayLike<number>);
  }
  if (raw instanceof BigInt64Array) return encode(to, Array.from(raw, Number));
  const values = stored === 'F16' || stored === 'BF16' ? widen(stored, raw as Uint16Array) : (raw as Float32Array);
  if (to === 'f32' && values instanceof Float32Array) return values;
  return to === 'bf16' && values instanceof Float32Array ? narrowToBf16(values) : encode(to, values);
}

/** How many elements are NaN or infinite; raw elements of an engine dtype. */
export function countNonFinite(dtype: DType, raw: NumericArray): number {
  if (dtype === 'i32' || dtype === 'i8') return 0;
  let count = 0;
  if (dtype === 'bf16' || dtype === 'f16') {
    const exponent = dtype === 'bf16' ? 0x7f80 : 0x7c00;
    for (let i = 0; i < raw.length; i++) if ((raw[i] & exponent) === exponent) count++;
  } else {
    for (let i = 0; i < raw.length; i++) if (!Number.isFinite(raw[i])) count++;
  }
  return count;
}
