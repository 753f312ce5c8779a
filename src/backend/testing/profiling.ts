/** The contract of the profiler: every launch once, one after the other, within the time that passed, and not a bit changed. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Backend } from '../backend.ts';
import { type Command, command, type TensorArg } from '../command.ts';
import type { Profile } from '../profile.ts';
import { kernelSeconds } from '../profile-report.ts';
import { type Launch, run } from './runner.ts';

/** Declares the tests. `get` returns the device, `launches` one launch of each kernel, once they run. */
export function describeProfiling(get: () => Backend, launches: () => Promise<readonly Launch[]>): void {
  describe('profiler', () => {
    it('times every launch once, and changes no bit', async () => {
      const backend = get();
      const all = await launches();
      const runAll = async () => {
        const outputs = [];
        for (const launch of all) outputs.push(await run(backend, launch));
        return outputs;
      };
      const plain = await runAll();
      const { result, profile } = await profileOf(backend, runAll);
      assert.deepEqual(result, plain);
      assert.equal(profile.launches, all.length);
      checkTimes(profile);
      assert.deepEqual(
        profile.spans.shape.map((i) => profile.shapes[i].kernel),
        all.map(({ kernel }) => kernel),
      );
    });

    it('times launches between start and stop alone, and starts anew', () => withFill(get(), timesBetween));
    it('times more launches than any queue holds', () => withFill(get(), timesMany));
    it('keeps as many launches one by one as it is told to', () => withFill(get(), keepsFirst));
    it('leaves out what is refused, and refuses to be mixed up', () => withFill(get(), refuses));
  });
}

async function profileOf<T>(backend: Backend, work: () => T): Promise<{ result: Awaited<T>; profile: Profile }> {
  backend.profiler.start();
  const result = await work();
  return { result, profile: await backend.profiler.stop() };
}

function checkTimes(profile: Profile): void {
  const { spans, wallSeconds, shapes, launches } = profile;
  const ends = spans.startNs.map((start, i) => start + spans.durationNs[i]);
  for (let i = 0; i < ends.length; i++) {
    assert.ok(spans.durationNs[i] >= 0, `launch ${i} took ${spans.durationNs[i]} ns`);
    const gap = spans.startNs[i] - (ends[i - 1] ?? Number.NEGATIVE_INFINITY);
    assert.ok(gap > -1, `launch ${i} began ${-gap} ns before the end of the one before`);
  }
  const seconds = kernelSeconds(profile);
  assert.ok(seconds > 0 && seconds <= 1.05 * wallSeconds, `${seconds} s in kernels of ${wallSeconds} s`);
  assert.equal(
    shapes.reduce((sum, { calls }) => sum + calls, 0),
    launches,
  );
}

type Fill = (cols: number) => Command;

async function withFill(backend: Backend, work: (backend: Backend, fill: Fill) => Promise<void>): Promise<void> {
  const block = backend.alloc(4096);
  const fill: Fill = (cols) =>
    command('fill', { y: { block, offset: 0, ld: cols, dtype: 'f32' } }, { rows: 1, cols }, { value: 1 });
  await work(backend, fill);
  backend.free(block);
}

async function timesBetween(backend: Backend, fill: Fill): Promise<void> {
  for (let i = 0; i < 30; i++) backend.launch(fill(1000)); // some of them may still wait when it starts
  for (const cols of [10, 20]) {
    const { profile } = await profileOf(backend, () => {
      for (let i = 0; i < cols; i++) backend.launch(fill(cols));
    });
    const [{ kernel, dims, dtypes, bytes, calls }, ...others] = profile.shapes;
    assert.deepEqual({ kernel, dims, dtypes }, { kernel: 'fill', dims: { rows: 1, cols }, dtypes: { y: 'f32' } });
    assert.deepEqual([bytes, calls, others.length], [4 * cols, cols, 0]);
    checkTimes(profile);
    backend.launch(fill(1000));
  }
}

async function timesMany(backend: Backend, fill: Fill): Promise<void> {
  const count = 12_000;
  const cols = 2 ** 23;
  const block = backend.alloc(4 * cols);
  const y: TensorArg = { block, offset: 0, ld: cols, dtype: 'f32' };
  const slow = command('fill', { y }, { rows: 1, cols }, { value: 1 });
  backend.profiler.start();
  for (let i = 0; i < count; i++) {
    if (i % 5000 === 0) backend.launch(slow); // the device falls behind
    backend.launch(fill(1 + (i % 2)));
  }
  const profile = await backend.profiler.stop();
  backend.free(block);
  checkTimes(profile);
  assert.deepEqual([profile.launches, profile.spans.shape.length], [count + 3, count + 3]);
  assert.deepEqual(
    profile.shapes.map(({ calls }) => calls),
    [3, count / 2, count / 2],
  );
}

async function keepsFirst(backend: Backend, fill: Fill): Promise<void> {
  backend.profiler.start(5);
  for (let i = 1; i <= 9; i++) backend.launch(fill(i));
  const { shapes, spans, launches } = await backend.profiler.stop();
  assert.deepEqual([spans.shape, launches, shapes.length], [[0, 1, 2, 3, 4], 9, 9]);
}

async function refuses(backend: Backend, fill: Fill): Promise<void> {
  const gone = backend.alloc(8);
  backend.free(gone);
  const y: TensorArg = { block: gone, offset: 0, ld: 1, dtype: 'f64' }; // one device takes the type, but not the block
  const bad = command('fill', { y }, { rows: 1, cols: 1 }, { value: 1 });
  await assert.rejects(backend.profiler.stop(), /profiler is not on; start it first/);
  const { profile } = await profileOf(backend, () => {
    assert.throws(() => backend.profiler.start(), /profiler is on already; stop it first/);
    backend.launch(fill(1));
    assert.throws(() => backend.launch(bad));
    backend.launch(fill(2));
  });
  assert.equal(profile.launches, 2);
  checkTimes(profile);
  assert.equal(backend.profiler.isOn, false);
}
