import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CheckpointError, FileFormatError } from '../core/index.ts';
import { BlobFileSystem } from '../platform/browser/index.ts';
import { openCheckpoint } from './checkpoint.ts';
import { writeSafetensors } from './safetensors-writer.ts';

const F32 = (values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
const entry = (name: string, values: number[]) => ({
  name,
  dtype: 'F32' as const,
  shape: [values.length],
  data: () => F32(values),
});

async function makeShards(weightMap: unknown, shards: Record<string, [string, number[]][]>): Promise<BlobFileSystem> {
  const files = new BlobFileSystem();
  for (const [file, tensors] of Object.entries(shards)) {
    await writeSafetensors(
      files,
      `m/${file}`,
      tensors.map(([name, values]) => entry(name, values)),
    );
  }
  await files.writeAtomic(
    'm/model.safetensors.index.json',
    JSON.stringify({ metadata: { total_size: 1 }, weight_map: weightMap }),
  );
  return files;
}

test('one file, or a file by its path', async () => {
  const files = new BlobFileSystem();
  await writeSafetensors(files, 'm/model.safetensors', [entry('a', [1, 2])]);
  for (const path of ['m', 'm/', 'm/model.safetensors']) {
    const checkpoint = await openCheckpoint(files, path);
    assert.deepEqual([...(await checkpoint.readAs('a', 'f32'))], [1, 2]);
    assert.equal(checkpoint.fileOf('a'), 'm/model.safetensors');
    await checkpoint.close();
  }
});

test('shards are one source', async () => {
  const weightMap = { a: 'model-1.safetensors', b: 'model-2.safetensors' };
  const files = await makeShards(weightMap, {
    'model-1.safetensors': [['a', [1]]],
    'model-2.safetensors': [
      ['b', [2, 3]],
      ['forgotten', [4]],
    ],
  });
  const checkpoint = await openCheckpoint(files, 'm');
  assert.deepEqual([...checkpoint.tensors.keys()].sort(), ['a', 'b', 'forgotten']);
  assert.deepEqual(checkpoint.metadata, { format: 'pt' });
  assert.deepEqual(checkpoint.info('b', [2]).shape, [2]);
  assert.equal(checkpoint.fileOf('b'), 'm/model-2.safetensors');
  assert.deepEqual([...(await checkpoint.readAs('b', 'f32'))], [2, 3]);
  assert.deepEqual([...(await checkpoint.read('a'))], [...F32([1])]);
  const target = new Uint8Array(4);
  await checkpoint.readInto('forgotten', target);
  assert.deepEqual([...target], [...F32([4])]);
  for await (const chunk of checkpoint.stream('b', 4)) assert.equal(chunk.length, 4);
  assert.throws(() => checkpoint.info('b', [3]), /m\/model-2\.safetensors: tensor b: expected \[3\], got \[2\]/);
  await assert.rejects(checkpoint.read('c'), CheckpointError);
  await checkpoint.close();
});

test('shards that are missing, elsewhere, or contradict the index', async () => {
  const one = { 'model-1.safetensors': [['a', [1]]] as [string, number[]][] };
  const cases: [unknown, Record<string, [string, number[]][]>, RegExp][] = [
    [
      { a: 'model-1.safetensors', b: 'model-2.safetensors' },
      one,
      /m\/model-2\.safetensors: missing shard, one of 2 .*fetch the model again/,
    ],
    [
      { a: '../model-1.safetensors' },
      one,
      /weight_map: tensor "a": expected the name of a \.safetensors file, got "\.\.\/model-1/,
    ],
    [{ a: 'x.bin' }, one, /got "x\.bin"/],
    [{ a: 3 }, one, /got 3/],
    [{}, one, /weight_map must map tensor names to files, got \{\}/],
    [[], one, /weight_map must map/],
    [undefined, one, /weight_map must map.*got nothing/],
    [{ a: 'model-1.safetensors', c: 'model-1.safetensors' }, one, /tensor "c" is not in model-1\.safetensors/],
    [
      { a: 'model-1.safetensors', c: 'model-2.safetensors' },
      {
        'model-1.safetensors': [
          ['a', [1]],
          ['x', [1]],
        ],
        'model-2.safetensors': [
          ['c', [1]],
          ['x', [1]],
        ],
      },
      /tensor "x" is in two shards/,
    ],
  ];
  for (const [weightMap, shards, expected] of cases) {
    await assert.rejects(openCheckpoint(await makeShards(weightMap, shards), 'm'), (error: Error) => {
      assert.ok(error instanceof FileFormatError);
      assert.match(error.message, expected);
      return true;
    });
  }
});

test('folders without weights: the way out of a pickle, and what is there', async () => {
  const pickle = new BlobFileSystem([
    ['m/config.json', '{}'],
    ['m/pytorch_model.bin', 'x'],
  ]);
  await assert.rejects(openCheckpoint(pickle, 'm'), (error: Error) => {
    assert.ok(error instanceof FileFormatError);
    assert.match(error.message, /^m\/pytorch_model\.bin: weights as a PyTorch pickle.*torch\.load.*save_file.*-hf/);
    assert.ok(!error.message.includes('\n'));
    return true;
  });
  const other = new BlobFileSystem([['m/adapter_model.safetensors', 'x']]);
  await assert.rejects(
    openCheckpoint(other, 'm'),
    /no model\.safetensors or model\.safetensors\.index\.json \(it has adapter_model\.safetensors\)/,
  );
  await assert.rejects(openCheckpoint(other, 'n'), /n: no such folder/);
  await assert.rejects(openCheckpoint(new BlobFileSystem([['n', 'x']]), 'n'), /n: not a folder/);
});
