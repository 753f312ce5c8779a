import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { NodeFileSystem } from '../platform/node/index.ts';
import { readParquet } from './parquet.ts';
import { parquetFile } from './testing/parquet-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'krait-parquet-'));
after(() => rmSync(folder, { recursive: true }));
const files = new NodeFileSystem();

it('parquet: rows come as they were written, integers as numbers', async () => {
  const rows = Array.from({ length: 300 }, (_, i) => ({
    question: `what, ${'é😀'.repeat(i % 5)}?`,
    choices: { text: ['a', `b${i}`], label: ['A', 'B'] },
    answer: i % 4,
  }));
  const path = join(folder, 'a.parquet');
  writeFileSync(path, parquetFile(rows));
  assert.deepEqual(await readParquet(files, path), rows);
});

it('parquet: another file, and one that is cut, are named', async () => {
  const path = join(folder, 'b.parquet');
  writeFileSync(path, 'no parquet at all');
  await assert.rejects(readParquet(files, path), /b\.parquet: not a parquet file that can be read: .*; fetch it again/);
  writeFileSync(path, parquetFile([{ a: 'x' }]).slice(0, 30));
  await assert.rejects(readParquet(files, path), /b\.parquet: not a parquet file/);
});
