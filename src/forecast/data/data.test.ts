/** Reading, rules, scaling and windows; what is wrong with a file is told in one line with its place. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { FileFormatError } from '../../core/index.ts';
import { NodeFileSystem } from '../../platform/node/index.ts';
import {
  calendarCodes,
  calendarParts,
  checkSplits,
  cutWindows,
  dateAt,
  describeFrequency,
  detectFrequency,
  ettSplits,
  fitScaling,
  parseDate,
  parseTable,
  type ReadOptions,
  readTable,
  regularise,
  scaleSeries,
  shareSplits,
  windowStarts,
} from './index.ts';

const parse = (text: string, options?: ReadOptions) => parseTable('x.csv', [text], options);
const series = async (text: string, fill?: 'forward' | 'linear' | 'zero') => regularise(await parse(text), { fill });
const folders: string[] = [];
after(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true }))));

const fails = (work: () => unknown, pattern: RegExp) =>
  assert.rejects(
    async () => work(),
    (error: Error) => {
      assert.ok(error instanceof FileFormatError, `${error}`);
      assert.match(error.message, pattern);
      assert.ok(!error.message.includes('\n'));
      return true;
    },
  );

describe('reading', () => {
  it('takes wide files: any delimiter, line ends, quotes, a mark of byte order, missing values', async () => {
    for (const [mark, end] of [
      [',', '\n'],
      [';', '\r\n'],
      ['\t', '\n'],
    ]) {
      const lines = [
        ['date', '"a"', 'b'],
        ['2020-01-01', '1', ''],
        ['2020-01-02', '"-2.5e1"', 'NaN'],
        ['2020-01-03', '3', '4'],
      ];
      const table = await parse(lines.map((line) => line.join(mark)).join(end) + end);
      assert.deepEqual([table.form, table.names, table.dateColumn], ['wide', ['a', 'b'], 'date']);
      assert.deepEqual([...table.columns[0]], [1, -25, 3]);
      assert.deepEqual([...table.columns[1]], [Number.NaN, Number.NaN, 4]);
      assert.equal(table.dates[1], Date.UTC(2020, 0, 2));
    }
  });

  it('is the same wherever the text is cut', async () => {
    const text = 'when,"x, y",z\n2020-01-01 00:00,1,"2"\n\n2020-01-01 01:00,3,4\n2020-01-01 02:00,5,6';
    const whole = await parse(text);
    assert.deepEqual(whole.names, ['x, y', 'z']);
    for (let size = 1; size < text.length; size++) {
      const pieces = [text.slice(0, 30 + size), text.slice(30 + size)];
      assert.deepEqual(await parseTable('x.csv', pieces), whole, `cut at ${30 + size}`);
    }
  });

  it('finds dates by content, and pivots long files', async () => {
    assert.equal((await parse('v,day\n1,2020-01-01\n2,2020-01-02\n')).dateColumn, 'day');
    const long = await parse('unique_id,ds,y\nb,2020-01-01,1\na,2020-01-02,2\nb,2020-01-02,3\n');
    assert.deepEqual([long.form, long.names], ['long', ['b', 'a']]);
    assert.deepEqual(
      long.columns.map((c) => [...c]),
      [
        [1, 3],
        [Number.NaN, 2],
      ],
    );
  });

  it('keeps the last rows of a file that is too large', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'krait-csv-'));
    folders.push(folder);
    const path = join(folder, 'large.csv');
    const rows = Array.from({ length: 50_000 }, (_, i) => `${new Date(i * 3_600_000).toISOString().slice(0, 19)},${i}`);
    await writeFile(path, `\ufeffdate,v\n${rows.join('\n')}\n`);
    const table = await readTable(new NodeFileSystem(), path, { maxRows: 3000 });
    assert.deepEqual([table.columns[0].length, table.columns[0][0], table.skippedRows], [3000, 47_000, 47_000]);
    assert.match(regularise(table).notes[0], /those of the last 3,000 dates are used, 47,000 earlier ones left out/);
    const whole = await readTable(new NodeFileSystem(), path);
    assert.equal(whole.columns[0][49_999], 49_999);
  });

  it('keeps the newest dates of a long file, series after series or mixed', async () => {
    const hour = (t: number) => new Date(t * 3_600_000).toISOString().slice(0, 19);
    const rows = ['a', 'b'].flatMap((id, k) => Array.from({ length: 5000 }, (_, t) => `${id},${hour(t + k)},${t}`));
    const mixed = rows.map((row, i) => [(i * 7919) % rows.length, row] as const).sort(([a], [b]) => a - b);
    for (const some of [rows, mixed.map(([, row]) => row), rows.toReversed()]) {
      const { columns, names, dates, skippedRows } = await parseTable(
        'x.csv',
        [`unique_id,ds,y\n${some.join('\n')}\n`],
        {
          maxRows: 300,
        },
      );
      assert.deepEqual([dates.length, dates[0]], [300, 4701 * 3_600_000]);
      const [a, b] = ['a', 'b'].map((name) => columns[names.indexOf(name)]);
      assert.deepEqual([a[0], a[298], a[299], b[0], b[299]], [4701, 4999, Number.NaN, 4700, 4999]);
      assert.equal(skippedRows, 10_000 - 599);
    }
  });

  it('says what is wrong and where', async () => {
    await fails(() => parse(''), /^x\.csv: is empty; /);
    await fails(() => parse('date,a\n'), /has a first row with names but no data/);
    await fails(() => parse('a,b\n1,2\n'), /has no date column: none of a, b is called date or holds dates; name it/);
    await fails(() => parse('date,a\n2020-01-01,1\n2020-01-02,abc\n'), /row 3, column a: "abc" is not a number/);
    await fails(() => parse('date,a\n2020-01-01,1\n2020-02-30,1\n'), /row 3, column date: "2020-02-30" is not a date/);
    await fails(() => parse('date,a\n2020-01-01,1,2\n'), /row 2: 3 fields, but the first row names 2 columns/);
    await fails(() => parse('date,a,a\n2020-01-01,1,2\n'), /two columns are called "a"/);
    await fails(() => parse('date\n2020-01-01\n'), /has dates but no values/);
    await fails(() => parse('date,val\n2020-01-01,1\n', { dateColumn: 'vall' }), /no column "vall".*val/);
    await fails(() => parse('date,a\n2020-01-01,"1\n'), /row 2: Quoted field unterminated/);
    const headless = '2020-01-01,1\n2020-01-02,2\n';
    await fails(() => parse(headless), /its first row holds the date 2020-01-01, not names; add a row of names/);
  });

  it('reads the columns that are asked for, others may hold text', async () => {
    const text = 'date,a,note,b\n2020-01-01,1,dry,2\n2020-01-02,3,wet,4\n';
    await fails(
      () => parse(text),
      /row 2, column note: "dry" is not a number; choose columns of numbers with --columns/,
    );
    assert.deepEqual((await parse(text, { columns: ['b', 'a'] })).names, ['a', 'b']);
    await fails(() => parse(text, { columns: ['b', 'c'] }), /column note/);
  });

  it('reads a year alone as a date where the column is called so', async () => {
    assert.equal((await parse('date,a\n1990,1\n1991,2\n')).dates[1], Date.UTC(1991, 0, 1));
    await fails(() => parse('load,a\n1990,1\n1991,2\n'), /has no date column/);
  });

  it('tells which columns of a long file it does not read', async () => {
    const text = 'unique_id,ds,y,price\na,2020-01-01,1,9\na,2020-01-02,2,9\n';
    for (const options of [{}, { dateColumn: 'ds' }]) {
      const { notes, names } = regularise(await parse(text, options));
      assert.deepEqual([names, notes], [['a'], ['columns: price of the long form not read: unique_id, ds and y are']]);
    }
  });
});

describe('dates', () => {
  it('are read as UTC unless they say otherwise', () => {
    assert.equal(parseDate('2016-07-01 13:05:09'), Date.UTC(2016, 6, 1, 13, 5, 9));
    assert.equal(parseDate('2016/7/1'), Date.UTC(2016, 6, 1));
    assert.equal(parseDate('2016-07'), Date.UTC(2016, 6, 1));
    assert.equal(parseDate('0016-07-01'), Number.NaN);
    assert.equal(parseDate('2016-07-01T00:00:00.250+02:00'), Date.UTC(2016, 5, 30, 22, 0, 0, 250));
    for (const text of ['', '1', 'abc', '2016-13-01', '2016-01-01 25:00'])
      assert.ok(Number.isNaN(parseDate(text)), text);
  });

  it('have the step of most neighbours', () => {
    const hours = Float64Array.from([0, 1, 2, 5, 6, 7], (h) => h * 3_600_000);
    assert.equal(describeFrequency(detectFrequency(hours)!), '1 h');
    const ends = Float64Array.from([0, 1, 2, 3, 4, 5], (m) => Date.UTC(2020, m + 1, 0));
    assert.deepEqual(detectFrequency(ends), { months: 1 });
    assert.equal(dateAt(Date.UTC(2020, 0, 31), { months: 1 }, 1), Date.UTC(2020, 1, 29));
    assert.equal(detectFrequency([1]), null);
  });
});

describe('months', () => {
  const dates = (days: readonly string[]) => days.map((day, i) => `${day},${i}`);
  const months = (day: number, count: number, from: number) =>
    Array.from({ length: count }, (_, i) => {
      const last = new Date(Date.UTC(2022, from + i + 1, 0)).getUTCDate();
      return new Date(Date.UTC(2022, from + i, Math.min(day, last))).toISOString().slice(0, 10);
    });

  it('keep their day, from whichever month on, also before 1970', async () => {
    for (const day of [1, 15, 28, 29, 30, 31]) {
      for (let from = 0; from < 12; from++) {
        const days = months(day, 30, from);
        const { frequency, start, length, notes } = await series(`date,v\n${dates(days).join('\n')}\n`);
        assert.deepEqual([describeFrequency(frequency), length, notes], ['1 month', 30, []], `${day} from ${from}`);
        assert.equal(dateAt(start, frequency, 30), parseDate(months(day, 31, from)[30]), `${day} from ${from}`);
      }
    }
    const start = Date.UTC(1960, 2, 1, 6);
    assert.equal(dateAt(start, { months: 1 }, 2), Date.UTC(1960, 4, 1, 6));
  });
});

describe('rules', () => {
  const messy =
    'date,a,b\n2020-01-03,3,30\n2020-01-01,1,10\n2020-01-03,33,\n2020-01-06,6,60\n2020-01-02,,20\n2020-01-07,7,70\n';

  it('sort, merge, insert and fill, and say so', async () => {
    const { values, masks, notes, length } = await series(messy);
    assert.equal(length, 7);
    assert.deepEqual([...values[0]], [1, 1, 33, 33, 33, 6, 7]);
    assert.deepEqual([...values[1]], [10, 20, 30, 30, 30, 60, 70]);
    assert.deepEqual([...masks[0]!], [1, 0, 1, 0, 0, 1, 1]);
    assert.equal(notes.length, 5);
    assert.match(notes[0], /^order: 2 rows/);
    assert.match(notes[1], /^duplicates: 1 row /);
    assert.match(notes[2], /^gaps: 2 steps without a row in 1 gap, the first at 2020-01-04/);
    assert.deepEqual([...(await series(messy, 'linear')).values[1]], [10, 20, 30, 40, 50, 60, 70]);
    assert.deepEqual([...(await series(messy, 'zero')).values[0]], [1, 0, 33, 0, 0, 6, 7]);
  });

  it('leave a regular series as it is', async () => {
    const { masks, notes } = await series('date,a\n2020-01-01,1\n2020-01-02,2\n2020-01-03,3\n');
    assert.deepEqual([masks, notes], [[null], []]);
  });

  it('tell the widest gap where most steps are missing, however long the grid', async () => {
    const seconds = Array.from({ length: 30 }, (_, t) => `2020-01-01 00:00:${String(t).padStart(2, '0')},${t}`);
    const wrong = ['date,v', '1020-01-01 00:00:00,1', ...seconds].join('\n');
    const gap =
      /only 31 of \d+ steps of 1 s have a row; the widest gap is from 1020-01-01 00:00:00 to 2020-01-01 00:00:00/;
    await fails(() => series(wrong), gap);
  });

  it('do not bend irregular dates', async () => {
    const head = 'date,a\n2020-01-01,1\n2020-01-02,2\n2020-01-03,3\n';
    await fails(
      () => series(`${head}2020-01-04 00:07,4\n`),
      /2020-01-04 00:07:00 \(data row 4\) is not a whole number of steps of 1 d/,
    );
    await fails(() => series(`${head}2022-01-04,4\n`), /only 4 of 735 steps of 1 d have a row/);
    await fails(() => series('date,a\n2020-01-01,1\n'), /fewer than two dates/);
    await fails(() => series('date,a,b\n2020-01-01,1,\n2020-01-02,1,\n'), /column b has no values/);
  });
});

describe('the calendar', () => {
  const at = (...date: [number, number, number?, number?]) => Date.UTC(...date);

  it('tells hours, weekdays and months of the steps ahead', () => {
    const first = [at(2024, 1, 28, 22), at(1969, 11, 31, 23)]; // a Wednesday and a Wednesday
    const hourly = { first, frequency: { ms: 3_600_000 } };
    assert.deepEqual([...calendarCodes('hour', hourly, 3)], [22, 23, 0, 23, 0, 1]);
    assert.deepEqual([...calendarCodes('weekday', hourly, 3)], [3, 3, 4, 3, 4, 4]);
    const monthly = { first: [at(2024, 9, 31)], frequency: { months: 1 } };
    assert.deepEqual([...calendarCodes('month', monthly, 4)], [9, 10, 11, 0]);
  });

  it('has the parts that come again', () => {
    const day = 86_400_000;
    const parts = [{ ms: 3_600_000 }, { ms: day }, { ms: 7 * day }, { months: 3 }, { months: 12 }].map(calendarParts);
    assert.deepEqual(parts, [['hour', 'weekday', 'month'], ['weekday', 'month'], ['month'], ['month'], []]);
  });
});

describe('splits, scaling and windows', () => {
  it('are those of the papers', () => {
    const size = { lookback: 336, horizon: 96 };
    const { train, validation, test } = ettSplits();
    assert.deepEqual(
      [train, validation, test],
      [
        { start: 0, end: 8640 },
        { start: 8640, end: 11_520 },
        { start: 11_520, end: 14_400 },
      ],
    );
    const counts = [train, validation, test]
      .map((range) => windowStarts(range, size))
      .map(({ start, end }) => end - start);
    assert.deepEqual(counts, [8640 - 336 - 96 + 1, 2880 - 96 + 1, 2880 - 96 + 1]);
    assert.deepEqual(shareSplits(1000).validation, { start: 700, end: 800 });
    checkSplits('x', ettSplits(), size, 17_420);
    assert.throws(
      () => checkSplits('x', shareSplits(500), size, 500),
      /500 rows are too few: the train part \(350 rows\).*look-back 336 plus horizon 96 is 432/,
    );
    assert.throws(() => checkSplits('x', ettSplits(), size, 500), /has 500 rows, but its split takes 14400/);
  });

  it('tell which part is too short for a horizon, and which horizon is not', async () => {
    const short = () => checkSplits('x.csv', shareSplits(60), { lookback: 12, horizon: 12 }, 60);
    await fails(short, /60 rows are too few: the validation part has 6, less than the horizon of 12; .*--horizon of 6/);
  });

  it('scale no values that f32 cannot square, and none of which the training part knows nothing', async () => {
    const lines = (value: (t: number) => string) =>
      `date,v\n${Array.from({ length: 20 }, (_, t) => `2020-01-${String(t + 1).padStart(2, '0')},${value(t)}`).join('\n')}\n`;
    const scaled = async (value: (t: number) => string) => {
      const raw = await series(lines(value));
      return scaleSeries(raw, fitScaling(raw, { start: 0, end: 14 }));
    };
    await fails(
      () => scaled((t) => (t === 17 ? '1e300' : `${t % 3}`)),
      /column v: 1e\+300 at 2020-01-18 00:00:00 is too far/,
    );
    await fails(
      () => scaled((t) => `${(-1) ** t * 1e308}`),
      /column v: values are too large; give them in a larger unit/,
    );
    await fails(
      () => scaled((t) => (t < 14 ? '' : `${t}`)),
      /column v has no values in the training part, the first 14/,
    );
    assert.equal((await scaled((t) => `${(t % 2) * 1e100}`)).values[0][1], 1);
  });

  it('scale by the training part alone, without what was filled, and leave constants', async () => {
    const table = await series('date,a,c\n2020-01-01,1,5\n2020-01-02,,5\n2020-01-03,3,5\n2020-01-04,900,5\n');
    const scaling = fitScaling(table, { start: 0, end: 3 });
    assert.deepEqual(scaling, { mean: [2, 5], std: [1, 1], constant: ['c'] });
    const scaled = scaleSeries(table, scaling);
    assert.deepEqual([...scaled.values[0]], [-1, -1, 1, 898]);
    const batch = cutWindows(scaled, [0, 1], { lookback: 1, horizon: 2 }, [
      [0, 1],
      [1, 0],
    ]);
    assert.deepEqual([...batch.inputs], [-1, 0, 0, -1]);
    assert.deepEqual([...batch.targets], [-1, 1, 0, 0, 0, 0, 1, 898]);
    assert.deepEqual([...batch.weights!], [0, 1, 1, 1, 1, 1, 1, 1]);
    assert.equal(batch.counted, 7);
  });
});
