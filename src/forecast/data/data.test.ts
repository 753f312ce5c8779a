import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { NodeFileSystem } from '../../platform/node/index.ts';
import {
  addSteps,
  checkSplit,
  detectFrequency,
  ettSplit,
  fitScaler,
  formatDate,
  frequencyText,
  parseDate,
  readTable,
  rowCount,
  scaleTable,
  shareSplit,
  unscale,
  usualSeason,
  WindowSet,
} from './index.ts';

const files = new NodeFileSystem();
let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'krait-series-'));
});
after(() => rm(folder, { recursive: true, force: true }));

let made = 0;
async function tableOf(text: string, options = {}) {
  const path = join(folder, `${made++}.csv`);
  await writeFile(path, text);
  return readTable(files, path, options);
}

const HOUR = 3_600_000;
const START = Date.UTC(2020, 0, 30);
const hours = (n: number, value: (i: number) => string, skip: readonly number[] = []) =>
  Array.from({ length: n }, (_, i) => i)
    .filter((i) => !skip.includes(i))
    .map((i) => `${formatDate(START + i * HOUR)},${value(i)}\n`)
    .join('');

describe('dates', () => {
  it('reads the usual forms and nothing else', () => {
    assert.equal(parseDate('2016-07-01 13:05:09'), Date.UTC(2016, 6, 1, 13, 5, 9));
    assert.equal(parseDate('2016/7/1'), Date.UTC(2016, 6, 1));
    assert.equal(parseDate('2016-07-01T13:00:00+02:00'), Date.UTC(2016, 6, 1, 11));
    assert.equal(parseDate('2016-07'), Date.UTC(2016, 6, 1));
    for (const text of ['2016-02-30', '2016-13-01', 'yesterday', '01/07/2016', '3.5', '2016-07-01 25:00']) {
      assert.ok(Number.isNaN(parseDate(text)), text);
    }
  });

  it('finds fixed and calendar frequencies', () => {
    const months = ['2020-01-31', '2020-02-29', '2020-03-31', '2020-04-30'].map(parseDate);
    assert.deepEqual(detectFrequency(months), { unit: 'month', step: 1 });
    assert.equal(formatDate(addSteps(months[0], { unit: 'month', step: 1 }, 13), true), '2021-02-28');
    assert.equal(frequencyText(detectFrequency([0, 900_000, 1_800_000, 3_600_000])), '15 minutes');
    assert.deepEqual(detectFrequency(['2019-05-01', '2020-05-01', '2021-05-01'].map(parseDate)), {
      unit: 'month',
      step: 12,
    });
    assert.equal(usualSeason({ unit: 'ms', step: HOUR }), 24);
    assert.equal(usualSeason({ unit: 'month', step: 3 }), 4);
  });
});

describe('reading series', () => {
  it('reads wide files, whatever the date column is called and wherever it stands', async () => {
    const table = await tableOf(`a;when;b\n${'1;2020-01-01;4\n2;2020-01-02;5\n3;2020-01-03;6\n'}`);
    assert.deepEqual(
      [table.names, [...table.columns[0]], [...table.columns[1]]],
      [
        ['a', 'b'],
        [1, 2, 3],
        [4, 5, 6],
      ],
    );
    assert.equal(frequencyText(table.frequency), '1 day');
    assert.deepEqual([table.observed, table.notes], [null, []]);
  });

  it('reads long files: a variable for each id, series that begin later are missing before', async () => {
    const table = await tableOf(
      'unique_id,ds,y\nb,2020-01-02,5\nb,2020-01-03,6\na,2020-01-01,1\na,2020-01-02,2\na,2020-01-03,3\n',
    );
    assert.deepEqual(table.names, ['b', 'a']);
    assert.deepEqual(
      table.columns.map((c) => [...c]),
      [
        [5, 5, 6],
        [1, 2, 3],
      ],
    );
    assert.deepEqual(
      table.observed!.map((c) => [...c]),
      [
        [0, 1, 1],
        [1, 1, 1],
      ],
    );
  });

  it('fills gaps and empty fields by the rule it names, and masks them', async () => {
    const table = await tableOf(`date,x\n${hours(8, (i) => (i === 5 ? 'NaN' : `${i}`), [2, 3])}`);
    assert.deepEqual([...table.columns[0]], [0, 1, 1, 1, 4, 4, 6, 7]);
    assert.deepEqual([...table.observed![0]], [1, 1, 0, 0, 1, 0, 1, 1]);
    assert.match(table.notes[0], /^2 dates missing \(first 2020-01-30 02:00:00\): rule gap/);
    assert.match(table.notes[1], /^column x: 3 values missing: rule previous/);
  });

  it('keeps the last of rows with one date, and says so', async () => {
    const table = await tableOf('date,x\n2020-01-01,1\n2020-01-02,2\n2020-01-02,9\n2020-01-03,3\n');
    assert.deepEqual([...table.columns[0]], [1, 9, 3]);
    assert.match(table.notes[0], /^1 row with a date that was there already \(first 2020-01-02 .*rule last/);
  });

  it('gives the same table however the file is cut into pieces', async () => {
    const table = await tableOf(`date,x,y\n${hours(150_000, (i) => `${(i % 977) / 7},${i}.25`)}`); // two pieces
    assert.equal(rowCount(table), 150_000);
    assert.ok(table.columns[1].every((v, i) => v === i + 0.25));
  });

  const BROKEN: readonly (readonly [string, string, RegExp])[] = [
    ['no date column', 'a,b\n1,2\n3,4\n', /no date column among a, b; name it with --date/],
    ['no rows', 'date,b\n', /has no rows/],
    ['nothing but dates', 'date\n2020-01-01\n', /no column besides the dates/],
    ['unsorted', 'date,b\n2020-01-02,1\n2020-01-01,2\n2020-01-03,2\n', /csv:3: dates are not sorted: 2020-01-01/],
    [
      'irregular',
      `date,b\n${hours(6, () => '1')}2020-01-30 07:20:00,1\n`,
      /csv:8: dates are irregular: .*steps of 1 hour/,
    ],
    ['text in numbers', 'date,b\n2020-01-01,1\n2020-01-02,high\n', /csv:3: column b: expected a number, got "high"/],
    ['no date', 'date,b\n2020-01-01,1\nlater,2\n', /csv:3: column date: expected a date, got "later"/],
    ['short row', 'date,b\n2020-01-01,1\n2020-01-02\n', /csv:3: 1 fields, the header has 2/],
    ['twice a name', 'date,b,b\n2020-01-01,1,1\n', /two columns are named b/],
    ['an empty column', 'date,b,c\n2020-01-01,1,\n2020-01-02,1,\n2020-01-03,1,\n', /column c has no value at all/],
    ['long, unsorted', 'unique_id,ds,y\na,2020-01-02,1\na,2020-01-02,1\n', /csv:3: a: 2020-01-02 does not come after/],
  ];
  for (const [name, text, message] of BROKEN) {
    it(`refuses ${name} in one line`, async () => {
      await assert.rejects(
        tableOf(text),
        (error: Error) => message.test(error.message) && !error.message.includes('\n'),
      );
    });
  }
});

describe('splits, scaling and windows', () => {
  it('cuts ETT by months of 30 days, and has every window of each part', () => {
    const split = ettSplit();
    const series = [new Float32Array(17_420).map((_, i) => i)];
    const sizes = [split.train, split.validation, split.test].map(
      (part) => new WindowSet(series, null, part, 336, 96).length,
    );
    assert.deepEqual(sizes, [8640 - 336 - 96 + 1, 2880 - 96 + 1, 2880 - 96 + 1]);
    const test = new WindowSet(series, null, split.test, 336, 96);
    const { past, future } = test.batch([0, test.length - 1]);
    assert.deepEqual([past[335], future[0], future[2 * 96 - 1]], [11_519, 11_520, 14_399]);
  });

  it('scales by the training rows alone, without missing values', async () => {
    const table = await tableOf(
      `date,x,flat\n${hours(10, (i) => (i === 1 ? ',7' : i < 4 ? `${i},7` : `${100 * i},8`))}`,
    );
    const notes: string[] = [];
    const scaler = fitScaler(table, { start: 0, end: 4 }, (line) => notes.push(line));
    const mean = (0 + 2 + 3) / 3;
    assert.ok(Math.abs(scaler.mean[0] - mean) < 1e-12);
    const deviation = Math.sqrt(((0 - mean) ** 2 + (2 - mean) ** 2 + (3 - mean) ** 2) / 3);
    assert.ok(Math.abs(scaler.deviation[0] - deviation) < 1e-12);
    assert.match(notes[0], /^column flat is constant over the training rows: rule unscaled/);
    const scaled = scaleTable(table, scaler);
    assert.ok(Math.abs(unscale(scaled[0][9], 0, scaler) - 900) < 1e-3);
    assert.equal(scaled[1][9], 1);
    const { mask } = new WindowSet(scaled, table.observed, { start: 0, end: 4 }, 1, 2).batch([0]);
    assert.deepEqual([...mask!], [0, 1, 1, 1]);
  });

  it('says what is missing of a series that is too short', async () => {
    const table = await tableOf(`date,x\n${hours(100, (i) => `${i}`)}`);
    const split = shareSplit(100, 0.2, 0.2);
    assert.throws(
      () => checkSplit(table, split, 48, 24),
      /the train part has 60 of 100 rows, look-back 48 and horizon 24 need 72/,
    );
    assert.throws(() => checkSplit(table, split, 30, 24), /the validation part has 20 of 100 rows.*need 24/);
    assert.throws(() => checkSplit(table, ettSplit(), 48, 24), /100 rows, the split needs 14400/);
    assert.throws(() => shareSplit(100, 0.6, 0.5), /shares/);
    checkSplit(table, split, 30, 20);
  });
});
