/**
 * Writing GGUF files, version 3: atomic and streamed, one tensor at a time. Layout, little-endian:
 *
 *   "GGUF", u32 version, u64 tensors, u64 entries of metadata; entries; descriptions of tensors; data
 *   text = u64 bytes, UTF-8;  entry = text key, u32 type, value;  array = u32 type, u64 length, values
 *   description = text name, u32 dimensions, u64 sizes (innermost first), u32 type, u64 offset in the data
 *
 * The data and every tensor in it begin at multiples of 32 bytes, with zeros between.
 * Source: docs/gguf.md of ggml-org/ggml @ d99724f. What the entries say about a model is not decided here.
 */
import { FileFormatError, formatShape, type Shape, sizeOf } from '../core/index.ts';
import type { FileSystem } from './files.ts';
import { GGUF_LAYOUTS, type GgufType } from './gguf-types.ts';
import { describe } from './json.ts';

/** "GGUF" as a little-endian number. */
const MAGIC = 0x46554747;
const VERSION = 3;
/** Alignment where the metadata names none. */
const ALIGNMENT = 32;
/** Readers keep names in 64 bytes, the last of them zero. */
const MOST_NAME_BYTES = 63;
const MOST_DIMENSIONS = 4;

/** The number that stands for each type of metadata. */
const VALUE_CODES = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8 } as const;
const ARRAY_CODE = 9;

/** A value of metadata. */
export type GgufValue =
  | { readonly type: 'u32' | 'i32' | 'f32'; readonly value: number }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'array'; readonly of: 'u32' | 'i32' | 'f32'; readonly value: ArrayLike<number> }
  | { readonly type: 'array'; readonly of: 'string'; readonly value: readonly string[] };

export type GgufMetadata = ReadonlyMap<string, GgufValue>;

/** A tensor to be written. */
export interface GgufTensor {
  readonly name: string;
  readonly type: GgufType;
  /** Outermost axis first, as everywhere in Krait; the file has it the other way round. */
  readonly shape: Shape;
  /** Its encoded bytes (see `encodeGguf`); called once, when its turn comes. */
  data(): Uint8Array | AsyncIterable<Uint8Array>;
}

export interface WriteGgufOptions {
  /** Called after each piece with the bytes written so far and in all. */
  onProgress?: (written: number, total: number) => void;
}

/** Bytes that a tensor takes, without padding. */
export function ggufBytes({ type, shape }: Pick<GgufTensor, 'type' | 'shape'>): number {
  const { blockSize, blockBytes } = GGUF_LAYOUTS[type];
  return (sizeOf(shape) / blockSize) * blockBytes;
}

const paddingAfter = (bytes: number): number => (ALIGNMENT - (bytes % ALIGNMENT)) % ALIGNMENT;
const utf8 = new TextEncoder();

/** A byte string that grows. */
class Bytes {
  private buffer = new Uint8Array(1 << 16);
  private view = new DataView(this.buffer.buffer);
  length = 0;

  private reserve(count: number): number {
    const at = this.length;
    this.length += count;
    if (this.length > this.buffer.length) {
      const grown = new Uint8Array(Math.max(this.length, 2 * this.buffer.length));
      grown.set(this.buffer.subarray(0, at));
      this.buffer = grown;
      this.view = new DataView(grown.buffer);
    }
    return at;
  }

  number(type: 'u32' | 'i32' | 'f32', value: number): void {
    const at = this.reserve(4);
    if (type === 'u32') this.view.setUint32(at, value, true);
    else if (type === 'i32') this.view.setInt32(at, value, true);
    else this.view.setFloat32(at, value, true);
  }

  u64(value: number): void {
    const at = this.reserve(8);
    this.view.setBigUint64(at, BigInt(value), true);
  }

  bool(value: boolean): void {
    const at = this.reserve(1);
    this.view.setUint8(at, value ? 1 : 0);
  }

  text(value: string): void {
    const encoded = utf8.encode(value);
    this.u64(encoded.length);
    const at = this.reserve(encoded.length);
    this.buffer.set(encoded, at);
  }

  zeros(count: number): void {
    this.reserve(count);
  }

  take(): Uint8Array {
    return this.buffer.subarray(0, this.length);
  }
}

function putEntry(out: Bytes, key: string, entry: GgufValue): void {
  out.text(key);
  if (entry.type === 'array') {
    out.number('u32', ARRAY_CODE);
    out.number('u32', VALUE_CODES[entry.of]);
    out.u64(entry.value.length);
    if (entry.of === 'string') for (const text of entry.value) out.text(text);
    else for (let i = 0; i < entry.value.length; i++) out.number(entry.of, entry.value[i]);
    return;
  }
  out.number('u32', VALUE_CODES[entry.type]);
  if (entry.type === 'string') out.text(entry.value);
  else if (entry.type === 'bool') out.bool(entry.value);
  else out.number(entry.type, entry.value);
}

const KEY = /^[a-z0-9_]+(\.[a-z0-9_]+)*$/;

const isIn = (type: 'u32' | 'i32' | 'f32', value: number): boolean =>
  type === 'f32' || (type === 'u32' ? value >>> 0 === value : (value | 0) === value);

function checkMetadata(path: string, metadata: GgufMetadata): void {
  for (const [key, entry] of metadata) {
    const fail = (problem: string): never => {
      throw new FileFormatError(path, `metadata ${describe(key)}: ${problem}`, 'nothing was written');
    };
    if (!KEY.test(key)) fail('a key is words of a-z, 0-9 and _ with dots between');
    const type = entry.type === 'array' ? entry.of : entry.type;
    if (type === 'string' || type === 'bool') continue;
    const numbers = entry.type === 'array' ? Array.from(entry.value as ArrayLike<number>) : [entry.value as number];
    const wrong = numbers.find((value) => !isIn(type, value));
    if (wrong !== undefined) fail(`${wrong} is not a number of type ${type}`);
  }
}

function checkTensors(path: string, tensors: readonly GgufTensor[]): void {
  const seen = new Set<string>();
  for (const { name, type, shape } of tensors) {
    const fail = (problem: string): never => {
      throw new FileFormatError(path, `tensor ${describe(name)}: ${problem}`, 'nothing was written');
    };
    const nameBytes = utf8.encode(name).length;
    if (seen.has(name)) fail('given twice');
    if (nameBytes === 0 || nameBytes > MOST_NAME_BYTES) fail(`its name has ${nameBytes} bytes, not 1 to 63`);
    const { blockSize } = GGUF_LAYOUTS[type];
    const isWhole = (shape[shape.length - 1] ?? 0) % blockSize === 0;
    const areSizes = shape.every((size) => Number.isSafeInteger(size) && size > 0);
    if (!areSizes || !isWhole || shape.length === 0 || shape.length > MOST_DIMENSIONS) {
      fail(`shape ${formatShape(shape)} of ${type} cannot be written`);
    }
    seen.add(name);
  }
}

/** Everything before the data, padded to where the data begins. */
function encodeHead(metadata: GgufMetadata, tensors: readonly GgufTensor[]): Uint8Array {
  const out = new Bytes();
  out.number('u32', MAGIC);
  out.number('u32', VERSION);
  out.u64(tensors.length);
  out.u64(metadata.size);
  for (const [key, entry] of metadata) putEntry(out, key, entry);
  let offset = 0;
  for (const tensor of tensors) {
    out.text(tensor.name);
    out.number('u32', tensor.shape.length);
    for (const size of [...tensor.shape].reverse()) out.u64(size);
    out.number('u32', GGUF_LAYOUTS[tensor.type].code);
    out.u64(offset);
    const bytes = ggufBytes(tensor);
    offset += bytes + paddingAfter(bytes);
  }
  out.zeros(paddingAfter(out.length));
  return out.take();
}

async function* contentOf(
  path: string,
  head: Uint8Array,
  tensors: readonly GgufTensor[],
  onPiece: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  yield head;
  onPiece(head.length);
  for (const tensor of tensors) {
    const expected = ggufBytes(tensor);
    const data = tensor.data();
    let written = 0;
    for await (const piece of data instanceof Uint8Array ? [data] : data) {
      written += piece.length;
      yield piece;
      onPiece(piece.length);
    }
    if (written !== expected) {
      const what = `${formatShape(tensor.shape)} of ${tensor.type} is ${expected} bytes, its data ${written}`;
      throw new FileFormatError(path, `tensor ${describe(tensor.name)}: ${what}`, 'nothing was written');
    }
    const padding = paddingAfter(written);
    if (padding) yield new Uint8Array(padding);
    onPiece(padding);
  }
}

/**
 * Writes a GGUF file, all of it or nothing: aside, then renamed over `path`. Metadata and tensors keep their order.
 * @returns bytes of the file
 * @throws FileFormatError for a key or name that readers refuse, a number or shape that cannot be, data of another
 * length, a full disk
 */
export async function writeGguf(
  files: FileSystem,
  path: string,
  metadata: GgufMetadata,
  tensors: readonly GgufTensor[],
  { onProgress }: WriteGgufOptions = {},
): Promise<number> {
  checkMetadata(path, metadata);
  checkTensors(path, tensors);
  const head = encodeHead(metadata, tensors);
  const total = tensors.map(ggufBytes).reduce((sum, bytes) => sum + bytes + paddingAfter(bytes), head.length);
  let written = 0;
  const onPiece = (bytes: number) => {
    written += bytes;
    onProgress?.(written, total);
  };
  await files.writeAtomic(path, contentOf(path, head, tensors, onPiece));
  return total;
}
