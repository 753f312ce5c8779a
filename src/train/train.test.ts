import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { DivergedError, FileFormatError } from '../core/index.ts';
import { formatRecord } from '../io/index.ts';
import { NodeFileSystem } from '../platform/node/index.ts';
import { referenceDevice, TinyTask } from '../tune/testing/tiny-runs.ts';
import { type StepReport, type TrainerOptions, type TrainInput, train } from './index.ts';

const files = new NodeFileSystem();
const folders: string[] = [];
const newFolder = async (): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'krait-run-'));
  folders.push(folder);
  return folder;
};
after(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true }))));

const OPTIONS = {
  steps: 20,
  learningRate: 0.05,
  schedule: 'cosine',
  warmup: 3,
  seed: 11,
  evalEvery: 4,
  saveEvery: 3,
} as const satisfies Partial<TrainerOptions>;

const weightsOf = async (task: TinyTask) => Array.from(await task.weights.read());
const linesOf = async (folder: string) =>
  (await readFile(join(folder, 'metrics.jsonl'), 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, number>);

test('a run that is aborted at any step and resumed is bit-identical to one that never stopped', async () => {
  const whole = new TinyTask(referenceDevice());
  const wholeFolder = await newFolder();
  const expected = await train(whole, { options: OPTIONS, place: { files, folder: wholeFolder } });
  assert.equal(expected.status, 'completed');
  for (const stop of [1, 8, 15]) {
    const folder = await newFolder();
    const abort = new AbortController();
    const onStep = ({ step }: StepReport) => step === stop && abort.abort();
    const first = await train(new TinyTask(referenceDevice()), {
      options: OPTIONS,
      place: { files, folder },
      signal: abort.signal,
      onStep,
    });
    assert.equal(first.status, 'aborted');
    assert.ok(first.step >= stop && first.step < 20, `stopped at ${first.step}`);
    const task = new TinyTask(referenceDevice());
    const result = await train(task, { options: OPTIONS, place: { files, folder, resume: true } });
    assert.deepEqual(await weightsOf(task), await weightsOf(whole), `stopped at ${stop}`);
    assert.deepEqual(result.best, expected.best);
    assert.equal(result.loss, expected.loss);
    const strip = ({ tokens_per_second: _, ...line }: Record<string, number>) => line;
    assert.deepEqual((await linesOf(folder)).map(strip), (await linesOf(wholeFolder)).map(strip));
  }
});

test('lines and events beyond the checkpoint are cut when a run is resumed', async () => {
  const folder = await newFolder();
  const options = { ...OPTIONS, saveEvery: 6, evalEvery: 0 };
  await train(new TinyTask(referenceDevice()), { options, place: { files, folder } });
  // As if killed after step 20 was logged, with the checkpoint of step 18 as the last.
  await files.writeAtomic(join(folder, 'checkpoints', 'last'), 'step-00000018\n');
  const metrics = await files.openWritable(join(folder, 'metrics.jsonl'));
  await metrics.write(new TextEncoder().encode('{"step":21,"lo'));
  await metrics.close();
  await train(new TinyTask(referenceDevice()), { options, place: { files, folder, resume: true } });
  const steps = (await linesOf(folder)).map(({ step }) => step);
  assert.deepEqual(
    steps,
    Array.from({ length: 20 }, (_, i) => i + 1),
  );
  const events = await readFile(join(folder, 'events.out.tfevents.krait'));
  const oneEvent = formatRecord(new Uint8Array(0)).length;
  assert.ok(events.length > 20 * oneEvent);
  assert.deepEqual(
    (await readdir(join(folder, 'checkpoints'))).filter((name) => name.startsWith('.tmp')),
    [],
  );
});

test('a NaN loss stops the run and keeps the last good checkpoint', async () => {
  const folder = await newFolder();
  const task = new TinyTask(referenceDevice(), { inputAt: (step) => (step === 8 ? Number.NaN : undefined) });
  await assert.rejects(
    train(task, { options: OPTIONS, place: { files, folder } }),
    (error: Error) =>
      error instanceof DivergedError &&
      error.step === 8 &&
      error.reason === 'loss is NaN' &&
      /^step 8: the loss is NaN; the last good .*step-00000006; lower/.test(error.message),
  );
  assert.equal(await readFile(join(folder, 'checkpoints', 'last'), 'utf8'), 'step-00000006\n');
  for (const value of await weightsOf(task)) assert.ok(Number.isFinite(value), 'the update was not applied');
});

test('a checkpoint whose weights gave the NaN is no good one: the one before is the last again', async () => {
  const folder = await newFolder();
  const options = { ...OPTIONS, evalEvery: 0 };
  const task = new TinyTask(referenceDevice(), { inputAt: (step) => (step === 7 ? Number.NaN : undefined) });
  await assert.rejects(
    train(task, { options, place: { files, folder } }),
    /^DivergedError: step 7: .*good .*step-00000003;/,
  );
  assert.equal(await readFile(join(folder, 'checkpoints', 'last'), 'utf8'), 'step-00000003\n');
  const [again, whole] = [new TinyTask(referenceDevice()), new TinyTask(referenceDevice())];
  await train(again, { options, place: { files, folder, resume: true } });
  await train(whole, { options });
  assert.deepEqual(await weightsOf(again), await weightsOf(whole));
});

test('f16 does not end a run on losses that are NaN, nor save them over the good ones', async () => {
  const folder = await newFolder();
  const options = { ...OPTIONS, steps: 6, evalEvery: 0, saveEvery: 1, precision: 'f16' } as const;
  const task = new TinyTask(referenceDevice(), { inputAt: (step) => (step > 3 ? Number.NaN : undefined) });
  await assert.rejects(train(task, { options, place: { files, folder } }), /step 6: the loss is NaN; .*step-00000002;/);
  assert.equal(await readFile(join(folder, 'checkpoints', 'last'), 'utf8'), 'step-00000002\n');
});

test('f16 skips a step whose gradients overflow, shrinks the scale and goes on', async () => {
  const clean = new TinyTask(referenceDevice());
  const reports: StepReport[] = [];
  const task = new TinyTask(referenceDevice(), {
    inputAt: (step) => (step === 3 ? Number.POSITIVE_INFINITY : undefined),
  });
  const options = { ...OPTIONS, steps: 3, evalEvery: 0, precision: 'f16' } as const;
  const onStep = (report: StepReport) => reports.push(report);
  const result = await train(task, { options, onStep });
  await train(clean, { options: { ...options, steps: 3 }, onStep: () => undefined });
  assert.deepEqual(
    reports.map(({ isSkipped }) => isSkipped),
    [false, false, true],
  );
  assert.equal(result.skippedSteps, 1);
  const two = new TinyTask(referenceDevice());
  const stop = new AbortController();
  await train(two, { options, signal: stop.signal, onStep: ({ step }) => step === 2 && stop.abort() });
  assert.deepEqual(await weightsOf(task), await weightsOf(two), 'the skipped step changed nothing');
  assert.notDeepEqual(await weightsOf(task), await weightsOf(clean));
});

test('f16 that overflows at every scale is an error', async () => {
  const task = new TinyTask(referenceDevice(), { inputAt: () => Number.POSITIVE_INFINITY });
  const options = { ...OPTIONS, steps: 100, evalEvery: 0, precision: 'f16' } as const;
  await assert.rejects(train(task, { options }), /step 17: the loss is/);
});

test('a disk that fills up during a save leaves the checkpoint before as the last', async () => {
  const full = (path: string) => new FileFormatError(path, 'the disk is full', 'free some space');
  for (const victim of ['optimizer', 'weights', 'state.json', 'rename', 'last']) {
    const folder = await newFolder();
    class FullDisk extends NodeFileSystem {
      override async writeAtomic(path: string, content: Parameters<NodeFileSystem['writeAtomic']>[1]): Promise<void> {
        const isSecond = path.includes('.tmp-step-00000006') || (path.endsWith('last') && `${content}`.includes('6'));
        if (isSecond && path.includes(victim)) throw full(path);
        return super.writeAtomic(path, content);
      }
      override async rename(from: string, to: string): Promise<void> {
        if (victim === 'rename' && to.endsWith('step-00000006')) throw full(to);
        return super.rename(from, to);
      }
    }
    const place = { files: new FullDisk(), folder };
    await assert.rejects(
      train(new TinyTask(referenceDevice()), { options: { ...OPTIONS, steps: 8, evalEvery: 0 }, place }),
      /full/,
    );
    assert.equal(await readFile(join(folder, 'checkpoints', 'last'), 'utf8'), 'step-00000003\n', victim);
    const names = await readdir(join(folder, 'checkpoints'));
    assert.deepEqual(
      names.filter((name) => name.startsWith('.tmp')),
      [],
      victim,
    );
    const task = new TinyTask(referenceDevice());
    const options = { ...OPTIONS, steps: 8, evalEvery: 0 };
    const result = await train(task, { options, place: { files, folder, resume: true } });
    assert.equal(result.status, 'completed');
    const whole = new TinyTask(referenceDevice());
    await train(whole, { options });
    assert.deepEqual(await weightsOf(task), await weightsOf(whole), victim);
  }
});

test('the best checkpoint survives pruning, and old ones go', async () => {
  const folder = await newFolder();
  const task = new TinyTask(referenceDevice(), { evaluations: (step) => Math.abs(step - 8) });
  const saved: number[] = [];
  const input: TrainInput = { options: OPTIONS, place: { files, folder }, onCheckpoint: (step) => saved.push(step) };
  const result = await train(task, input);
  assert.deepEqual(result.best, { step: 8, loss: 0 });
  assert.deepEqual(saved, [3, 4, 6, 8, 9, 12, 15, 18, 20]);
  const names = await readdir(join(folder, 'checkpoints'));
  assert.deepEqual(names, ['best', 'last', 'step-00000008', 'step-00000018', 'step-00000020']);
  assert.equal(await readFile(join(folder, 'checkpoints', 'best'), 'utf8'), 'step-00000008\n');
});

test('patience ends a run early, and a resumed one at the same step', async () => {
  const folder = await newFolder();
  const options = { ...OPTIONS, patience: 2 };
  const evaluations = (step: number) => Math.abs(step - 4);
  const whole = await train(new TinyTask(referenceDevice(), { evaluations }), { options });
  assert.deepEqual([whole.status, whole.isEarly, whole.step], ['completed', true, 12]);
  const abort = new AbortController();
  const place = { files, folder };
  const onStep = ({ step }: StepReport) => step === 9 && abort.abort();
  const first = await train(new TinyTask(referenceDevice(), { evaluations }), {
    options,
    place,
    onStep,
    signal: abort.signal,
  });
  assert.deepEqual([first.status, first.isEarly], ['aborted', false]);
  for (const _ of ['to the end', 'when nothing is left']) {
    const task = new TinyTask(referenceDevice(), { evaluations });
    const again = await train(task, { options, place: { ...place, resume: true } });
    assert.deepEqual([again.status, again.isEarly, again.step], ['completed', true, 12]);
  }
  await assert.rejects(
    train(new TinyTask(referenceDevice()), { options: { steps: 3, patience: 1 } }),
    /patience: expected 0/,
  );
});

test('an evaluation before the first step counts: for the best, for patience, and where the run is cut and goes on', async () => {
  const options = { ...OPTIONS, patience: 2, evalOnStart: true };
  for (const [lowest, last] of [
    [0, 8],
    [4, 12],
  ]) {
    const evaluations = (step: number) => Math.abs(step - lowest);
    const whole = new TinyTask(referenceDevice(), { evaluations });
    const wholeFolder = await newFolder();
    const expected = await train(whole, { options, place: { files, folder: wholeFolder } });
    assert.deepEqual([expected.isEarly, expected.step, expected.best], [true, last, { step: lowest, loss: 0 }]);
    assert.deepEqual((await linesOf(wholeFolder))[0].step, 0);
    for (const stop of [0, 1, 7]) {
      const place = { files, folder: await newFolder() };
      const abort = new AbortController();
      const onStep = ({ step }: StepReport) => step === stop && abort.abort();
      // 0: while the first evaluation runs.
      const cutting = (step: number) => {
        if (step === 0 && stop === 0) abort.abort();
        return evaluations(step);
      };
      const cut = { options, place, signal: abort.signal, onStep };
      assert.equal((await train(new TinyTask(referenceDevice(), { evaluations: cutting }), cut)).status, 'aborted');
      const task = new TinyTask(referenceDevice(), { evaluations });
      const again = await train(task, { options, place: { ...place, resume: true } });
      assert.deepEqual([again.step, again.best], [last, expected.best], `stopped at ${stop}`);
      assert.deepEqual(await weightsOf(task), await weightsOf(whole), `stopped at ${stop}`);
      const strip = ({ tokens_per_second: _, ...line }: Record<string, number>) => line;
      assert.deepEqual((await linesOf(place.folder)).map(strip), (await linesOf(wholeFolder)).map(strip));
    }
  }
  await assert.rejects(
    train(new TinyTask(referenceDevice()), { options: { steps: 3, evalOnStart: true } }),
    /evalOnStart: expected false where nothing is evaluated/,
  );
});

test("a task's factor is on the learning rate", async () => {
  const rates: number[] = [];
  const task = Object.assign(new TinyTask(referenceDevice()), { rateFactor: (i: number) => 0.5 ** i });
  const options = { steps: 3, learningRate: 0.1, warmup: 0 };
  await train(task, { options, onStep: ({ learningRate }) => rates.push(learningRate) });
  assert.deepEqual(rates, [0.1, 0.05, 0.025]);
});

test('a run is not resumed with other settings of its task', async () => {
  const options = { ...OPTIONS, steps: 4, evalEvery: 0 };
  const begin = async (taskSettings?: Record<string, unknown>) => {
    const folder = await newFolder();
    await train(new TinyTask(referenceDevice()), { options, taskSettings, place: { files, folder } });
    return (now: Record<string, unknown>) =>
      train(new TinyTask(referenceDevice()), { options, taskSettings: now, place: { files, folder, resume: true } });
  };
  const again = await begin({ r: 4, maxLength: 8 });
  await again({ r: 4, maxLength: 8 });
  await assert.rejects(again({ r: 4, maxLength: 9 }), /maxLength was 8, now 9; resume with the settings of the run/);
});

test('a run is not resumed with other settings, and a broken pointer is an error', async () => {
  const folder = await newFolder();
  await train(new TinyTask(referenceDevice()), { options: { ...OPTIONS, steps: 4 }, place: { files, folder } });
  const place = { files, folder, resume: true };
  const again = (options: Partial<TrainerOptions>) =>
    train(new TinyTask(referenceDevice()), { options: { ...OPTIONS, steps: 4, ...options }, place });
  await assert.rejects(again({ learningRate: 0.1 }), /learningRate was 0.05, now 0.1; resume with/);
  await assert.rejects(again({ learningRate: -1 }), /learning_rate: expected a number above 0, got -1/);
  assert.equal((await again({ saveEvery: 1 })).step, 4);
  await files.writeAtomic(join(folder, 'checkpoints', 'last'), 'step-00000099\n');
  await assert.rejects(again({}), /last: names the checkpoint "step-00000099", which is not there/);
});

test('Lion: a run that is cut and resumed gives the same bytes, and f16 skips what overflows', async () => {
  const options = { ...OPTIONS, optimizer: 'lion', learningRate: 0.01 } as const;
  const [whole, place] = [await newFolder(), { files, folder: await newFolder() }];
  const expected = await train(new TinyTask(referenceDevice()), { options, place: { files, folder: whole } });
  const abort = new AbortController();
  const onStep = ({ step }: StepReport) => step === 7 && abort.abort();
  await train(new TinyTask(referenceDevice()), { options, place, signal: abort.signal, onStep });
  const resumed = { ...place, resume: true };
  const again = await train(new TinyTask(referenceDevice()), { options, place: resumed });
  assert.deepEqual([again.step, again.loss, again.best], [20, expected.loss, expected.best]);
  for (const name of ['optimizer.safetensors', 'weights.safetensors', 'state.json']) {
    const [a, b] = [whole, place.folder].map((folder) => readFile(join(folder, 'checkpoints', 'step-00000020', name)));
    assert.deepEqual(await b, await a, name);
  }
  await assert.rejects(
    train(new TinyTask(referenceDevice()), { options: OPTIONS, place: resumed }),
    /optimizer was "lion", now "adamw"; resume with/,
  );
  const half = { ...options, steps: 3, evalEvery: 0, precision: 'f16' } as const;
  const inputAt = (step: number) => (step === 3 ? Number.POSITIVE_INFINITY : undefined);
  const [skipping, two] = [new TinyTask(referenceDevice(), { inputAt }), new TinyTask(referenceDevice())];
  assert.equal((await train(skipping, { options: half })).skippedSteps, 1);
  const stop = new AbortController();
  await train(two, { options: half, signal: stop.signal, onStep: ({ step }) => step === 2 && stop.abort() });
  assert.deepEqual(await weightsOf(skipping), await weightsOf(two), 'the skipped step changed nothing');
});

test('a checkpoint that does not know a setting was made with its default', async () => {
  const folder = await newFolder();
  const options = { ...OPTIONS, steps: 4 };
  await train(new TinyTask(referenceDevice()), { options, place: { files, folder } });
  const path = join(folder, 'checkpoints', 'step-00000004', 'state.json');
  const state = JSON.parse(await readFile(path, 'utf8')) as { settings: Record<string, unknown> };
  assert.equal(state.settings.optimizer, 'adamw');
  delete state.settings.optimizer; // as before there was a choice
  await files.writeAtomic(path, JSON.stringify(state));
  const place = { files, folder, resume: true };
  assert.equal((await train(new TinyTask(referenceDevice()), { options, place })).step, 4);
  await assert.rejects(
    train(new TinyTask(referenceDevice()), { options: { ...options, optimizer: 'lion' }, place }),
    /optimizer was "adamw", now "lion"/,
  );
});

test('memory is flat from step 5 to step 50', async () => {
  const device = referenceDevice();
  const blocks: number[] = [];
  const options = { ...OPTIONS, steps: 50, evalEvery: 0 };
  await train(new TinyTask(device), { options, onStep: () => blocks.push(device.memory().blocks) });
  assert.equal(blocks[48], blocks[4], `${blocks}`);
});
