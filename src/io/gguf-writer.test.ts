import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { BlobFileSystem } from '../platform/browser/index.ts';
import { GGUF_LAYOUTS, type GgufType } from './gguf-types.ts';
import { type GgufMetadata, type GgufTensor, type GgufValue, ggufBytes, writeGguf } from './gguf-writer.ts';
import { readGguf } from './testing/gguf-reader.ts';

const contentOf = async (files: BlobFileSystem, path: string) =>
  (await files.open(path)).read(0, (await files.status(path))!.size);

const tensor = (name: string, shape: number[], type: GgufType = 'f32', fill = 1): GgufTensor => ({
  name,
  type,
  shape,
  data: () => new Uint8Array(ggufBytes({ type, shape })).fill(fill),
});

const NONE: GgufMetadata = new Map();

describe('a GGUF file', () => {
  test('byte for byte', async () => {
    const files = new BlobFileSystem();
    const metadata: GgufMetadata = new Map([['a.b', { type: 'string', value: 'é' }]]);
    const bytes = await writeGguf(files, 'x', metadata, [tensor('t', [2, 3], 'f16', 7)]);
    const expected = [
      ...[0x47, 0x47, 0x55, 0x46, 3, 0, 0, 0], // GGUF, version 3
      ...[1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], // one tensor, one entry
      ...[3, 0, 0, 0, 0, 0, 0, 0, 0x61, 0x2e, 0x62], // a.b
      ...[8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0xc3, 0xa9], // string é
      ...[1, 0, 0, 0, 0, 0, 0, 0, 0x74, 2, 0, 0, 0], // t, two axes
      ...[3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0], // 3 innermost, 2
      ...[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], // f16, at offset 0
      ...new Array(6).fill(0), // 90 -> 96
      ...new Array(12).fill(7),
      ...new Array(20).fill(0),
    ];
    assert.deepEqual([...(await contentOf(files, 'x'))], expected);
    assert.equal(bytes, expected.length);
  });

  test('what is written is read back, aligned', async () => {
    const text = fc.string({ unit: 'grapheme' });
    const value = fc.oneof(
      fc.nat(0xffffffff).map((n): GgufValue => ({ type: 'u32', value: n })),
      fc.integer().map((n): GgufValue => ({ type: 'i32', value: n })),
      fc.float({ noNaN: true }).map((n): GgufValue => ({ type: 'f32', value: n })),
      fc.boolean().map((b): GgufValue => ({ type: 'bool', value: b })),
      text.map((s): GgufValue => ({ type: 'string', value: s })),
      fc.array(text).map((list): GgufValue => ({ type: 'array', of: 'string', value: list })),
      fc.array(fc.integer()).map((list): GgufValue => ({ type: 'array', of: 'i32', value: list })),
    );
    const key = fc.stringMatching(/^[a-z0-9_]{1,6}(\.[a-z0-9_]{1,6}){0,2}$/);
    const tensors = fc.uniqueArray(
      fc.record({
        name: fc.string({ minLength: 1, maxLength: 15 }),
        type: fc.constantFrom<GgufType>('f32', 'f16', 'bf16', 'q8_0'),
        outer: fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 3 }),
        inner: fc.integer({ min: 1, max: 5 }),
        fill: fc.nat(255),
      }),
      { selector: (item) => item.name, maxLength: 6 },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(key, value)), tensors, async (entries, list) => {
        const files = new BlobFileSystem();
        const metadata = new Map(entries);
        const given = list.map(({ name, type, outer, inner, fill }) =>
          tensor(name, [...outer, inner * GGUF_LAYOUTS[type].blockSize], type, fill),
        );
        await writeGguf(files, 'x', metadata, given);
        const file = readGguf(await contentOf(files, 'x'));
        assert.deepEqual(file.metadata, new Map([...metadata].map(([k, entry]) => [k, entry.value])));
        assert.deepEqual(
          [...file.tensors.keys()],
          given.map(({ name }) => name),
        );
        for (const { name, type, shape, data } of given) {
          const got = file.tensors.get(name)!;
          assert.deepEqual([got.shape, got.code], [shape, GGUF_LAYOUTS[type].code]);
          assert.equal(got.begin % 32, 0);
          assert.deepEqual(got.data, data());
        }
      }),
      { numRuns: 80, seed: 4 },
    );
  });

  test('data in pieces, asked for one tensor at a time, with progress to the end', async () => {
    const files = new BlobFileSystem();
    const log: string[] = [];
    const lazy = (name: string): GgufTensor => ({
      name,
      type: 'f32',
      shape: [3],
      async *data() {
        log.push(`${name} begins`);
        yield Uint8Array.of(1, 2, 3, 4, 5);
        yield Uint8Array.of(6, 7, 8, 9, 10, 11, 12);
        log.push(`${name} ends`);
      },
    });
    const shares: number[] = [];
    const onProgress = (written: number, total: number) => shares.push(written / total);
    await writeGguf(files, 'x', NONE, [lazy('b'), lazy('a')], { onProgress });
    assert.deepEqual(log, ['b begins', 'b ends', 'a begins', 'a ends']);
    assert.equal(shares.at(-1), 1);
    assert.deepEqual(
      [...shares].sort((p, q) => p - q),
      shares,
    );
    const { tensors } = readGguf(await contentOf(files, 'x'));
    assert.deepEqual([...tensors.get('a')!.data], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  });

  test('an empty file has its head alone', async () => {
    const files = new BlobFileSystem();
    await writeGguf(files, 'x', NONE, []);
    assert.deepEqual(readGguf(await contentOf(files, 'x')), { metadata: new Map(), tensors: new Map() });
  });

  test('refusals leave what was there', async () => {
    const files = new BlobFileSystem();
    await files.writeAtomic('x', 'as it was');
    const short: GgufTensor = { ...tensor('t', [2]), data: () => new Uint8Array(4) };
    const entry = (key: string, value: GgufValue): GgufMetadata => new Map([[key, value]]);
    const bad: [GgufMetadata, GgufTensor[], RegExp][] = [
      [NONE, [short], /x: tensor "t": \[2\] of f32 is 8 bytes, its data 4; nothing was written/],
      [NONE, [tensor('t', [1]), tensor('t', [1])], /tensor "t": given twice/],
      [NONE, [tensor('n'.repeat(64), [1])], /its name has 64 bytes, not 1 to 63/],
      [NONE, [tensor('', [1])], /its name has 0 bytes/],
      [NONE, [tensor('t', [2, 33], 'q8_0')], /shape \[2, 33\] of q8_0 cannot be written/],
      [NONE, [tensor('t', [0])], /cannot be written/],
      [NONE, [tensor('t', [])], /cannot be written/],
      [NONE, [tensor('t', [1, 1, 1, 1, 1])], /cannot be written/],
      [entry('Über', { type: 'u32', value: 1 }), [], /metadata "Über": a key is words/],
      [entry('a', { type: 'u32', value: -1 }), [], /metadata "a": -1 is not a number of type u32/],
      [entry('a', { type: 'array', of: 'i32', value: [1, 2 ** 31] }), [], /2147483648 is not a number of type i32/],
      [entry('a', { type: 'u32', value: 1.5 }), [], /1\.5 is not a number of type u32/],
    ];
    for (const [metadata, tensors, expected] of bad) {
      await assert.rejects(writeGguf(files, 'x', metadata, tensors), expected);
      assert.equal(await files.readText('x'), 'as it was');
    }
  });
});
