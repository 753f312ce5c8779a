/** `krait forecast` from a file to a forecast; what is wrong with a file or a flag in one line, with its exit code. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseHTML } from 'linkedom';
import { onlyInAll } from '../src/core/testing/only-in-all.ts';
import { fitSettings } from '../src/forecast/index.ts';
import { krait, refuses, workFolder } from './cli-cases.ts';

const work = workFolder('forecast');
const at = (name: string) => join(work, name);

/** Hours of two waves and a line that never moves. */
function hours(count: number, change: (line: string, t: number) => string = (line) => line): string {
  const lines = Array.from({ length: count }, (_, t) => {
    const date = new Date(Date.UTC(2024, 0, 1, t)).toISOString().slice(0, 19).replace('T', ' ');
    const noise = ((t * 7919) % 13) / 13 - 0.5;
    return change(
      `${date},${(100 + 20 * Math.sin(t / 4) + noise).toFixed(3)},${(5 * Math.cos(t / 4) - noise).toFixed(3)},7`,
      t,
    );
  });
  return `date,load,temp,flat\n${lines.join('\n')}\n`;
}
const fileOf = (name: string, text: string) => {
  writeFileSync(at(name), text);
  return at(name);
};
const good = fileOf('good.csv', hours(320));
const SMALL = [
  '--horizon',
  '4',
  '--lookback',
  '16',
  '--layers',
  '1',
  '--width',
  '4',
  '--patch',
  '4',
  '--epochs',
  '2',
  '--batch',
  '16',
  '--device',
  'wasm',
];

describe('krait forecast', () => {
  it('trains, compares, measures coverage, and writes forecast, picture and page', async () => {
    const [out, plot, report] = ['f.csv', 'f.svg', 'f.html'].map(at);
    const { code, stdout, stderr } = await krait(
      'forecast',
      good,
      ...SMALL,
      '--recipe',
      'published',
      '--out',
      out,
      '--plot',
      plot,
      '--report',
      report,
      '--json',
    );
    assert.equal(code, 0, stderr);
    const result = JSON.parse(stdout);
    assert.deepEqual(
      result.comparison.map(({ model }: { model: string }) => model),
      ['mambats', 'ridge', 'dlinear', 'seasonal-naive', 'drift'],
    );
    for (const { windows, mse } of result.comparison) assert.ok(windows === 64 - 4 + 1 && mse > 0);
    assert.deepEqual(
      result.coverage.map(({ level }: { level: number }) => level),
      [0.1, 0.5, 0.9],
    );
    assert.match(stderr, /flat does not change in the training part/);
    const rows = readFileSync(out, 'utf8').trim().split('\n');
    const [, ds, value, low] = rows[2 * 4].split(',');
    assert.deepEqual([result.dates[3], result.forecast.temp[3], result.quantiles['0.1'].temp[3]], [ds, +value, +low]);
    assert.equal(rows[0], 'unique_id,ds,forecast,q0.1,q0.5,q0.9');
    assert.equal(rows.length, 1 + 3 * 4);
    assert.match(rows[1], /^load,2024-01-14 08:00:00,/);
    for (const row of rows.slice(1)) {
      const [low, middle, high] = row.split(',').slice(3).map(Number);
      assert.ok(low <= middle && middle <= high, row);
    }
    const svg = readFileSync(plot, 'utf8');
    assert.match(svg, /^<svg [^>]*xmlns=/);
    assert.doesNotMatch(svg, /var\(--|NaN/);
    const [head] = /^<svg[^>]*>/.exec(svg)!;
    const names = [...head.matchAll(/ ([\w:-]+)=/g)].map(([, name]) => name);
    assert.equal(new Set(names).size, names.length, 'an attribute stands twice');
    const { document } = parseHTML(readFileSync(report, 'utf8'));
    assert.equal(document.querySelectorAll('h2').length, 3);
    assert.equal(document.querySelectorAll('svg rect').length >= 3, true, 'the order of the variables');
  });

  it('keeps a model that forecasts new rows without training, to the same numbers', async () => {
    const folder = at('kept');
    const fitted = await krait('forecast', 'fit', good, ...SMALL, '--out', folder, '--json');
    assert.equal(fitted.code, 0, fitted.stderr);
    const { loss, settings } = JSON.parse(fitted.stdout).fit;
    assert.deepEqual([loss, settings.shortcut], ['mae', true], 'not the tuned recipe');
    await krait('forecast', good, ...SMALL, '--out', at('direct.csv'));
    const predicted = await krait('forecast', 'predict', good, '--model', folder, '--device', 'wasm');
    assert.equal(predicted.code, 0, predicted.stderr);
    assert.equal(predicted.stdout, readFileSync(at('direct.csv'), 'utf8'));
    assert.match(predicted.stderr, /forecast in [\d.]+ ms/);
    const newer = fileOf('newer.csv', hours(400).replace(/\n.*?(?=\n2024-01-15)/s, ''));
    const some = await krait('forecast', 'predict', newer, '--model', folder, '--target', 'temp', '--device', 'wasm');
    assert.equal(some.stdout.trim().split('\n').length, 5);
    assert.match(some.stdout, /\ntemp,2024-01-17 16:00:00,/);
    const noted = fileOf(
      'noted.csv',
      hours(400, (line, t) => `${line},${t % 2 ? 'wet' : 'dry'}`).replace('\n', ',note\n'),
    );
    const beside = await krait(
      'forecast',
      'predict',
      noted,
      '--model',
      folder,
      '--target',
      'temp',
      '--device',
      'wasm',
      '--json',
    );
    assert.equal(beside.code, 0, beside.stderr);
    const { forecast, dates } = JSON.parse(beside.stdout);
    assert.deepEqual([Object.keys(forecast), dates[0]], [['temp'], '2024-01-17 16:00:00']);
    assert.equal(some.stdout.split('\n')[1].split(',')[2], `${forecast.temp[0]}`);
    const lacking = fileOf('lacking.csv', hours(400).replace('temp', 'heat'));
    await refuses(
      work,
      2,
      /no column "temp".*it has load, heat, flat: add it/,
      'forecast',
      'predict',
      lacking,
      '--model',
      folder,
      '--device',
      'wasm',
    );
    for (const changes of [
      ['--model', 'ridge'],
      ['--model', 'dlinear', '--calendar'],
      ['--calendar', '--no-shortcut'],
    ]) {
      await krait('forecast', 'fit', good, ...SMALL, ...changes, '--out', folder, '--force');
      await krait('forecast', good, ...SMALL, ...changes, '--out', at('direct.csv'));
      const kept = await krait('forecast', 'predict', good, '--model', folder, '--device', 'wasm');
      assert.equal(kept.stdout, readFileSync(at('direct.csv'), 'utf8'), changes.join(' '));
    }
    const broken = at('broken');
    mkdirSync(broken);
    writeFileSync(join(broken, 'forecast.json'), '{"version":1,"fit":{},"quantiles":{}}');
    await refuses(
      work,
      1,
      /is no forecaster of version 1/,
      'forecast',
      'predict',
      good,
      '--model',
      broken,
      '--device',
      'wasm',
    );
    const short = fileOf('short-predict.csv', hours(10));
    await refuses(
      work,
      2,
      /has 10 rows, the model looks back 16/,
      'forecast',
      'predict',
      short,
      '--model',
      folder,
      '--device',
      'wasm',
    );
    const daily = fileOf('daily.csv', 'date,load,temp,flat\n2024-01-01,1,2,3\n2024-01-02,1,2,3\n');
    await refuses(
      work,
      2,
      /its rows are 1 d apart, those that the model learned 1 h/,
      'forecast',
      'predict',
      daily,
      '--model',
      folder,
      '--device',
      'wasm',
    );
  });

  it('reads long files, and says what was done to the rows', async () => {
    const lines = hours(320).trim().split('\n').slice(1);
    const long = lines.flatMap((line, t) => {
      const [date, load, temp] = line.split(',');
      return t === 50 ? [] : [`a,${date},${load}`, `b,${date},${t === 70 ? '' : temp}`];
    });
    const path = fileOf('long.csv', `unique_id,ds,y\n${long.join('\n')}\n`);
    const { code, stdout, stderr } = await krait(
      'forecast',
      path,
      ...SMALL,
      '--model',
      'dlinear',
      '--weight-decay',
      '15',
    );
    assert.equal(code, 0, stderr);
    assert.match(stderr, /gaps: 1 step without a row in 1 gap, the first at 2024-01-03 02:00:00/);
    assert.match(stderr, /missing: 2 values of b filled by the rule forward/);
    assert.match(stdout, /^b,2024-01-14 11:00:00,/m);
    assert.match(stdout, /^dlinear is not better than ridge.* on the test part\.$/m);
  });

  it('refuses what it cannot use in one line', async () => {
    const run = (text: string, ...flags: string[]) => ['forecast', fileOf('bad.csv', text), ...SMALL, ...flags];
    fileOf('bad.csv', '');
    await refuses(work, 1, /bad\.csv: has no date column: none of a, b/, ...run('a,b\n1,2\n2,3\n'));
    await refuses(
      work,
      1,
      /row 12, column temp: "n\.a\. " is not a number|row 12, column temp: "n\.a\." is not/,
      ...run(hours(320, (l, t) => (t === 10 ? l.replace(/,[^,]*,7$/, ',n.a.,7') : l))),
    );
    await refuses(
      work,
      1,
      /2024-01-01 10:07:00 \(data row 11\) is not a whole number of steps of 1 h/,
      ...run(hours(320, (l, t) => (t === 10 ? l.replace('10:00:00', '10:07:00') : l))),
    );
    await refuses(work, 1, /20 rows are too few.*look-back 16 plus horizon 4 is 20/, ...run(hours(20)));
    await refuses(work, 2, /no column "lod".*load/, 'forecast', good, ...SMALL, '--columns', 'lod');
    await refuses(work, 2, /required option '--horizon <n>' not specified/, 'forecast', good);
    await refuses(work, 2, /--target: no column "x"/, 'forecast', good, ...SMALL, '--target', 'x');
    await refuses(work, 2, /--quantiles.*between 0 and 1, such as/, 'forecast', good, ...SMALL, '--quantiles', '0.1,1');
    await refuses(work, 2, /--out: .*is a folder; give a file/, 'forecast', good, ...SMALL, '--out', work);
    await refuses(
      work,
      2,
      /--plot: .*good\.csv is a file, not a folder/,
      'forecast',
      good,
      ...SMALL,
      '--plot',
      join(good, 'x', 'a.svg'),
    );
    await refuses(
      work,
      2,
      /--out and --report are both/,
      'forecast',
      good,
      ...SMALL,
      '--out',
      at('same'),
      '--report',
      at('same'),
    );
    await refuses(work, 2, /the data and --out are both/, 'forecast', good, ...SMALL, '--out', good);
    const many = Array.from({ length: 13 }, (_, k) => `v${k}`).join(',');
    const rows = hours(320, (line) => `${line.split(',')[0]},${Array.from({ length: 13 }, (_, k) => k).join(',')}`);
    const wide = rows.replace('load,temp,flat', many);
    await refuses(
      work,
      2,
      /--solver: exact takes 12 variables at most, there are 13/,
      ...run(wide, '--solver', 'exact'),
    );
    await refuses(work, 2, /drift is not trained/, 'forecast', good, ...SMALL, '--model', 'drift');
    await refuses(
      work,
      2,
      /a patch of 17 does not fit the look-back of 16/,
      'forecast',
      good,
      ...SMALL,
      '--patch',
      '17',
    );
    await refuses(
      work,
      2,
      /ridge: .*no effects of the calendar/,
      'forecast',
      good,
      ...SMALL,
      '--model',
      'ridge',
      '--calendar',
    );
    const years = Array.from({ length: 80 }, (_, t) => `${1940 + t},${t % 7}`);
    await refuses(work, 2, /--calendar: steps of 12 months/, ...run(`date,v\n${years.join('\n')}\n`, '--calendar'));
    await refuses(work, 1, /none\.csv/, 'forecast', at('none.csv'), ...SMALL);
    await refuses(work, 2, /--data: no etth3/, 'forecast', 'bench', '--data', 'etth3');
    await refuses(
      work,
      1,
      /etth1: no ETTh1\.csv in .*--data-dir or KRAIT_SHARED_DATA/,
      'forecast',
      'bench',
      '--data',
      'etth1',
      '--data-dir',
      work,
      '--device',
      'wasm',
    );
  });

  const data = process.env['KRAIT_SHARED_DATA'] ?? fileURLToPath(new URL('../../shared/data', import.meta.url));
  const skip = existsSync(join(data, 'ett', 'ETTh1.csv')) ? false : 'no ett/ETTh1.csv in KRAIT_SHARED_DATA';
  const isRare = onlyInAll('2,785 and 2,161 test windows').skip;

  it('scores every test window of ETTh1 and keeps what is done', { skip: skip || isRare }, async () => {
    const out = at('bench');
    const flags = [
      'forecast',
      'bench',
      '--data',
      'etth1',
      '--data-dir',
      data,
      '--horizon',
      '96,720',
      '--model',
      'seasonal-naive',
      '--device',
      'wasm',
      '--json',
    ];
    const first = await krait(...flags, '--out', out);
    assert.equal(first.code, 0, first.stderr);
    const { cells } = JSON.parse(first.stdout);
    assert.deepEqual(
      cells.map(({ windows }: { windows: number }) => windows),
      [2785, 2161],
    );
    // Of repeating the day before: known for this set at horizon 96 (DLinear's authors give 0.512 for a repeat of the day).
    assert.ok(cells[0].mse > 0.4 && cells[0].mse < 0.6, `${cells[0].mse}`);
    await refuses(out, 2, /exists and is not empty; give --resume/, ...flags.slice(0, -1), '--out', out);
    const again = await krait(...flags, '--out', out, '--resume');
    assert.deepEqual(JSON.parse(again.stdout), JSON.parse(first.stdout));
    assert.doesNotMatch(again.stderr, /MSE/);
    // An earlier version kept the cell alone; a damaged one is scored again.
    const [short, long] = [96, 720].map((h) => join(out, `etth1-seasonal-naive-${h}-s0`, 'result.json'));
    writeFileSync(short, JSON.stringify(cells[0], null, 1));
    writeFileSync(long, '{"identity":');
    const mended = await krait(...flags, '--out', out, '--resume');
    assert.deepEqual(JSON.parse(mended.stdout), JSON.parse(first.stdout));
    assert.match(mended.stderr, /warning .*naive-720-s0.result\.json: .*; it is measured again\n/);
    assert.doesNotMatch(mended.stderr, /naive-96-s0: MSE/);
    const other = await krait(...flags, '--out', out, '--resume', '--lookback', '96');
    assert.match(
      other.stderr,
      /warning .*result\.json: kept from other models, data, settings .* are measured again\n/,
    );
    assert.match(other.stderr, /naive-96-s0: MSE.*\n(?:.*\n)*?.*naive-720-s0: MSE/);
    writeFileSync(join(out, 'notes.txt'), 'mine');
    const forced = await krait(...flags, '--out', out, '--force');
    assert.deepEqual(JSON.parse(forced.stdout), JSON.parse(first.stdout));
    assert.match(forced.stderr, /etth1-seasonal-naive-96-s0: MSE/);
    assert.equal(readFileSync(join(out, 'notes.txt'), 'utf8'), 'mine', 'removed what is not its own');
  });

  it('goes on only with the settings that a cell was begun with', { skip }, async () => {
    const out = at('begun');
    const bench = ['forecast', 'bench', '--data', 'etth1', '--data-dir', data, '--seeds', '1', '--out', out];
    const flags = [...bench, '--model', 'dlinear', '--horizon', '96', '--device', 'reference', '--lookback', '8'];
    // A cell that was stopped: its settings and no result.
    const place = join(out, 'etth1-dlinear-96-s0');
    mkdirSync(place, { recursive: true });
    const begun = fitSettings('dlinear', 'etth1', 96, 0, { lookback: 8 });
    writeFileSync(join(place, 'settings.json'), JSON.stringify({ ...begun, loss: 'huber' }));
    await refuses(out, 2, /etth1-dlinear-96-s0: loss was "huber", now "mse"; give --force/, ...flags, '--resume');
    writeFileSync(join(place, 'settings.json'), JSON.stringify({ ...begun, settings: { dropout: 0.1 } }));
    await refuses(out, 2, /dropout was 0.1, now not set/, ...flags, '--resume');
    writeFileSync(join(place, 'settings.json'), '{');
    await refuses(out, 1, /settings\.json/, ...flags, '--resume');
  });
});
