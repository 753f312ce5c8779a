import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { HubServer } from '../../io/testing/hub-server.ts';
import { parquetFile } from '../../io/testing/parquet-file.ts';
import { NodeFileSystem } from '../../platform/node/index.ts';
import { TASKS } from '../tasks/index.ts';
import { type DataPlaces, loadSplit } from './index.ts';

const files = new NodeFileSystem();
const work = mkdtempSync(join(tmpdir(), 'krait-eval-data-'));
after(() => rmSync(work, { recursive: true }));
const hub = { cacheDir: join(work, 'cache'), endpoint: 'http://127.0.0.1:9', offline: true, token: null };
const named = (name: string) => TASKS.find((task) => task.name === name)!;
const put = (path: string, content: string | Uint8Array) => {
  mkdirSync(dirname(join(work, path)), { recursive: true });
  writeFileSync(join(work, path), content);
};
const load = async (task: string, split: string, places: Partial<DataPlaces> = { dataDir: work }) =>
  (await loadSplit(named(task), split, { files, hub, ...places })).map(({ row }) => row);

const ROWS = [0, 1].map((label) => ({ goal: `g${label}`, sol1: 'a', sol2: 'b', label }));
const lines = (rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

describe('data of a folder', () => {
  it('JSON lines, with labels in a file of their own', async () => {
    put('piqa/valid.jsonl', lines(ROWS.map(({ label, ...row }) => row)));
    put('piqa/valid-labels.lst', '0\n1\n');
    assert.deepEqual(await load('piqa', 'validation'), ROWS);
    put('piqa/valid-labels.lst', '0\n1\n1\n');
    await assert.rejects(load('piqa', 'validation'), /valid-labels\.lst: 3 labels of 2 rows/);
  });

  it('parquet in the hub’s layouts: parts, folders of configurations, the converted branch', async () => {
    put('sciq/data/test-00000-of-00002.parquet', parquetFile(ROWS.slice(0, 1)));
    put('sciq/data/test-00001-of-00002.parquet', parquetFile(ROWS.slice(1)));
    assert.deepEqual(await load('sciq', 'test'), ROWS);
    put('winogrande/winogrande_xl/validation/0000.parquet', parquetFile(ROWS));
    assert.deepEqual(await load('winogrande', 'validation'), ROWS);
  });

  it('CSV of MMLU with and without a header; another subject’s data are not taken', async () => {
    put('mmlu/test/anatomy_test.csv', 'question,choice0,choice1,choice2,choice3,answer\n"a, b",w,x,y,z,3\n');
    put('mmlu/dev/anatomy_dev.csv', '"a\nb",w,x,y,z,D\n');
    put('mmlu/test.jsonl', lines(ROWS));
    const [row] = await load('mmlu_anatomy', 'test');
    assert.deepEqual(row, { question: 'a, b', choice0: 'w', choice1: 'x', choice2: 'y', choice3: 'z', answer: '3' });
    assert.equal((await load('mmlu_anatomy', 'dev'))[0].answer, 'D');
    await assert.rejects(load('mmlu_astronomy', 'test'), /mmlu_astronomy: no data for its split test/);
    put('mmlu/dev/virology_dev.csv', 'a,b\n');
    await assert.rejects(load('mmlu_virology', 'dev'), /virology_dev\.csv:1: 2 fields, expected question, choice0/);
  });

  it('a list in a JSON file; the folder itself if it has the task’s name; empty files and odd lines are named', async () => {
    put('boolq/val.json', JSON.stringify(ROWS));
    assert.deepEqual(await load('boolq', 'validation', { dataDir: join(work, 'boolq') }), ROWS);
    put('openbookqa/test.jsonl', '\n');
    await assert.rejects(load('openbookqa', 'test'), /openbookqa\/test\.jsonl: no rows/);
    put('openbookqa/test.jsonl', '{}\n[1]\n');
    await assert.rejects(load('openbookqa', 'test'), /test\.jsonl:2: expected an object, got \[1\]/);
  });

  it('what is missing is said with where to get it and where to put it', async () => {
    await assert.rejects(load('hellaswag', 'validation'), (error: Error) => {
      assert.equal(error.message.includes('\n'), false);
      assert.match(
        error.message,
        /^hellaswag: no data for its split validation in .*\/hellaswag; put http.*\/datasets\/Rowan\/hellaswag\/resolve\/refs%2Fconvert%2Fparquet\/default\/validation\/0000\.parquet at .*\/hellaswag\/validation\.parquet/,
      );
      return true;
    });
  });
});

describe('data of the hub', () => {
  const server = new HubServer({
    'datasets/baber/piqa': { commit: 'd'.repeat(40), files: { 'default/validation/0000.parquet': parquetFile(ROWS) } },
  });
  before(() => server.start());
  after(() => server.stop());
  const options = { attempts: 1 };

  it('are fetched once, then come from the cache', async () => {
    const online = { hub: { ...hub, endpoint: server.endpoint, offline: false }, options };
    assert.deepEqual(await load('piqa', 'validation', online), ROWS);
    assert.deepEqual(await load('piqa', 'validation', {}), ROWS);
    await assert.rejects(load('piqa', 'train', online), /data set baber\/piqa has no default\/train\/0000\.parquet/);
  });

  it('are found where `datasets` for Python has put them', async () => {
    const commit = 'e'.repeat(40);
    put('cache/datasets--allenai--ai2_arc/refs/main', commit);
    const snapshot = `cache/datasets--allenai--ai2_arc/snapshots/${commit}`;
    put(`${snapshot}/ARC-Easy/test-00000-of-00001.parquet`, parquetFile(ROWS));
    assert.deepEqual(await load('arc_easy', 'test', {}), ROWS);
    await assert.rejects(
      load('arc_challenge', 'test', {}),
      /arc_challenge: its data \(allenai\/ai2_arc, test\) are not in the cache/,
    );
  });

  it('without a network the error says what to fetch', async () => {
    const away = { hub: { ...hub, offline: false }, options };
    await assert.rejects(
      load('winogrande', 'train', away),
      /winogrande: its data \(allenai\/winogrande, train\) are not in the cache, and http:\/\/127\.0\.0\.1:9 cannot be reached; put .* at DIR\/winogrande\/winogrande_xl\/train\.parquet and give --data-dir DIR/,
    );
  });
});
