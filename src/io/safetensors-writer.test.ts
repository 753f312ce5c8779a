import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { BlobFileSystem } from '../platform/browser/index.ts';
import { openSafetensors } from './safetensors.ts';
import { type TensorEntry, writeSafetensors } from './safetensors-writer.ts';
import { STORED_DTYPES, storedBits } from './stored-dtype.ts';

const bytes = (n: number) => new Uint8Array(n);

const entry = (name: string, dtype: TensorEntry['dtype'], shape: number[], data: Uint8Array): TensorEntry => ({
  name,
  dtype,
  shape,
  data: () => data,
});

describe('writing', () => {
  test('what is written is read back, aligned, the same for any order', async () => {
    const shapes = fc.array(fc.nat(4), { maxLength: 3 });
    const whole = STORED_DTYPES.filter((dtype) => storedBits(dtype) >= 8);
    const tensors = fc.uniqueArray(
      fc.record({
        name: fc.string({ minLength: 1 }),
        dtype: fc.constantFrom(...whole),
        shape: shapes,
        seed: fc.nat(255),
      }),
      { selector: (item) => item.name, maxLength: 8 },
    );
    await fc.assert(
      fc.asyncProperty(tensors, async (list) => {
        const entries = list
          .filter(({ name }) => name !== '__metadata__')
          .map(({ name, dtype, shape, seed }) => {
            const size = (shape.reduce((n, d) => n * d, 1) * storedBits(dtype)) / 8;
            return entry(name, dtype, shape, new Uint8Array(size).fill(seed));
          });
        const files = new BlobFileSystem();
        await writeSafetensors(files, 'x', entries);
        await writeSafetensors(files, 'y', [...entries].reverse());
        const file = await openSafetensors(files, 'x');
        assert.deepEqual(file.metadata, { format: 'pt' });
        assert.equal(file.tensors.size, entries.length);
        for (const { name, dtype, shape, data } of entries) {
          const info = file.info(name);
          assert.deepEqual([info.dtype, info.shape], [dtype, shape]);
          assert.equal(info.begin % (storedBits(dtype) / 8), 0);
          assert.deepEqual(await file.read(name), data());
        }
        const bytes = async (path: string) => (await files.open(path)).read(0, (await files.status(path))!.size);
        assert.deepEqual(await bytes('x'), await bytes('y'));
      }),
      { numRuns: 60, seed: 11 },
    );
  });

  test('names that are special to JavaScript objects', async () => {
    const files = new BlobFileSystem();
    const names = ['__proto__', 'constructor', '10', '9', 'é"\\\n'];
    await writeSafetensors(
      files,
      'x',
      names.map((name, i) => entry(name, 'U8', [1], Uint8Array.of(i))),
      {},
    );
    const file = await openSafetensors(files, 'x');
    for (const [i, name] of names.entries()) assert.deepEqual([...(await file.read(name))], [i]);
    assert.deepEqual(file.metadata, {});
  });

  test('data in pieces, asked for one tensor at a time', async () => {
    const files = new BlobFileSystem();
    const asked: string[] = [];
    const lazy = (name: string): TensorEntry => ({
      name,
      dtype: 'U8',
      shape: [3],
      async *data() {
        asked.push(name);
        yield Uint8Array.of(1, 2);
        yield Uint8Array.of(3);
      },
    });
    await writeSafetensors(files, 'x', [lazy('b'), lazy('a')]);
    assert.deepEqual(asked, ['a', 'b']);
    assert.deepEqual([...(await (await openSafetensors(files, 'x')).read('b'))], [1, 2, 3]);
  });

  test('refusals leave no file', async () => {
    const files = new BlobFileSystem();
    const bad: [TensorEntry[], RegExp][] = [
      [[entry('a', 'F32', [2], bytes(4))], /x: tensor "a": \[2\] of F32 is 8 bytes, its data 4; nothing was written/],
      [[entry('a', 'U8', [1], bytes(1)), entry('a', 'U8', [1], bytes(1))], /given twice/],
      [[entry('__metadata__', 'U8', [1], bytes(1))], /reserved/],
      [[entry('a', 'U8', [-1], bytes(1))], /cannot be written/],
      [[entry('a', 'F4', [3], bytes(2))], /cannot be written/],
    ];
    for (const [entries, expected] of bad) {
      await assert.rejects(writeSafetensors(files, 'x', entries), expected);
      assert.equal(await files.exists('x'), false);
    }
  });
});
