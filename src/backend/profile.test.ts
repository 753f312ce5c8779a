/** The profiler on its own, and what is made of a profile. The devices' part is in the contract (testing/profiling.ts). */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Command, command, type TensorArg } from './command.ts';
import { type Profile, Profiler } from './profile.ts';
import { chromeTrace, hasPairs, kernelRows, kernelSeconds, shapeRows } from './profile-report.ts';
import { measureRoofline } from './profile-roofline.ts';
import { createReferenceBackend } from './reference/index.ts';

const y: TensorArg = { block: { address: 64, bytes: 1e6 }, offset: 0, ld: 8, dtype: 'f32' };
const fill = (cols: number): Command => command('fill', { y }, { rows: 1, cols }, { value: 0 });
const product = (n: number, a = y, b = y): Command => {
  const dims = { batch: 1, m: n, n, k: n, transA: 0, transB: 0, strideA: 0, strideB: 0, strideC: 0 };
  return command('matmul', { a, b, c: y }, dims, { alpha: 1, beta: 0 });
};

/** A profile of launches with these durations in nanoseconds, 10 apart. */
async function profileOf(...launches: [Command, durationNs: number][]): Promise<Profile> {
  let at = 100;
  const times = launches.flatMap(([, duration]) => {
    const start = at;
    at += duration + 10;
    return [start, duration];
  });
  const profiler = new Profiler(
    { setTiming: () => {}, takeTimes: () => times.splice(0), sync: async () => {} },
    'here',
  );
  profiler.start();
  for (const [cmd] of launches) profiler.add(cmd);
  return profiler.stop();
}

describe('Profiler', () => {
  it('matches times that come in pieces with launches in their order', async () => {
    const pieces: number[][] = [];
    const source = { setTiming: () => {}, takeTimes: () => pieces.shift() ?? [], sync: async () => {} };
    const profiler = new Profiler(source, 'here');
    profiler.start();
    // Asked after every 4096 launches: it has seen some of them, none, and in the end the rest.
    const count = 9000;
    const times = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => [from + i, 1]).flat();
    pieces.push(times(0, 100), times(100, 100), times(100, count));
    for (let i = 0; i < count; i++) profiler.add(fill(i < 8000 ? 1 : 2));
    const { shapes, spans, launches } = await profiler.stop();
    assert.equal(launches, count);
    assert.deepEqual(
      shapes.map(({ calls }) => calls),
      [8000, 1000],
    );
    assert.deepEqual(spans.startNs, [...Array(count).keys()]);
    assert.equal(spans.shape.indexOf(1), 8000);
  });

  it('is off after a device that failed, and says when times are missing', async () => {
    const calls: boolean[] = [];
    let sync: () => Promise<void> = () => Promise.reject(new Error('gone'));
    const source = { setTiming: (on: boolean) => calls.push(on), takeTimes: () => [], sync: () => sync() };
    const profiler = new Profiler(source, 'here');
    profiler.start();
    profiler.add(fill(1));
    await assert.rejects(profiler.stop(), /gone/);
    assert.deepEqual([profiler.isOn, calls], [false, [true, false]]);
    sync = async () => {};
    profiler.start();
    profiler.add(fill(1));
    await assert.rejects(profiler.stop(), /lacks the times of 1 launches/);
    assert.equal(profiler.isOn, false);
  });
});

describe('rows of a profile', () => {
  const roofs = { flopsPerSecond: 1e12, bytesPerSecond: 1e10 };
  const device = { variant: 'avx512' };

  it('hold launches against the longer of operations and bytes', async () => {
    // 2 * 100^3 operations take 2000 ns at the peak, 3 * 4 * 100^2 bytes 12000 ns at the speed of memory.
    const profile = await profileOf(
      [product(100), 24_000],
      [fill(1000), 800],
      [product(2000), 32e6],
      [fill(1000), 200],
    );
    const rows = kernelRows(profile, roofs, device);
    assert.deepEqual(
      rows.map(({ kernel, calls }) => [kernel, calls]),
      [
        ['matmul', 2],
        ['fill', 2],
      ],
    );
    const close = (a: number, b: number) => assert.ok(Math.abs(a - b) <= 1e-9 * b, `${a} instead of ${b}`);
    close(rows[0].seconds, 32.024e-3);
    close(rows[0].roofShare, (12e-6 + 16e-3) / 32.024e-3);
    close(rows[0].gflops, (2e6 + 1.6e10) / 32.024e-3 / 1e9);
    close(rows[1].gigabytesPerSecond, 8000 / 1000);
    close(rows[1].roofShare, 0.8);
    close(rows[1].share, 1e-6 / profile.wallSeconds);
    const shapes = shapeRows(profile, roofs, device);
    assert.deepEqual(
      shapes.map(({ kernel, dims }) => [kernel, dims.n ?? dims.cols]),
      [
        ['matmul', 2000],
        ['matmul', 100],
        ['fill', 1000],
      ],
    );
    close(shapes[0].roofShare, 0.5);
    close(kernelSeconds(profile), 32.025e-3);
  });

  it('hold products of bf16 against dot products of pairs where a processor has them', async () => {
    const half: TensorArg = { ...y, dtype: 'bf16' };
    // 2 * 2000^3 operations: 16 ms at the peak, 8 ms by pairs; bytes take 3.2 ms or less.
    const both = await profileOf([product(2000, half, half), 16e6]);
    const mixed = await profileOf([product(2000, half), 16e6]);
    const share = (profile: Profile, variant: string) => [
      kernelRows(profile, roofs, { variant })[0].roofShare.toFixed(3),
      shapeRows(profile, roofs, { variant })[0].roofShare.toFixed(3),
    ];
    assert.deepEqual(share(both, 'avx512bf16'), ['0.500', '0.500']);
    assert.deepEqual(share(both, 'avx512'), ['1.000', '1.000']);
    assert.deepEqual(share(mixed, 'avx512bf16'), ['1.000', '1.000']);
    assert.deepEqual(
      [both, mixed].map((profile) => hasPairs({ variant: 'avx512bf16' }, profile)),
      [true, false],
    );
  });

  it('are none where nothing was launched', async () => {
    const profile = await profileOf();
    assert.deepEqual(
      [kernelRows(profile, roofs, device), shapeRows(profile, roofs, device), kernelSeconds(profile)],
      [[], [], 0],
    );
  });
});

interface Event {
  name: string;
  ph: string;
  tid: number;
  ts: number;
  dur: number;
  args: Record<string, unknown>;
}

describe('trace', () => {
  it('parses, names its tracks, and has events on them that do not overlap', async () => {
    const backend = createReferenceBackend();
    const block = backend.alloc(4096);
    const launch = (cols: number) =>
      backend.launch(
        command('fill', { y: { block, offset: 0, ld: cols, dtype: 'f32' } }, { rows: 1, cols }, { value: 1 }),
      );
    const profiles: Record<string, Profile> = {};
    for (const name of ['first', 'second "run"']) {
      backend.profiler.start();
      for (let i = 1; i <= 40; i++) launch(i);
      profiles[name] = await backend.profiler.stop();
    }
    backend.close();
    const { traceEvents } = JSON.parse(chromeTrace(profiles, 'krait')) as { traceEvents: Event[] };
    const names = traceEvents.filter(({ name }) => name === 'thread_name').map(({ tid, args }) => [tid, args.name]);
    assert.deepEqual(names, [
      [1, 'first'],
      [2, 'second "run"'],
    ]);
    for (const tid of [1, 2]) {
      const events = traceEvents.filter((event) => event.ph === 'X' && event.tid === tid);
      assert.equal(events.length, 40);
      assert.deepEqual(events[6].args, { dims: 'rows 1, cols 7', dtypes: 'y f32', flops: 0, bytes: 28 });
      for (let i = 1; i < events.length; i++) {
        const gap = events[i].ts - events[i - 1].ts - events[i - 1].dur;
        assert.ok(gap > -0.0015, `event ${i} overlaps by ${-gap} us`); // both are rounded to nanoseconds
      }
    }
    const last = traceEvents.findLast(({ tid }) => tid === 1)!;
    const first = traceEvents.find(({ tid, ph }) => tid === 2 && ph === 'X')!;
    assert.ok(first.ts >= last.ts + last.dur - 0.0015, 'one after the other');
  });

  it('keeps whole nanoseconds', async () => {
    const trace = chromeTrace({ x: await profileOf([fill(1), 1234], [fill(2), 1]) }, 'krait');
    const { traceEvents } = JSON.parse(trace) as { traceEvents: Event[] };
    const times = traceEvents.filter(({ ph }) => ph === 'X').map(({ ts, dur }) => [ts, dur]);
    assert.deepEqual(times, [
      [0.1, 1.234],
      [1.344, 0.001],
    ]);
  });
});

describe('roofs', () => {
  it('are measured on any device, which keeps nothing', async () => {
    const backend = createReferenceBackend();
    const { flopsPerSecond, bytesPerSecond } = await measureRoofline(backend, 1);
    assert.ok(flopsPerSecond > 1e5 && Number.isFinite(flopsPerSecond));
    assert.ok(bytesPerSecond > 1e5 && Number.isFinite(bytesPerSecond));
    assert.equal(backend.memory().blocks, 0);
    backend.close();
  });
});
