import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { EnvironmentError, FileFormatError, UsageError } from '../core/index.ts';
import { readRecords } from '../io/index.ts';
import { NodeFileSystem } from '../platform/node/index.ts';
import type { DataSource } from './data-source.ts';
import { type DatasetName, DatasetReader, findDataset, findSplit, writeDataset } from './datasets.ts';
import { checkDatasets } from './testing/check-datasets.ts';
import { smallPackages } from './testing/small-packages.ts';

const files = new NodeFileSystem();
const work = mkdtempSync(join(tmpdir(), 'krait-datasets-'));
after(() => rmSync(work, { recursive: true, force: true }));

checkDatasets('data sets of small packages', smallPackages, {
  records: {
    spam: { train: 60, validation: 300, test: 1000 },
    sotu: { train: 53, validation: 2 },
    'moby-dick': { train: 58, validation: 2 },
    'wordnet-glosses': { train: 16, validation: 1 },
    mail: { train: 60, validation: 300 },
  },
  labels: [
    { ham: 35, spam: 25 },
    { ham: 177, spam: 123 },
    { ham: 604, spam: 396 },
  ],
});

/** A package of short chapters, of a version, with `change` made to its files. */
function smallSource(change: Record<string, string | null> = {}): DataSource {
  const chapters = Array.from({ length: 9 }, (_, i) => [
    `data/chapter_${i}.txt`,
    `Chapter ${i}.\u2028\r\n"Ahoy!" \ud800`,
  ]);
  const content: Record<string, string | null> = Object.fromEntries([
    ...chapters,
    ['package.json', '{"version":"1.2.3"}'],
  ]);
  Object.assign(content, change);
  const missing = (path: string) => new EnvironmentError(`${path} is not there`, ['npm i -D it']);
  return {
    list: async (_, folder) =>
      Object.keys(content)
        .filter((path) => path.startsWith(`${folder}/`))
        .map((path) => path.slice(folder.length + 1)),
    read: async (_, path) => {
      const text = content[path];
      if (text === null || text === undefined) throw missing(path);
      return new TextEncoder().encode(text);
    },
  };
}

describe('writing a data set', () => {
  const info = findDataset('moby-dick');

  it('survives odd characters', async () => {
    const { files: written, version } = await writeDataset(
      new DatasetReader(smallSource()),
      info,
      files,
      join(work, 'odd'),
    );
    assert.equal(version, '1.2.3');
    assert.equal(
      written.reduce((sum, { records }) => sum + records, 0),
      9,
    );
    for await (const { record } of readRecords(files, written[0].path)) {
      assert.match(record.kind === 'text' ? record.text : '', /^Chapter \d\.\n"Ahoy!" \ufffd$/);
    }
  });

  it('writes one split alone', async () => {
    const written = await writeDataset(
      new DatasetReader(smallSource()),
      info,
      files,
      join(work, 'alone'),
      'validation',
    );
    assert.deepEqual(
      written.files.map(({ split }) => split),
      ['validation'],
    );
    assert.deepEqual(await files.list(join(work, 'alone')), ['SOURCE.txt', 'validation.jsonl']);
  });

  it('leaves no training records where the others could not be written', async () => {
    const names: string[] = [];
    const full = {
      writeAtomic: async (path: string) => {
        names.push(path.slice(path.lastIndexOf('/') + 1));
        if (path.endsWith('validation.jsonl')) throw new FileFormatError(path, 'the disk is full');
      },
    };
    await assert.rejects(
      writeDataset(new DatasetReader(smallSource()), info, full, 'anywhere'),
      /anywhere\/validation\.jsonl: the disk is full/,
    );
    assert.deepEqual(names, ['SOURCE.txt', 'validation.jsonl']);
  });

  it('writes nothing where the package is missing or broken', async () => {
    const never = { writeAtomic: () => assert.fail('something was written') };
    const write = (change: Record<string, string | null>, name: DatasetName = 'moby-dick') =>
      writeDataset(new DatasetReader(smallSource(change)), findDataset(name), never, 'anywhere');
    await assert.rejects(write({ 'package.json': null }), EnvironmentError);
    await assert.rejects(write({ 'data/chapter_3.txt': null }), EnvironmentError);
    for (const text of ['{"version":3}', '[]', '{"vers', '']) {
      await assert.rejects(
        write({ 'package.json': text }),
        /datasets-moby-dick\/package\.json: states no version; npm i/,
      );
    }
    const bare = { 'dict/data.noun': '00001740 03 n 01 entity 0 000 | that which is' };
    await assert.rejects(write(bare, 'wordnet-glosses'), /data\.noun: has no licence at its head; reinstall/);
  });
});

describe('names', () => {
  it('that are not known are answered with the nearest, and all', () => {
    const refuses = (work: () => unknown, pattern: RegExp) =>
      assert.throws(work, (error: Error) => error instanceof UsageError && pattern.test(error.message));
    refuses(() => findDataset('mobydik'), /"mobydik" \(did you mean moby-dick\?\); there are spam, sotu, moby-dick, /);
    for (const name of ['toString', '__proto__', '', 'imdb']) refuses(() => findDataset(name), /; there are spam, /);
    refuses(() => findSplit(findDataset('spam'), 'tset'), /no split "tset" \(did you mean test\?\); there are train, /);
    refuses(() => findSplit(findDataset('sotu'), 'test'), /sotu has no split "test"; there are train, validation$/);
  });
});
