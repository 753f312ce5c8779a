/** The benchmark suite without its rivals: arithmetic, turns of child processes, results that go on, the report. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { MEASUREMENTS } from '../bench/measurements/index.ts';
import { figure, roofShare, speedRatio } from '../bench/suite/figures.ts';
import type { LaneSpec } from '../bench/suite/lane.ts';
import type { Machine } from '../bench/suite/machine.ts';
import { type Figure, holds } from '../bench/suite/measurement.ts';
import { race } from '../bench/suite/race.ts';
import { figuresTable, type Notes, reportText } from '../bench/suite/report.ts';
import { ROW_IDS } from '../bench/suite/rows.ts';
import { median, medianRatio, spread } from '../bench/suite/statistics.ts';
import { noResults, planRun, type Result, type Results, readResults, writeResults } from '../bench/suite/store.ts';

const work = mkdtempSync(join(tmpdir(), 'krait-bench-suite-'));
after(() => rmSync(work, { recursive: true, force: true }));

const MACHINE: Machine = { cpu: 'a | b', cores: 2, isa: 'native avx2', memoryBytes: 2 ** 34, system: 'x', node: '20' };
const GOOD: Figure = { row: 'prefill', what: 'f32', value: 5, unit: 'x', least: 4.5, from: 'this | that' };
const SHORT: Figure = { row: 'cold-start', what: 'f32', value: 2, unit: 's', most: 0.6 };
const MISSING: Figure = { row: 'decode', what: 'int8', value: null, unit: 'x', least: 2, problem: 'not available' };
const resultOf = (figures: Figure[], more: Partial<Result> = {}): Result => ({
  figures,
  raw: null,
  krait: '0.1.0 (abc)',
  finished: '2026-01-02T03:04:05.000Z',
  seconds: 90,
  isQuick: false,
  load: 2,
  ...more,
});

describe('statistics', () => {
  it('takes the middle, and the mean of two middles, in any order', () => {
    assert.deepEqual([median([3]), median([9, 1, 5]), median([4, 1, 3, 100])], [3, 5, 3.5]);
    assert.throws(() => median([]), /no values/);
  });

  it('compares rounds that followed one another', () => {
    assert.equal(medianRatio([10, 5, 30], [5, 2.5, 10]), 2); // a slow second round is slow on both sides
    assert.throws(() => medianRatio([1, 2], [1]), /2 rounds against 1/);
    assert.equal(spread([9, 10, 11]), 0.1);
  });

  it('knows what holds', () => {
    assert.deepEqual([GOOD, SHORT, MISSING].map(holds), [true, false, null]);
    assert.equal(holds({ ...GOOD, least: undefined }), null);
  });
});

/** A contestant in a line of JavaScript: `round` is what it does when a round is asked for. */
const child = (round: string): LaneSpec => ({
  command: [
    process.execPath,
    '-e',
    `const fs = require('node:fs'), log = ${JSON.stringify(join(work, 'log'))}, options = JSON.parse(process.argv[1]);
     let n = 0;
     const say = (value) => console.log(JSON.stringify(value));
     say({ program: options.name });
     console.log('noise of a library');
     require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
       if (line === 'end') { say({ last: n }); process.exit(0); }
       fs.appendFileSync(log, options.name);
       n++; ${round}
     });`,
  ],
  options: { name: 'a' },
});
const named = (spec: LaneSpec, name: string): LaneSpec => ({ ...spec, options: { name } });

describe('race', () => {
  it('lets contestants take turns, and goes on without one that fails', async () => {
    const steady = child('say({ tokensPerSecond: 10 * n, roofs: { flopsPerSecond: 100 - n }, flopsPerSecond: 50 });');
    const failing = child(`if (n > 1) { console.error('first line\\nno memory'); process.exit(3); } say({ n });`);
    const absent = { command: [join(work, 'nothing-here')], options: {} };
    const specs = { a: steady, b: named(steady, 'b'), c: named(failing, 'c'), absent };
    const entries = await race({ say: () => {} }, specs, { rounds: 3 });
    assert.equal(readFileSync(join(work, 'log'), 'utf8'), 'abcabcab');
    assert.deepEqual(entries.c, { problem: 'no memory' });
    assert.match('problem' in entries.absent ? entries.absent.problem : '', /ENOENT/);
    const rounds = 'rounds' in entries.b ? entries.b.rounds.map(({ tokensPerSecond }) => tokensPerSecond) : [];
    assert.deepEqual(rounds, [10, 20, 30]);
    assert.deepEqual('last' in entries.a && entries.a.last, { end: { last: 3 } });

    const names = ['a', 'b'] as const;
    const ratio = speedRatio({ row: 'prefill', what: '' }, { over: entries.a, under: entries.b, names });
    assert.deepEqual([ratio.value, ratio.problem], [1, undefined]);
    assert.equal(roofShare({ row: 'full-step', what: '' }, entries.a, 'flopsPerSecond').value, 50 / 99);
    const lost = speedRatio({ row: 'prefill', what: '' }, { over: entries.a, under: entries.c, names });
    assert.deepEqual([lost.value, lost.problem], [null, 'no memory']);
  });

  it('makes a figure of what throws', () => {
    const broken = () => {
      throw new Error('no such round');
    };
    assert.equal(figure({ row: 'scan', what: '', unit: '%' }, broken).problem, 'no such round');
  });
});

describe('results', () => {
  const file = join(work, 'results.json');
  const whole: Results = { ...noResults(MACHINE), results: { a: resultOf([GOOD]), b: resultOf([SHORT]) } };
  const options = { machine: MACHINE, wanted: ['a', 'c'], isPartial: false, isResumed: false, isQuick: false };

  it('are read as they were written, and nothing stays beside them', () => {
    assert.equal(readResults(file), null);
    writeResults(file, whole);
    assert.deepEqual(readResults(file), whole);
    assert.equal(existsSync(`${file}.new`), false);
  });

  it('refuse a file that is something else, in one line with a remedy', () => {
    for (const text of ['{"format":', 'null', '{}', '{"format":2,"machine":{},"results":{}}']) {
      writeFileSync(file, text);
      assert.throws(() => readResults(file), /results\.json: .*; give another with --out, or remove it$/);
    }
  });

  it('are begun anew, resumed, or replaced in part', () => {
    const planned = (more: Partial<typeof options>, before: Results | null = whole) => {
      const { kept, names } = planRun(before, { ...options, ...more });
      return [Object.keys(kept.results), names];
    };
    assert.deepEqual(planned({}), [[], ['a', 'c']]);
    assert.deepEqual(planned({ isResumed: true }), [['a', 'b'], ['c']]);
    assert.deepEqual(planned({ isPartial: true }), [['b'], ['a', 'c']]);
    assert.deepEqual(planned({ isResumed: true }, null), [[], ['a', 'c']]);
  });

  it('never mix machines, nor take a quick result for a whole one', () => {
    const resumed = { ...options, isResumed: true };
    const other = { ...MACHINE, isa: 'native avx512' };
    assert.deepEqual(planRun(whole, { ...resumed, machine: other }).names, ['a', 'c']);
    const quick = { ...whole, results: { a: resultOf([GOOD], { isQuick: true }) } };
    assert.deepEqual(planRun(quick, resumed).names, ['a', 'c']);
    assert.deepEqual(planRun(quick, { ...resumed, isQuick: true }).names, ['c']);
  });
});

describe('report', () => {
  const profile = { kernel: 'matmul', calls: 3, share: 0.5, gflops: 10, gigabytesPerSecond: 2, roofShare: 0.25 };
  const results: Results = {
    ...noResults(MACHINE),
    results: {
      prefill: resultOf([GOOD], { programs: ['rival 1.0'], remarks: ['same loss'], profiles: { reading: [profile] } }),
      rest: resultOf([SHORT, MISSING], { isQuick: true, load: 8 }),
    },
  };
  const notes: Notes = { decode: { why: 'Waits for the kernels.' }, 'cold-start': { about: 'A new process.' } };
  const text = reportText(results, notes);

  it('has every row, with what was asked and reached', () => {
    assert.equal(text.match(/^### /gm)!.length, ROW_IDS.length + 1);
    assert.match(text, /\| f32 \| >= 4\.50x \| 5\.00x \| yes \| this \\\| that \|/);
    assert.match(text, /\| f32 \| <= 0\.60 s \| 2\.00 s \| NO \|/);
    assert.match(text, /\| int8 \| >= 2\.00x \| not measured \| - \| not available \|/);
    assert.match(text, /1 of 2 figures hold what was asked/);
    assert.match(text, /Not measured in this run\./);
  });

  it('keeps what people wrote, and says where it lacks', () => {
    assert.match(text, /Waits for the kernels\./);
    assert.match(text, /A new process\./);
    assert.equal(text.match(/What holds it: not written yet/g)!.length, 1);
  });

  it('names the machine, versions, days, and what was quick', () => {
    for (const part of [
      'a | b, 2 cores, 16 GiB',
      'native avx2',
      '0.1.0 (abc)',
      '2026-01-02',
      'rival 1.0',
      'same loss',
    ]) {
      assert.ok(text.includes(part), `the report lacks ${part}`);
    }
    assert.match(text, /QUICK, .*: rest$/m);
    assert.match(text, /DISTURBED .*: rest \(8\.0\)$/m);
    assert.match(text, /\| matmul \| 3 \| 50\.0 \| 10\.0 \| 2\.0 \| 25 \|/);
  });

  it('is a table on a terminal, in the order of the rows', () => {
    const lines = figuresTable(results).split('\n');
    assert.deepEqual(
      lines.slice(2).map((line) => line.split(' ')[0]),
      ['prefill', 'decode', 'cold-start'],
    );
  });
});

describe('the suite', () => {
  it('has measurements with names of their own, and notes for rows that there are', () => {
    const names = MEASUREMENTS.map(({ name }) => name);
    assert.equal(new Set(names).size, names.length);
    const written = JSON.parse(readFileSync(new URL('../bench/notes.json', import.meta.url), 'utf8')) as Notes;
    const unknown = Object.keys(written).filter((row) => !(ROW_IDS as string[]).includes(row));
    assert.deepEqual(unknown, [], 'bench/notes.json has rows that bench/suite/rows.ts lacks');
  });
});
