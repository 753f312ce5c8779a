/**
 * Element types of GGUF files that Krait writes, and the encoding of stored weights in them.
 *
 * | type | code | layout                                                                    |
 * |------|------|---------------------------------------------------------------------------|
 * | f32  | 0    | IEEE 754 single                                                           |
 * | f16  | 1    | IEEE 754 half                                                             |
 * | bf16 | 30   | upper half of a single                                                    |
 * | q8_0 | 8    | 32 values in 34 bytes: scale d as f16, then 32 signed bytes q; value = d q |
 *
 * Source: ggml_type in docs/gguf.md of ggml-org/ggml @ d99724f; q8_0 rounds as its reference quantiser does.
 */
import { CheckpointError, type NumericArray, toF16, viewAs } from '../core/index.ts';
import { countNonFinite, decodeStored, type StoredDType } from './stored-dtype.ts';

export const GGUF_TYPES = ['f32', 'f16', 'bf16', 'q8_0'] as const;
export type GgufType = (typeof GGUF_TYPES)[number];

interface Layout {
  /** The number that stands for the type in the file. */
  readonly code: number;
  /** Elements of a block, which are encoded together and never span rows. */
  readonly blockSize: number;
  readonly blockBytes: number;
}

/** How each type lies in the file. */
export const GGUF_LAYOUTS: Readonly<Record<GgufType, Layout>> = {
  f32: { code: 0, blockSize: 1, blockBytes: 4 },
  f16: { code: 1, blockSize: 1, blockBytes: 2 },
  bf16: { code: 30, blockSize: 1, blockBytes: 2 },
  q8_0: { code: 8, blockSize: 32, blockBytes: 34 },
};

const LARGEST_F16 = 65504;
const MOST_STEPS = 127;

/** Source of an encoded weight, for errors. */
export interface EncodedWeight {
  readonly file: string;
  readonly name: string;
}

const tooLarge = ({ file, name }: EncodedWeight, what: string, value: number): CheckpointError =>
  new CheckpointError(name, `${what} of at most ${LARGEST_F16}`, `${value}`, file, 'choose another type, such as bf16');

/** Finite values beyond the range of f16 would become infinite without a word: they are refused. */
function checkF16Range(weight: EncodedWeight, raw: NumericArray, stored: StoredDType, bytes: Uint8Array): void {
  if (countNonFinite('f16', raw) === 0) return;
  const values = decodeStored(stored, bytes, 'f64', weight.name);
  const at = values.findIndex((value, i) => Number.isFinite(value) && (raw[i] & 0x7c00) === 0x7c00);
  if (at >= 0) throw tooLarge(weight, 'values', values[at]);
}

/** Half away from zero, unlike Math.round. */
const roundHalfAway = (x: number): number => (x < 0 ? -Math.round(-x) : Math.round(x));

function encodeQ8(weight: EncodedWeight, values: Float32Array): Uint8Array {
  const { blockSize, blockBytes } = GGUF_LAYOUTS.q8_0;
  const blocks = values.length / blockSize;
  if (!Number.isInteger(blocks)) {
    throw new CheckpointError(weight.name, `whole blocks of ${blockSize}`, `${values.length} elements`, weight.file);
  }
  const out = new DataView(new ArrayBuffer(blocks * blockBytes));
  for (let block = 0; block < blocks; block++) {
    const from = block * blockSize;
    let most = 0;
    for (let i = from; i < from + blockSize; i++) most = Math.max(most, Math.abs(values[i])); // NaN stays NaN
    const scale = Math.fround(most / MOST_STEPS);
    const inverse = scale ? Math.fround(1 / scale) : 0;
    const bits = toF16(scale);
    if ((bits & 0x7fff) === 0x7c00 && Number.isFinite(most)) throw tooLarge(weight, 'scales of blocks', scale);
    const at = block * blockBytes;
    out.setUint16(at, bits, true);
    for (let i = 0; i < blockSize; i++) out.setInt8(at + 2 + i, roundHalfAway(Math.fround(values[from + i] * inverse)));
  }
  return new Uint8Array(out.buffer);
}

/**
 * Stored elements in a type of GGUF; whole blocks at a time.
 * @throws CheckpointError naming the weight, for values that f16 cannot hold or a part of a block
 */
export function encodeGguf(type: GgufType, stored: StoredDType, bytes: Uint8Array, weight: EncodedWeight): Uint8Array {
  if (type === 'q8_0') return encodeQ8(weight, decodeStored(stored, bytes, 'f32', weight.name) as Float32Array);
  const raw = decodeStored(stored, bytes, type, weight.name);
  if (type === 'f16') checkF16Range(weight, raw, stored, bytes);
  return new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength);
}

/** How many elements, or blocks of q8_0, are not finite in encoded bytes. */
export function countNonFiniteBlocks(type: GgufType, encoded: Uint8Array): number {
  const { buffer, byteOffset, byteLength } = encoded;
  const { blockBytes } = GGUF_LAYOUTS[type];
  if (type !== 'q8_0') return countNonFinite(type, viewAs(type, buffer, byteOffset, byteLength / blockBytes));
  const view = new DataView(buffer, byteOffset, byteLength);
  let count = 0;
  for (let at = 0; at < byteLength; at += blockBytes) if ((view.getUint16(at, true) & 0x7c00) === 0x7c00) count++;
  return count;
}
