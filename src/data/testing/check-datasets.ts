/** What holds for data sets, whatever packages they are read from. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { readRecords } from '../../io/index.ts';
import { NodeFileSystem } from '../../platform/node/index.ts';
import type { DataSource } from '../data-source.ts';
import {
  DATASET_NAMES,
  type DatasetInfo,
  type DatasetName,
  DatasetReader,
  type DatasetSplit,
  type DatasetSplits,
  listDatasets,
  splitSizes,
  writeDataset,
} from '../datasets.ts';
import { OPENING } from '../spam.ts';
import { normalizeText } from '../text-form.ts';

/** How many records there are: a change moves texts between the splits, and with them all scores. */
export interface ExpectedSizes {
  readonly records: Readonly<Record<DatasetName, Partial<Record<DatasetSplit, number>>>>;
  /** Mails of each split of `spam`: train, validation, test. */
  readonly labels: readonly Readonly<Record<'ham' | 'spam', number>>[];
}

const files = new NodeFileSystem();

/** What is written is read again as it was, and says where it comes from. */
async function checkFiles(reader: DatasetReader, info: DatasetInfo, folder: string, splits: DatasetSplits) {
  const written = await writeDataset(reader, info, files, folder);
  assert.deepEqual(await files.list(folder), ['SOURCE.txt', ...info.splits.map((s) => `${s}.jsonl`)].sort());
  assert.deepEqual(
    written.files.map(({ split }) => split),
    info.splits,
  );
  for (const { split, path, records, bytes } of written.files) {
    const expected = splits.get(split)!;
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

/** Checks all data sets of a source. */
export function checkDatasets(title: string, source: DataSource, expected: ExpectedSizes): void {
  describe(title, () => {
    const work = mkdtempSync(join(tmpdir(), 'krait-datasets-'));
    after(() => rmSync(work, { recursive: true, force: true }));
    const reader = new DatasetReader(source);
    const loaded = new Map<DatasetName, DatasetSplits>();
    before(async () => {
      for (const name of DATASET_NAMES) loaded.set(name, await reader.load(name));
    });
    const textsOf = (name: DatasetName, split: DatasetSplit) =>
      loaded
        .get(name)!
        .get(split)!
        .map(({ text }) => text);

    it('have the splits that the list states, of a size that does not move', () => {
      for (const { name, splits } of listDatasets()) {
        const sizes = splitSizes(loaded.get(name)!);
        assert.deepEqual([...sizes.keys()], splits);
        const records = [...sizes].map(([split, size]) => [split, size.records]);
        assert.deepEqual(Object.fromEntries(records), expected.records[name]);
      }
      const labels = [...splitSizes(loaded.get('spam')!).values()].map((size) => size.labels);
      assert.deepEqual(labels, expected.labels);
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
        assert.deepEqual(await new DatasetReader(source).load(name), loaded.get(name));
      }
    });

    it('come back from their files as they were', async () => {
      for (const info of listDatasets()) {
        await checkFiles(reader, info, join(work, info.name), loaded.get(info.name)!);
      }
    });
  });
}
