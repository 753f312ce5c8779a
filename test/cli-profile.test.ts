/** `krait bench`, and `--profile` of the commands that have it, on a tiny model and the reference device. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { krait, refuses, workFolder } from './cli-cases.ts';
import { writeTinyModel } from './tiny-model.ts';

process.env.NO_COLOR = '1'; // .ci/run sets CI, which asks for colours
const work = workFolder('profile');
const model = join(work, 'model');
const data = join(work, 'data.jsonl');
const device = ['--device', 'reference'];
const bench = ['bench', '--model', model, '--tokens', '4', '--rounds', '2', ...device];
const generate = ['generate', '--model', model, '--prompt', 'hello', '--max-tokens', '6', ...device];
const tune = ['tune', '--model', model, '--data', data, '--steps', '2', '--max-length', '8', ...device];

before(async () => {
  await writeTinyModel(model);
  writeFileSync(data, '{"prompt":"hell","completion":"o"}\n{"text":"hello world"}\n');
});

async function json(...args: string[]) {
  const { code, stdout, stderr } = await krait(...args, '--json');
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}

/** Names of the events of a trace file that took time. */
function eventsIn(file: string): string[] {
  const { traceEvents } = JSON.parse(readFileSync(file, 'utf8')) as { traceEvents: { ph: string; name: string }[] };
  return traceEvents.filter(({ ph }) => ph === 'X').map(({ name }) => name);
}

interface ProfileJson {
  launches: number;
  wallSeconds: number;
  kernelSeconds: number;
  kernels: { kernel: string; calls: number; seconds: number; roofShare: number }[];
  shapes: { kernel: string; dims: Record<string, number>; calls: number }[];
}

function checkProfile({ launches, wallSeconds, kernelSeconds, kernels, shapes }: ProfileJson): void {
  const calls = (rows: { calls: number }[]) => rows.reduce((sum, row) => sum + row.calls, 0);
  assert.ok(launches > 0);
  assert.deepEqual([calls(kernels), calls(shapes)], [launches, launches]);
  assert.ok(kernelSeconds > 0 && kernelSeconds <= 1.05 * wallSeconds);
  for (const { seconds, roofShare } of kernels) assert.ok(seconds >= 0 && Number.isFinite(roofShare) && roofShare >= 0);
  assert.ok(shapes.some(({ kernel, dims }) => kernel === 'matmul' && dims.k === 32));
}

describe('krait bench', () => {
  it('measures every kind of work against roofs of the same run', async () => {
    const trace = join(work, 'bench.json');
    const result = await json(...bench, '--what', 'prefill,decode,train,lora', '--batch', '2', '--profile', trace);
    assert.deepEqual(
      result.results.map((row: { work: string }) => row.work),
      ['prefill', 'decode', 'train', 'lora'],
    );
    const { flopsPerSecond, bytesPerSecond } = result.roofs;
    for (const row of result.results) {
      assert.deepEqual([row.tokens, row.batch, row.seconds.length], [4, 2, 2]);
      const [a, b] = row.seconds;
      assert.ok(Math.abs(row.tokensPerSecond - 8 / ((a + b) / 2)) < 1e-6 * row.tokensPerSecond);
      assert.ok(Math.abs(row.utilisation - (row.flopsPerToken * row.tokensPerSecond) / flopsPerSecond) < 1e-12);
      if (row.work !== 'decode') assert.equal(row.bandwidthShare, null);
      else
        assert.ok(Math.abs(row.bandwidthShare - (row.bytesPerStep * row.tokensPerSecond) / 2 / bytesPerSecond) < 1e-12);
      checkProfile(result.profiles[row.work]);
    }
    const events = eventsIn(trace);
    assert.ok(events.includes('selective_scan_bwd') && events.includes('embedding'));
    const launches = Object.values(result.profiles as Record<string, ProfileJson>).map((profile) => profile.launches);
    assert.equal(
      events.length,
      launches.reduce((sum, count) => sum + count, 0),
    );
  });

  it('prints tables, without a profile unless asked', async () => {
    const plain = await krait(...bench, '--what', 'decode');
    assert.match(plain.stdout, /^reference typescript-f64, 1 threads, f32; .*model: [\d,]+ parameters\n/);
    assert.match(plain.stdout, /GFLOP\/s of multiply-adds, [\d.]+ GB\/s read from memory/);
    assert.match(plain.stdout, /what +tokens +rounds +tok\/s[^\n]+\n[- ]+\ndecode +1 x 4 +2 /);
    assert.doesNotMatch(plain.stdout, /% roof/);
    const { stdout } = await krait(...bench, '--what', 'decode', '--profile');
    assert.match(stdout, /decode: \d+ launches in [\d.]+ s/);
    assert.match(stdout, /kernel +calls +ms +% time +GFLOP\/s +GB\/s +% roof\n/);
    assert.match(stdout, /\nmatmul +\d+ +[\d.]+ .*\n(.*\n)*\(no kernel\) /);
  });

  it('refuses what it cannot measure', async () => {
    const refusesBench = (pattern: RegExp, ...flags: string[]) => refuses(work, 2, pattern, ...bench, ...flags);
    await refusesBench(
      /--what .* is invalid: expected some of prefill,decode,train,lora, got sleep/,
      '--what',
      'decode,sleep',
    );
    await refusesBench(/--shape: the model has a shape of its own; leave it out/, '--shape', 'base');
    await refusesBench(/--shape .* is invalid: .*130m, base/, '--shape', '7b');
    await refusesBench(/--tokens .* is invalid: expected a whole number >= 2/, '--tokens', '1');
  });
});

describe('--profile', () => {
  it('of generate: a table on stderr, the same text on stdout', async () => {
    const plain = await krait(...generate);
    const { code, stdout, stderr } = await krait(...generate, '--profile');
    assert.equal(code, 0, stderr);
    assert.equal(stdout, plain.stdout);
    assert.match(stderr, /\ngenerate: \d+ launches in [\d.]+ s, timed on the JavaScript thread/);
    assert.match(stderr, /\nselective_scan +12 /); // 2 layers, the prompt and 5 steps
    const trace = join(work, 'generate.json');
    const result = await json(...generate, '--profile', trace);
    checkProfile(result.profile);
    assert.ok(result.profile.roofs.flopsPerSecond > 0);
    assert.equal(eventsIn(trace).length, result.profile.launches);
    assert.equal((await json(...generate)).profile, undefined);
  });

  it('of tune: the same losses, and the kernels of its steps', async () => {
    const plain = await json(...tune, '--out', join(work, 'plain'));
    const trace = join(work, 'profiled', 'traces', 'tune.json');
    const result = await json(...tune, '--out', join(work, 'profiled'), '--profile', trace);
    assert.equal(result.finalLoss, plain.finalLoss);
    checkProfile(result.profile);
    assert.ok(eventsIn(trace).includes('adamw'));
    const { stdout } = await krait(...tune, '--out', join(work, 'again'), '--profile');
    assert.match(stdout, /^completed: 2 steps[^\n]*\n\ntune: \d+ launches/);
  });

  it('refuses a file that it could not write, before any work', async () => {
    mkdirSync(join(work, 'folder'));
    for (const args of [bench, generate, [...tune, '--out', join(work, 'never')]]) {
      await refuses(
        work,
        2,
        /--profile: .*folder is a folder; give a file/,
        ...args,
        '--profile',
        join(work, 'folder'),
      );
      await refuses(work, 2, /--profile: .*data\.jsonl is a file, not a folder/, ...args, '--profile', join(data, 'x'));
      await refuses(work, 2, /--profile: the path is empty/, ...args, '--profile', ' ');
    }
    assert.ok(!existsSync(join(work, 'never')));
  });
});
