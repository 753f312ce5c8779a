import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { CheckpointError, FileFormatError, KraitError } from '../core/index.ts';
import { BlobFileSystem } from '../platform/browser/index.ts';
import { openSafetensors } from './safetensors.ts';
import { type Header, makeEntries, makeFile, VALID, VALID_DATA } from './testing/safetensors-cases.ts';

const PATH = 'm/model.safetensors';
const open = (bytes: Uint8Array) => openSafetensors(new BlobFileSystem([[PATH, bytes]]), PATH);

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<{ bytes: number[]; sizes: number[] }> {
  const bytes: number[] = [];
  const sizes: number[] = [];
  for await (const chunk of chunks) {
    bytes.push(...chunk);
    sizes.push(chunk.length);
  }
  return { bytes, sizes };
}

describe('reading', () => {
  test('tensors, metadata, and every way to their bytes', async () => {
    const file = await open(makeEntries(VALID, VALID_DATA));
    assert.deepEqual([...file.tensors.keys()], ['a', 'b']);
    assert.deepEqual(file.metadata, { format: 'pt' });
    const { begin, end, dtype, shape } = file.info('b');
    assert.deepEqual([end - begin, dtype, shape], [4, 'BF16', [2]]);
    assert.deepEqual([...(await file.read('a'))], [...VALID_DATA.subarray(0, 16)]);
    const target = new Uint8Array(4);
    await file.readInto('b', target);
    assert.deepEqual([...target], [16, 17, 18, 19]);
    await assert.rejects(file.readInto('b', new Uint8Array(3)), /tensor b: expected a target of 4 bytes, got 3/);
    const { bytes, sizes } = await collect(file.stream('a', 7));
    assert.deepEqual(bytes, [...VALID_DATA.subarray(0, 16)]);
    assert.deepEqual(sizes, [4, 4, 4, 4], 'pieces are of whole elements');
    assert.deepEqual((await collect(file.stream('a', 8))).sizes, [8, 8]);
    await file.close();
  });

  test('a tensor that is absent or has another shape is named, with the nearest name', async () => {
    const file = await open(
      makeEntries({ 'layers.0.weight': { dtype: 'U8', shape: [1], data_offsets: [0, 1] } }, new Uint8Array(1)),
    );
    assert.throws(
      () => file.info('layers.0.weigth'),
      (error: CheckpointError) => {
        assert.ok(error instanceof CheckpointError);
        assert.match(error.message, /^m\/model\.safetensors: tensor layers\.0\.weigth: .*nearest: layers\.0\.weight/);
        return true;
      },
    );
    assert.throws(() => file.info('layers.0.weight', [2]), /expected \[2\], got \[1\]/);
    await assert.rejects(async () => file.read('nothing'), CheckpointError);
  });

  test('no tensors, empty tensors, scalars', async () => {
    assert.equal((await open(makeEntries({}))).tensors.size, 0);
    const header = {
      empty: { dtype: 'F32', shape: [0, 5], data_offsets: [0, 0] },
      scalar: { dtype: 'F16', shape: [], data_offsets: [0, 2] },
      last: { dtype: 'I8', shape: [0], data_offsets: [2, 2] },
    };
    const file = await open(makeEntries(header, new Uint8Array(2)));
    assert.equal((await file.read('empty')).length, 0);
    assert.equal((await file.read('scalar')).length, 2);
    assert.deepEqual((await collect(file.stream('last'))).sizes, []);
  });
});

const withA = (entry: unknown): Header => ({ a: entry });
const f32 = (shape: unknown, offsets: unknown) => withA({ dtype: 'F32', shape, data_offsets: offsets });
const bytes = (n: number) => new Uint8Array(n);

/** What is wrong, the file, what the error must say. */
const BROKEN: [string, Uint8Array, RegExp][] = [
  ['empty file', bytes(0), /0 bytes are too few/],
  ['seven bytes', bytes(7), /7 bytes are too few/],
  ['length 0', makeFile('{}', bytes(0), 0), /header length 0 is too short/],
  ['length 1', makeFile('{}', bytes(0), 1), /header length 1 is too short/],
  ['length beyond the file', makeFile('{}', bytes(0), 3), /header length 3 is more than the 2 bytes that follow/],
  [
    'length of 2^63',
    makeFile('{}', bytes(0), 2n ** 63n),
    /header length 9223372036854775808 is more than the 100000000/,
  ],
  [
    'length over the limit',
    makeFile('{}', bytes(0), 100_000_001),
    /header length 100000001 is more than the 100000000/,
  ],
  [
    'Git LFS pointer',
    new TextEncoder().encode('version https://git-lfs.github.com/spec/v1\n'),
    /Git LFS pointer.*git lfs pull/,
  ],
  ['zipped pickle', new TextEncoder().encode('PK\x03\x04aaaaaaaaaaaa'), /a PyTorch pickle/],
  ['bare pickle', Uint8Array.of(0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9), /a PyTorch pickle/],
  ['a length that begins like a pickle', makeFile('{}', bytes(0), 10_000_000), /header length 10000000 is more/],
  ['web page', new TextEncoder().encode('<!DOCTYPE html><html></html>'), /HTML/],
  ['not UTF-8', makeFile(Uint8Array.of(0x7b, 0xff, 0x7d)), /not valid UTF-8/],
  ['byte-order mark', makeFile('\uFEFF{}'), /starts with/],
  ['not JSON', makeFile('{"a":}'), /not valid JSON/],
  ['a list', makeFile('[]'), /starts with "\[", not with \{/],
  ['leading space', makeFile(' {}'), /starts with " "/],
  ['null bytes after', makeFile('{}\0\0'), /not valid JSON/],
  ['entry is a number', makeEntries(withA(1)), /tensor "a": expected an object.*got 1/],
  ['entry is null', makeEntries(withA(null)), /tensor "a": expected an object.*got null/],
  [
    'unknown dtype',
    makeEntries(withA({ dtype: 'F33', shape: [], data_offsets: [0, 4] }), bytes(4)),
    /unknown dtype "F33", known are BOOL, U8/,
  ],
  [
    'inherited dtype',
    makeEntries(withA({ dtype: 'constructor', shape: [], data_offsets: [0, 4] }), bytes(4)),
    /unknown dtype/,
  ],
  ['dtype absent', makeEntries(withA({ shape: [], data_offsets: [0, 4] }), bytes(4)), /unknown dtype nothing/],
  ['negative size', makeEntries(f32([-1], [0, 4]), bytes(4)), /integers >= 0, got \[-1\]/],
  ['fractional size', makeEntries(f32([1.5], [0, 6]), bytes(6)), /integers >= 0, got \[1\.5\]/],
  ['size as text', makeEntries(f32(['1'], [0, 4]), bytes(4)), /integers >= 0, got \["1"\]/],
  [
    'size of 2^53',
    makeFile('{"a":{"dtype":"F32","shape":[9007199254740992],"data_offsets":[0,4]}}', bytes(4)),
    /integers >= 0/,
  ],
  ['size of 1e400', makeFile('{"a":{"dtype":"F32","shape":[1e400],"data_offsets":[0,4]}}', bytes(4)), /integers >= 0/],
  ['overflowing product', makeEntries(f32([2 ** 30, 2 ** 30], [0, 4]), bytes(4)), /more elements than can be counted/],
  ['overflow before a zero', makeEntries(f32([2 ** 30, 2 ** 30, 0], [0, 0])), /more elements than can be counted/],
  ['shape is an object', makeEntries(f32({}, [0, 4]), bytes(4)), /shape must be a list/],
  ['one offset', makeEntries(f32([1], [4]), bytes(4)), /data_offsets must be two integers/],
  ['negative offset', makeEntries(f32([1], [-4, 0]), bytes(4)), /data_offsets must be two integers/],
  ['offsets reversed', makeEntries(f32([1], [4, 0]), bytes(4)), /end before they begin/],
  [
    'shape against offsets',
    makeEntries(f32([2], [0, 4]), bytes(4)),
    /shape \[2\] of F32 needs 8 bytes, data_offsets span 4/,
  ],
  [
    'half a byte',
    makeEntries(withA({ dtype: 'F4', shape: [3], data_offsets: [0, 2] }), bytes(2)),
    /not a whole number of bytes/,
  ],
  [
    'unknown key',
    makeEntries(withA({ dtype: 'F32', shape: [1], data_offsets: [0, 4], stride: [1] }), bytes(4)),
    /unknown key "stride"/,
  ],
  ['beyond the data', makeEntries(f32([2], [0, 8]), bytes(4)), /truncated: its tensors need 8 bytes of data, it has 4/],
  ['far beyond', makeEntries(f32([2 ** 40], [0, 2 ** 42]), bytes(4)), /truncated/],
  ['trailing bytes', makeEntries(f32([1], [0, 4]), bytes(7)), /3 trailing bytes/],
  ['trailing bytes only', makeEntries({}, bytes(1)), /1 trailing bytes/],
  ['hole at the start', makeEntries(f32([1], [4, 8]), bytes(8)), /\[4, 8\] leave a hole of 4 bytes/],
  [
    'overlap',
    makeEntries(
      { a: { dtype: 'U8', shape: [4], data_offsets: [0, 4] }, b: { dtype: 'U8', shape: [4], data_offsets: [2, 6] } },
      bytes(6),
    ),
    /tensor "b": data_offsets \[2, 6\] overlap/,
  ],
  [
    'same place twice',
    makeEntries(
      { a: { dtype: 'U8', shape: [4], data_offsets: [0, 4] }, b: { dtype: 'U8', shape: [4], data_offsets: [0, 4] } },
      bytes(4),
    ),
    /overlap/,
  ],
  [
    'hole between',
    makeEntries(
      { a: { dtype: 'U8', shape: [1], data_offsets: [0, 1] }, b: { dtype: 'U8', shape: [1], data_offsets: [2, 3] } },
      bytes(3),
    ),
    /hole of 1 bytes/,
  ],
  [
    'name twice',
    makeFile(
      '{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\\u0061":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
    ),
    /"a" stands there twice/,
  ],
  [
    'key twice',
    makeFile('{"a":{"dtype":"U8","dtype":"I8","shape":[0],"data_offsets":[0,0]}}'),
    /"dtype" stands there twice/,
  ],
  ['metadata not text', makeEntries({ __metadata__: { epoch: 3 } }), /__metadata__ must map text to text/],
  ['metadata a list', makeEntries({ __metadata__: [] }), /__metadata__ must map/],
];

describe('refusals', () => {
  for (const [name, file, expected] of BROKEN) {
    test(name, async () => {
      await assert.rejects(open(file), (error: FileFormatError) => {
        assert.ok(error instanceof FileFormatError, String(error.stack));
        assert.ok(error.message.startsWith(`${PATH}: `), error.message);
        assert.match(error.message, expected);
        assert.ok(!error.message.includes('\n') && error.remedy, error.message);
        return true;
      });
    });
  }

  test('a file cut off anywhere', async () => {
    const whole = makeEntries(VALID, VALID_DATA);
    for (let length = 0; length < whole.length; length++) {
      await assert.rejects(open(whole.slice(0, length)), FileFormatError, `${length} bytes`);
    }
  });

  test('any bytes changed: read or refused, never another error', async () => {
    const whole = makeEntries(VALID, VALID_DATA);
    const change = fc.tuple(fc.nat(whole.length - 1), fc.nat(255));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
        const bytes = whole.slice();
        for (const [at, value] of changes) bytes[at] = value;
        try {
          const file = await open(bytes);
          for (const name of file.tensors.keys()) await file.read(name);
        } catch (error) {
          assert.ok(error instanceof KraitError, String((error as Error).stack));
        }
      }),
      { numRuns: 500, seed: 7 },
    );
  });
});
