import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { EnvironmentError, FileFormatError, UsageError } from '../core/index.ts';
import { readRecords } from '../io/index.ts';
import { NodeFileSystem, NpmDataSource } from '../platform/node/index.ts';
import type { DataSource } from './data-source.ts';
import {
  DATASET_NAMES,
  type DatasetName,
  DatasetReader,
  type DatasetSplit,
  type DatasetSplits,
  findDataset,
  findSplit,
  listDatasets,
  splitSizes,
  writeDataset,
} from './datasets.ts';
import { OPENING } from './spam.ts';
import { normalizeText } from './text-form.ts';

const files = new NodeFileSystem();
const work = mkdtempSync(join(tmpdir(), 'krait-datasets-'));
after(() => rmSync(work, { recursive: true, force: true }));

const reader = new DatasetReader(new NpmDataSource());
const loaded = new Map<DatasetName, DatasetSplits>();
for (const name of DATASET_NAMES) loaded.set(name, await reader.load(name));

/** Of the versions in package-lock.json: a change moves mails or documents between the splits, and with them all scores. */
const RECORDS: Record<DatasetName, Partial<Record<DatasetSplit, number>>> = {
  spam: { train: 3771, validation: 300, test: 1000 },
  sotu: { train: 227, validation: 6 },
  'moby-dick': { train: 135, validation: 3 },
  'wordnet-glosses': { train: 5856, validation: 120 },
  mail: { train: 3771, validation: 300 },
};

const textsOf = (name: DatasetName, split: DatasetSplit) =>
  loaded
    .get(name)!
    .get(split)!
    .map(({ text }) => text);

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

describe('data sets', () => {
  it('have the splits that the list states, of a size that does not move', () => {
    for (const { name, splits } of listDatasets()) {
      const sizes = splitSizes(loaded.get(name)!);
      assert.deepEqual([...sizes.keys()], splits);
      assert.deepEqual(Object.fromEntries([...sizes].map(([split, { records }]) => [split, records])), RECORDS[name]);
    }
    const labels = [...splitSizes(loaded.get('spam')!).values()].map((size) => size.labels);
    assert.deepEqual(labels, [
      { ham: 2876, spam: 895 },
      { ham: 229, spam: 71 },
      { ham: 767, spam: 233 },
    ]);
    assert.equal(splitSizes(loaded.get('mail')!).get('train')!.labels, undefined);
  });

  it('share no text between their splits, and mail none with the test split of spam', () => {
    for (const name of DATASET_NAMES) {
      const texts = [...loaded.get(name)!.keys()].flatMap((split) => textsOf(name, split));
      assert.equal(new Set(texts).size, texts.length, name);
      assert.ok(
        texts.every((text) => text.trim().length >= 20),
        name,
      );
    }
    // Whole texts differ in any case; `splitMails` promises more, mails that open alike are one.
    const opening = (text: string) => normalizeText(text).slice(0, OPENING + 'subject '.length);
    const unseen = new Set(textsOf('spam', 'test').map(opening));
    const mail = [...textsOf('mail', 'train'), ...textsOf('mail', 'validation')];
    assert.deepEqual(
      mail.filter((text) => unseen.has(opening(text))),
      [],
    );
  });

  it('are the same when they are read again', async () => {
    for (const name of ['sotu', 'moby-dick'] as const) {
      assert.deepEqual(await new DatasetReader(new NpmDataSource()).load(name), loaded.get(name));
    }
  });

  it('come back from their files as they were', async () => {
    for (const info of listDatasets()) {
      const folder = join(work, info.name);
      const written = await writeDataset(reader, info, files, folder);
      assert.deepEqual(await files.list(folder), ['SOURCE.txt', ...info.splits.map((s) => `${s}.jsonl`)].sort());
      assert.deepEqual(
        written.files.map(({ split }) => split),
        info.splits,
      );
      for (const { split, path, records, bytes } of written.files) {
        const expected = loaded.get(info.name)!.get(split)!;
        const kind = info.form === '{"text"}' ? 'text' : 'labelled';
        let i = 0;
        for await (const { record } of readRecords(files, path)) assert.deepEqual(record, { kind, ...expected[i++] });
        assert.equal(i, records);
        assert.equal(i, expected.length);
        assert.equal(statSync(path).size, bytes);
      }
      const source = await readFile(written.source, 'utf8');
      assert.ok(source.includes(`${info.package}, version ${written.version}`) && source.includes(info.licence));
      assert.equal(/Copyright \d+ by Princeton University/.test(source), info.name === 'wordnet-glosses');
    }
  });
});

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
