/** The benchmark suite without its rivals: arithmetic, turns of child processes, results that go on, the report. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { plainFlops } from '../bench/lanes/profile-lines.ts';
import { verdictOf } from '../bench/measurements/agreement.ts';
import { MEASUREMENTS } from '../bench/measurements/index.ts';
import { scanShare } from '../bench/measurements/training.ts';
import { sameLosses, sameSums } from '../bench/suite/checks.ts';
import { betweenRatio, figure, krait, rateText, roofShare, speedRatio } from '../bench/suite/figures.ts';
import type { LaneSpec } from '../bench/suite/lane.ts';
import { describeMachine, type Machine } from '../bench/suite/machine.ts';
import { type Figure, holds, type ProfileLine } from '../bench/suite/measurement.ts';
import { between, type Entry, race } from '../bench/suite/race.ts';
import { figuresTable, type Notes, reportText } from '../bench/suite/report.ts';
import { ROW_IDS } from '../bench/suite/rows.ts';
import { around, median, medianRatio, spread } from '../bench/suite/statistics.ts';
import {
  failuresOf,
  METHOD,
  noResults,
  planRun,
  type Result,
  type Results,
  readResults,
  writeResults,
} from '../bench/suite/store.ts';
import { EXP_FLOPS, KERNELS, SOFTPLUS_FLOPS } from '../src/backend/index.ts';
import { NODE_FLAGS } from '../src/core/testing/module-process.ts';
import { writeTinyModel } from './tiny-model.ts';

const work = mkdtempSync(join(tmpdir(), 'krait-bench-suite-'));
after(() => rmSync(work, { recursive: true, force: true }));

const MACHINE: Machine = { cpu: 'a | b', cores: 2, isa: 'native avx2', memoryBytes: 2 ** 34, system: 'x', node: '20' };
const GOOD: Figure = { row: 'prefill', what: 'f32', value: 5, unit: 'x', least: 4.5, from: 'this | that' };
const SHORT: Figure = { row: 'cold-start', what: 'f32', value: 2, unit: 's', most: 0.6 };
const MISSING: Figure = { row: 'decode', what: 'int8', value: null, unit: 'x', least: 2, problem: 'not available' };
const OLD: Figure = { row: 'scan', what: 'forward', value: 0.5, unit: '%' };
const resultOf = (figures: Figure[], more: Partial<Result> = {}): Result => ({
  figures,
  raw: null,
  method: METHOD,
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

  it('compares a long round with what stands before and after it', () => {
    assert.deepEqual(between('a', 'b', 2), ['a', 'b', 'a', 'b', 'a']);
    assert.deepEqual(between('a', 'b', 1, 2), ['a', 'a', 'b', 'a', 'a']);
    assert.deepEqual(around([1, 3, 9], 2), [2, 6]);
    assert.deepEqual(around([1, 2, 4, 100], 1), [3]);
    assert.throws(() => around([1, 2], 2), /2 rounds around 2/);
    assert.throws(() => around([], 1), /0 rounds around 1/);
  });

  it('says how far rounds differ only where there are several', () => {
    assert.equal(rateText([9, 10, 11], 'tok/s'), '10 tok/s (+-10 %)');
    assert.equal(rateText([126.4], 's'), '126 s (one round)');
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
    const roofs = '[{ flopsPerSecond: 100 - n }, { flopsPerSecond: 104 - n }]';
    const steady = child(`say({ tokensPerSecond: 10 * n, roofs: ${roofs}, flopsPerSecond: 10 * (102 - n) * n });`);
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
    // Of each round by the mean of its own two: 10, 20 and 30 times it; not the median over the highest.
    assert.equal(roofShare({ row: 'full-step', what: '' }, entries.a, 'flopsPerSecond').value, 20);
    const lost = speedRatio({ row: 'prefill', what: '' }, { over: entries.a, under: entries.c, names });
    assert.deepEqual([lost.value, lost.problem], [null, 'no memory']);
  });

  it('lets one have its rounds between those of another', async () => {
    rmSync(join(work, 'log'));
    const steady = child('say({ tokensPerSecond: n, seconds: n });');
    const specs = { long: steady, short: named(steady, 'b') };
    const entries = await race({ say: () => {} }, specs, { rounds: between('short', 'long', 1, 2) });
    assert.equal(readFileSync(join(work, 'log'), 'utf8'), 'bbabb');
    const sides = { over: entries.long, under: entries.short, names: ['A', 'B'] } as const;
    const { value, from } = betweenRatio({ row: 'long-speed', what: '' }, sides, 'tokensPerSecond');
    assert.deepEqual([value, from], [1 / 2.5, 'A 1 tok/s (one round), B 2.5 tok/s (+-60 %)']);
  });

  it('says that one gave no answer, not how it was ended', async () => {
    const silent = { ...child("console.error('a warning');"), timeoutMs: 600 };
    const { silent: entry } = await race({ say: () => {} }, { silent }, { rounds: 1 });
    assert.deepEqual(entry, { problem: 'no answer in 0.01 minutes' });
  });

  it('makes a figure of what throws', () => {
    const broken = () => {
      throw new Error('no such round');
    };
    assert.equal(figure({ row: 'scan', what: '', unit: '%' }, broken).problem, 'no such round');
  });
});

describe('whether contestants compute the same', () => {
  const ran = (loss: unknown, logprobs: unknown[] = []): Entry => ({
    about: { loss },
    rounds: logprobs.map((logprob) => ({ logprob })),
    last: {},
  });

  it('is a matter of stated tolerances', () => {
    const same = sameLosses('loss', { Krait: ran(10), rival: ran(10.0009) });
    assert.deepEqual(same, { isOk: true, text: 'loss: Krait 10.00000, rival 10.00090; apart by 9e-5, at most 0.0001' });
    assert.equal(sameLosses('loss', { Krait: ran(10), rival: ran(10.0011) }).isOk, false);
    const sums = (ours: unknown[], theirs: unknown[]) => sameSums('', { a: ran(0, ours), b: ran(0, theirs) }).isOk;
    assert.deepEqual([sums([-1000], [-1000.009]), sums([-1000], [-1000.011])], [true, false]);
    assert.equal(sums([-1000, -1000.02], [-1000, -1000]), false, 'every round counts');
  });

  it('fails on what is no number, and is not known of one alone', () => {
    assert.equal(sameLosses('', { a: ran(Number.NaN), b: ran(1) }).isOk, false);
    assert.equal(sameLosses('', { a: ran(null), b: ran(1) }).isOk, false);
    assert.equal(sameLosses('', { a: ran(0), b: ran(0) }).isOk, true);
    assert.equal(sameLosses('', { a: ran(1), b: { problem: 'no memory' } }).isOk, null);
    assert.equal(sameLosses('', { b: { problem: 'no memory' } }).isOk, null);
  });

  it('is what the program that compares logits ends with', () => {
    const stdout = 'Krait: native\nFAIL bf16 against Krait in bf16\n       same choice 2 of 43\n';
    const of = (more: object) => verdictOf('bf16', { stdout, stderr: '', ...more });
    const text = 'logits and greedy tokens of node-llama-cpp, bf16 against Krait in bf16; same choice 2 of 43';
    assert.deepEqual(of({ code: 1 }), { isOk: false, text });
    assert.deepEqual(of({ stdout: stdout.replace('FAIL', 'ok  ') }), { isOk: true, text });
    const odd = of({ stdout: '', stderr: 'odd file\n', code: 1 });
    assert.deepEqual([odd.isOk, odd.text.endsWith('node-llama-cpp, bf16: odd file')], [false, true]);
    const stderr = 'node-llama-cpp cannot be loaded; run npm install --prefix bench --ignore-scripts';
    assert.equal(of({ stdout: '', stderr, code: 1 }).isOk, null);
  });

  it('decides the exit code, of results that stand there too', { timeout: 60_000 }, async () => {
    const [out, docs] = ['checked.json', 'checked.md'].map((name) => join(work, name));
    const checks = [{ isOk: false, text: 'loss: Krait 1, rival 2' }];
    const before = noResults(await describeMachine());
    const args = ['--only', 'scan', '--resume', '--out', out, '--docs', docs, '--work', work];
    const command = [...NODE_FLAGS, fileURLToPath(new URL('../bench/run.ts', import.meta.url)), ...args];
    const codes = [[], checks].map((own) => {
      writeResults(out, { ...before, results: { scan: resultOf([], { checks: own }) } });
      return spawnSync(process.execPath, command, { encoding: 'utf8' });
    });
    assert.deepEqual([codes[0].status, codes[1].status], [0, 1], codes[0].stderr);
    assert.match(codes[1].stderr, /^scan: FAIL loss: Krait 1, rival 2$/m);
    assert.match(readFileSync(docs, 'utf8'), /^- \*\*FAIL\*\*: loss: Krait 1, rival 2 \(2026-01-02, abc\)$/m);
  });
});

describe('the lane of Krait', () => {
  it('tells roofs around each round, bytes of int8, and its profile', { timeout: 60_000 }, async () => {
    const model = join(work, 'tiny');
    await writeTinyModel(model);
    const options = { model, dtype: 'i8', work: 'decode', tokens: 2, device: 'reference', hasRoofs: true } as const;
    const lane = krait({ threads: 1 }, options);
    const { lane: entry } = await race({ say: () => {} }, { lane }, { rounds: 2, after: { lane: ['profile'] } });
    assert.ok('rounds' in entry, 'problem' in entry ? entry.problem : '');
    for (const { roofs } of entry.rounds) assert.equal((roofs as object[]).length, 2);
    const { value, from } = roofShare({ row: 'decode-bandwidth', what: 'int8' }, entry, 'bytesPerSecond');
    assert.ok(value! > 0);
    assert.match(from!, /GB\/s \(\+-\d+ %\) of [\d.e-]+ GB\/s \(\+-\d+ %\)$/);
    const lines = entry.last.profile.kernels as ProfileLine[];
    const scan = lines.find(({ kernel }) => kernel === 'selective_scan')!;
    assert.ok(scan.plainShare! > 0 && scan.plainShare! <= scan.roofShare);
  });
});

describe('operations of a scan', () => {
  const dims = { b: 1, l: 1, d: 1, n: 0, chunk: 64, softplus: 0 };

  it('are counted as the text says', () => {
    for (const kernel of ['selective_scan', 'selective_scan_bwd'] as const) {
      const { flops } = KERNELS[kernel];
      const plain = (change: object) => {
        const own = { ...dims, ...change };
        return plainFlops({ kernel, dims: own, dtypes: {}, flops: flops(own), bytes: 0 });
      };
      // What a state and a softplus add: the table's, without its e^x but one operation of it.
      assert.equal(plain({ n: 1 }) - plain({}), flops({ ...dims, n: 1 }) - flops(dims) - EXP_FLOPS + 1);
      assert.equal(plain({ softplus: 1 }) - plain({}), kernel === 'selective_scan' ? 1 : 4);
    }
    const { flops } = KERNELS.selective_scan;
    const added = [{ softplus: 1 }, { n: 1 }].map((change) => flops({ ...dims, ...change }) - flops(dims));
    assert.deepEqual(added, [SOFTPLUS_FLOPS, EXP_FLOPS + 6]);
    assert.equal(plainFlops({ kernel: 'fill', dims: {}, dtypes: {}, flops: 7, bytes: 0 }), 7);
  });

  it('are named beside the share, with what it is by the other count', () => {
    const line = { kernel: 'selective_scan', roofShare: 0.5, plainShare: 0.125 };
    const entry: Entry = { about: {}, rounds: [{ kernels: [line] }], last: {} };
    const { value, from } = scanShare('forward', entry, 'selective_scan');
    assert.equal(value, 0.5);
    assert.match(from!, /e\^x as 14 operations, softplus as 34, .*; 12\.5 % with each as one$/);
    assert.equal(scanShare('', entry, 'selective_scan_bwd').problem, 'no selective_scan_bwd in the profile');
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

  it('of an older method stay beside, but do not stand for a new one', () => {
    const older = { ...whole, results: { a: resultOf([GOOD], { method: undefined }), b: whole.results.b } };
    assert.deepEqual(planRun(older, { ...options, isResumed: true }).names, ['a', 'c']);
    assert.deepEqual(Object.keys(planRun(older, { ...options, wanted: ['c'], isPartial: true }).kept.results), [
      'a',
      'b',
    ]);
  });

  it('tell what failed of the measurements that were asked for', () => {
    const bad = resultOf([], {
      checks: [
        { isOk: true, text: 'x' },
        { isOk: null, text: 'y' },
        { isOk: false, text: 'z' },
      ],
    });
    const results = { ...whole, results: { a: bad, b: bad } };
    assert.deepEqual(failuresOf(results, ['a', 'c']), ['a: FAIL z']);
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
      prefill: resultOf([GOOD], {
        programs: ['rival 1.0'],
        checks: [
          { isOk: true, text: 'same loss' },
          { isOk: null, text: 'no rival' },
        ],
        profiles: { reading: [profile] },
      }),
      rest: resultOf([SHORT, MISSING], {
        isQuick: true,
        load: 8,
        krait: '0.1.0 (def+)',
        finished: '2026-01-03T03:04:05.000Z',
      }),
      old: resultOf([OLD], { method: undefined, remarks: ['loss 1 and 1'], profiles: { writing: [profile] } }),
    },
  };
  const notes: Notes = { decode: { why: 'Waits for the kernels.' }, 'cold-start': { about: 'A new process.' } };
  const text = reportText(results, notes);

  it('has every row, with what was asked and reached', () => {
    assert.equal(text.match(/^### /gm)!.length, ROW_IDS.length + 1);
    assert.match(text, /\| f32 \| >= 4\.50x \| 5\.00x \| yes \| 2026-01-02, abc \| this \\\| that \|/);
    assert.match(text, /\| f32 \| <= 0\.60 s \| 2\.00 s \| NO \| 2026-01-03, def\+ \|/);
    assert.match(text, /\| int8 \| >= 2\.00x \| not measured \| - \| 2026-01-03, def\+ \| not available \|/);
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
      '- Date: 2026-01-02, 2026-01-03; 5 minutes',
      '- Krait 0.1.0; its commit',
      'rival 1.0',
      '- ok: same loss (2026-01-02, abc)',
      '- not compared: no rival (2026-01-02, abc)',
      '### Reading\n\nMeasured 2026-01-02, abc.',
      'Above 100 % where operands come from caches',
    ]) {
      assert.ok(text.includes(part), `the report lacks ${part}`);
    }
    assert.match(text, /QUICK, .*: rest$/m);
    assert.match(text, /DISTURBED .*: rest \(8\.0\)$/m);
    assert.match(text, /\| matmul \| 3 \| 50\.0 \| 10\.0 \| 2\.0 \| 25 \|/);
  });

  it('marks what an older suite measured, and leaves out its profiles', () => {
    assert.match(text, /^- OLDER, ratios of medians, .*: old; measure again$/m);
    assert.match(text, /\| forward \| - \| 50\.0 % \| - \| 2026-01-02, abc, OLDER \|/);
    assert.match(text, /^- OLDER: loss 1 and 1 \(2026-01-02, abc\)$/m);
    assert.doesNotMatch(text, /Writing/);
  });

  it('is a table on a terminal, in the order of the rows', () => {
    const lines = figuresTable(results).split('\n');
    assert.deepEqual(
      lines.slice(2).map((line) => line.split(' ')[0]),
      ['prefill', 'decode', 'scan', 'cold-start'],
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
