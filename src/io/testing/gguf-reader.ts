/**
 * Reads a GGUF file back, strictly, for tests. Written from the format's description alone, apart from the writer:
 * what one gets wrong the other refuses.
 */
import assert from 'node:assert/strict';
import { fromBf16, fromF16 } from '../../core/index.ts';

export interface ReadTensor {
  /** Outermost axis first. */
  readonly shape: readonly number[];
  readonly code: number;
  /** In the file. */
  readonly begin: number;
  readonly data: Uint8Array;
}

export interface ReadGguf {
  readonly metadata: ReadonlyMap<string, unknown>;
  /** In the order of the file. */
  readonly tensors: ReadonlyMap<string, ReadTensor>;
}

const ALIGNMENT = 32;

class Cursor {
  at = 0;
  private readonly view: DataView;

  constructor(readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  private step(count: number): number {
    this.at += count;
    return this.at - count;
  }

  u32 = (): number => this.view.getUint32(this.step(4), true);
  u64 = (): number => Number(this.view.getBigUint64(this.step(8), true));

  text(): string {
    const length = this.u64();
    const from = this.step(length);
    return new TextDecoder('utf-8', { fatal: true }).decode(this.bytes.subarray(from, from + length));
  }

  value(type: number): unknown {
    switch (type) {
      case 4:
        return this.u32();
      case 5:
        return this.view.getInt32(this.step(4), true);
      case 6:
        return this.view.getFloat32(this.step(4), true);
      case 7: {
        const byte = this.view.getUint8(this.step(1));
        assert.ok(byte < 2, `a bool of ${byte}`);
        return byte === 1;
      }
      case 8:
        return this.text();
      case 9: {
        const of = this.u32();
        return Array.from({ length: this.u64() }, () => this.value(of));
      }
      default:
        throw new Error(`metadata of type ${type}`);
    }
  }
}

/** Elements and bytes of a block, by the type's number. */
const BLOCKS: Readonly<Record<number, readonly [number, number]>> = { 0: [1, 4], 1: [1, 2], 8: [32, 34], 30: [1, 2] };

const align = (at: number): number => Math.ceil(at / ALIGNMENT) * ALIGNMENT;

/** Everything in a GGUF file; an assertion fails where it breaks the format. */
export function readGguf(content: Uint8Array): ReadGguf {
  const bytes = new Uint8Array(content); // a Buffer's slices would share its memory
  const cursor = new Cursor(bytes);
  assert.equal(String.fromCharCode(...bytes.subarray(0, 4)), 'GGUF');
  cursor.at = 4;
  assert.equal(cursor.u32(), 3, 'version');
  const [tensorCount, entryCount] = [cursor.u64(), cursor.u64()];
  const metadata = new Map<string, unknown>();
  for (let i = 0; i < entryCount; i++) {
    const key = cursor.text();
    assert.ok(!metadata.has(key), `${key} twice`);
    metadata.set(key, cursor.value(cursor.u32()));
  }
  const infos = Array.from({ length: tensorCount }, () => {
    const name = cursor.text();
    const shape = Array.from({ length: cursor.u32() }, cursor.u64).reverse();
    return { name, shape, code: cursor.u32(), offset: cursor.u64() };
  });
  const start = align(cursor.at);
  assert.ok(bytes.subarray(cursor.at, start).every((byte) => byte === 0));
  const tensors = new Map<string, ReadTensor>();
  let end = start;
  for (const { name, shape, code, offset } of infos) {
    const [blockSize, blockBytes] = BLOCKS[code];
    const begin = start + offset;
    assert.equal(begin, align(end), `${name} begins at ${begin}`);
    assert.ok(bytes.subarray(end, begin).every((byte) => byte === 0));
    assert.equal(shape[shape.length - 1] % blockSize, 0, `${name}: rows of whole blocks`);
    end = begin + (shape.reduce((product, size) => product * size, 1) / blockSize) * blockBytes;
    tensors.set(name, { shape, code, begin, data: bytes.slice(begin, end) });
  }
  assert.equal(tensors.size, tensorCount);
  assert.equal(bytes.length, align(end), 'length of the file');
  return { metadata, tensors };
}

/** A tensor's values. */
export function valuesOf({ code, data }: Pick<ReadTensor, 'code' | 'data'>): Float32Array {
  if (code === 0) return new Float32Array(data.slice().buffer);
  if (code === 1) return Float32Array.from(new Uint16Array(data.slice().buffer), fromF16);
  if (code === 30) return Float32Array.from(new Uint16Array(data.slice().buffer), fromBf16);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const [blockSize, blockBytes] = BLOCKS[8];
  return Float32Array.from({ length: (data.length / blockBytes) * blockSize }, (_, i) => {
    const at = Math.floor(i / blockSize) * blockBytes;
    return fromF16(view.getUint16(at, true)) * view.getInt8(at + 2 + (i % blockSize));
  });
}
