/** A run never loses work: NaN losses, full disks, kills in the middle of a save and Ctrl-C leave a checkpoint that goes on. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it, mock } from 'node:test';
import { nodeFiles } from '../src/cli/files.ts';
import { isAll } from '../src/core/testing/only-in-all.ts';
import { krait, workFolder } from './cli-cases.ts';
import { runKrait } from './krait-process.ts';
import { writeTinyModel } from './tiny-model.ts';

const work = workFolder('interrupted');
const model = join(work, 'model');
const data = join(work, 'data.jsonl');
const whole = join(work, 'whole');
const STEPS = 8;

const flagsOf = (out: string, steps = STEPS) => {
  const settings = {
    model,
    data,
    out,
    steps,
    'save-every': 2,
    'batch-size': 2,
    'max-length': 8,
    rank: 2,
    dropout: 0.1,
  };
  return [
    ...Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]),
    '--device',
    'reference',
  ];
};
const checkpoints = (out: string) => join(out, 'checkpoints');
const last = (out: string) => readFileSync(join(checkpoints(out), 'last'), 'utf8').trim();
const adapter = (out: string) => readFileSync(join(out, 'adapter_model.safetensors'));
const lastLine = (text: string) => text.trimEnd().split('\n').pop()!;

before(async () => {
  await writeTinyModel(model);
  const records = Array.from({ length: 9 }, (_, i) => ({ prompt: `${i} is`, completion: i % 2 ? ' odd' : ' even' }));
  writeFileSync(data, records.map((record) => JSON.stringify(record)).join('\n'));
  const { code, stderr } = await krait('tune', ...flagsOf(whole));
  assert.equal(code, 0, stderr);
});

/** Resumes a run to its end: the adapter has the bytes of a run that was left alone, and nothing is left aside. */
async function goesOn(out: string): Promise<void> {
  const { code, stderr } = await krait('tune', ...flagsOf(out), '--resume');
  assert.equal(code, 0, stderr);
  assert.ok(adapter(out).equals(adapter(whole)), 'the adapters differ');
  const aside = readdirSync(out, { recursive: true }).filter((name) => String(name).includes('tmp'));
  assert.deepEqual(aside, []);
}

/** Runs in a process of its own that is interrupted. */
const interrupted = (moment: string, out: string) => runKrait(moment, ['tune', ...flagsOf(out), '--json']);

describe('a kill during a save', () => {
  // All at once: they mostly wait for their processes to start.
  const outOf = (moment: string) => join(work, `killed-${moment}`);
  const moments = isAll ? ['weights', 'rename', 'last'] : ['weights'];
  let ends: Awaited<ReturnType<typeof interrupted>>[] = [];
  before(async () => {
    ends = await Promise.all(moments.map((moment) => interrupted(moment, outOf(moment))));
  });
  for (const [i, moment] of moments.entries()) {
    it(`(${moment}) leaves the checkpoint before as the last, and the run goes on from it`, async () => {
      assert.equal(ends[i].end, 'SIGKILL', ends[i].stderr);
      const out = outOf(moment);
      assert.equal(last(out), 'step-00000002');
      const names = readdirSync(checkpoints(out));
      assert.equal(names.includes('.tmp-step-00000004'), moment !== 'last', `${names}`);
      await goesOn(out);
    });
  }
});

describe('a disk that fills up during a save', () => {
  const full = () => Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
  async function* firstPieceOf(content: Parameters<typeof nodeFiles.writeAtomic>[1]) {
    const pieces = typeof content === 'string' ? [Buffer.from(content)] : content;
    for await (const piece of pieces instanceof Uint8Array ? [pieces] : pieces) {
      yield piece.subarray(0, Math.ceil(piece.length / 2));
      throw full();
    }
  }

  const victims = [
    /\.tmp-step-00000004.weights\.safetensors$/,
    /\.tmp-step-00000004.state\.json$/,
    /checkpoints.last$/,
  ];
  for (const victim of victims) {
    it(`(${victim.source}) leaves the checkpoint before as the last, and says so in one line`, async (test) => {
      const out = join(work, `full-${victims.indexOf(victim)}`);
      const writeAtomic = nodeFiles.writeAtomic.bind(nodeFiles);
      let isFirst = victim.source.endsWith('last$');
      const { mock: patched } = mock.method(
        nodeFiles,
        'writeAtomic',
        (path: string, content: Parameters<typeof writeAtomic>[1]) => {
          const isHit = victim.test(path) && !isFirst;
          if (victim.test(path)) isFirst = false;
          return writeAtomic(path, isHit ? firstPieceOf(content) : content);
        },
      );
      test.after(() => patched.restore());
      const { code, stdout, stderr } = await krait('tune', ...flagsOf(out));
      patched.restore();
      assert.equal(code, 1, stderr);
      assert.match(lastLine(stderr), /^krait: .*: the disk is full; free some space/);
      assert.match(lastLine(stderr).split(': ')[1], victim);
      assert.equal(stdout, '');
      assert.equal(last(out), 'step-00000002');
      assert.deepEqual(
        readdirSync(checkpoints(out)).filter((name) => name.includes('tmp')),
        [],
      );
      await goesOn(out);
    });
  }
});

describe('Ctrl-C', () => {
  it('ends with the step it is in, a checkpoint and exit code 130; the run goes on from it', async () => {
    const out = join(work, 'stopped');
    const { end, stdout, stderr } = await interrupted('step', out);
    assert.equal(end, 130, stderr);
    const { status, steps } = JSON.parse(stdout) as { status: string; steps: number };
    assert.equal(status, 'aborted');
    assert.ok(steps >= 1 && steps < STEPS, `stopped after ${steps}`);
    assert.equal(last(out), `step-${String(steps).padStart(8, '0')}`);
    assert.ok(!readdirSync(out).includes('adapter_config.json'), 'an unfinished run is no adapter');
    await goesOn(out);
  });
});

describe('a NaN loss', () => {
  it('stops the run in one line, and the last checkpoint is whole', async () => {
    const out = join(work, 'nan');
    const flags = [...flagsOf(out), '--lr', '1e30', '--save-every', '1'];
    const { code, stdout, stderr } = await krait('tune', ...flags);
    assert.equal(code, 1, stderr);
    const remedy = 'lower the learning rate \\(now 1e\\+30\\) or check the data and weights$';
    assert.match(lastLine(stderr), new RegExp(`^krait: step 2: the loss is NaN; .*step-00000001; ${remedy}`));
    assert.equal(stdout, '');
    assert.equal(last(out), 'step-00000001');
    assert.ok(!readdirSync(out).includes('adapter_config.json'));
    const resumed = await krait('tune', ...flags, '--resume');
    assert.match(lastLine(resumed.stderr), /^krait: step 2: the loss is NaN; /, 'the checkpoint was read');
  });
});
