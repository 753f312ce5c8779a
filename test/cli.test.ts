/** What commands compute, from their flags to their files, on a model of a few kilobytes. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { onlyInAll } from '../src/core/testing/only-in-all.ts';
import { krait, workFolder } from './cli-cases.ts';
import { runKrait, startKrait } from './krait-process.ts';
import { writeTinyModel } from './tiny-model.ts';

process.env.NO_COLOR = '1';

const fixtures = fileURLToPath(new URL('fixtures', import.meta.url));
const work = workFolder('cli');
const json = async (...args: string[]) => {
  const { stdout, stderr, code } = await krait(...args, '--json');
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
};

/** A small model with a tokenizer. */
const modelFolder = join(work, 'model');
mkdirSync(modelFolder);
await writeTinyModel(modelFolder);
writeFileSync(
  join(work, 'data.jsonl'),
  Array.from({ length: 24 }, (_, i) =>
    JSON.stringify({ prompt: `${i} is`, completion: i % 2 ? ' odd' : ' even' }),
  ).join('\n'),
);
const data = join(work, 'data.jsonl');
const tuneFlags = [
  '--model',
  modelFolder,
  '--data',
  data,
  '--batch-size',
  '4',
  '--max-length',
  '16',
  '--lr',
  '0.01',
  '--seed',
  '3',
];

it('saved configurations keep the floats that transformers insists on', () => {
  assert.match(readFileSync(join(modelFolder, 'config.json'), 'utf8'), /"time_step_scale": 1\.0,/);
});

describe('krait score', () => {
  it('writes logits and gradients under the names of the checkpoint', async () => {
    const out = join(work, 'gradients.safetensors');
    const logits = join(work, 'logits.safetensors');
    const result = await json(
      'score',
      '--model',
      join(fixtures, 'mamba-a'),
      '--tokens',
      '3,1,4,1,5,9,2,6',
      '--gradients',
      out,
      '--logits',
      logits,
    );
    assert.equal(result.logprobs.length, 8);
    assert.equal(result.logprobs[0], null);
    const header = (path: string) => {
      const bytes = readFileSync(path);
      return JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))).toString());
    };
    assert.deepEqual(header(logits).logits.shape, [8, 61]);
    const names = Object.keys(header(out)).filter((name) => name !== '__metadata__');
    const stored = Object.keys(header(join(fixtures, 'mamba-a', 'model.safetensors'))).filter(
      (name) => name !== '__metadata__',
    );
    assert.deepEqual(names.sort(), stored.filter((name) => name !== 'lm_head.weight').sort());
  });
  it('scores a text in bits per byte', async () => {
    const { bitsPerByte, perplexity } = await json('score', '--model', modelFolder, '--text', 'hello world');
    assert.ok(bitsPerByte > 0 && perplexity > 1);
  });
});

describe('krait generate', () => {
  it('is the same for a seed and a snapshot of its settings', async () => {
    const flags = [
      '--model',
      modelFolder,
      '--prompt',
      'hello',
      '--max-tokens',
      '8',
      '--temperature',
      '1',
      '--seed',
      '5',
    ];
    const [a, b] = [await json('generate', ...flags), await json('generate', ...flags)];
    assert.deepEqual(a.tokens, b.tokens);
    assert.equal(a.prompt, 'hello');
    assert.ok(a.timings.loadSeconds > 0);
  });
});

describe('krait tune and merge', () => {
  it('trains an adapter that changes the model, and merges it into the same model', async () => {
    const out = join(work, 'adapter');
    const result = await json(
      'tune',
      ...tuneFlags,
      '--out',
      out,
      '--method',
      'lora',
      '--rank',
      '4',
      '--targets',
      'all-linear',
      '--steps',
      '12',
    );
    assert.equal(result.status, 'completed');
    assert.ok(result.finalLoss < 6 && result.coverage.includes('backbone.layers.0.mixer.x_proj'));
    const lines = readFileSync(join(out, 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.equal(lines.length, 12);
    const merged = join(work, 'merged');
    await json('merge', '--model', modelFolder, '--adapter', out, '--out', merged);
    const score = async (...where: string[]) => (await json('score', ...where, '--text', 'hello world')).perplexity;
    const [base, adapted, whole] = [
      await score('--model', modelFolder),
      await score('--model', modelFolder, '--adapter', out),
      await score('--model', merged),
    ];
    assert.ok(Math.abs(adapted - base) > 1e-3 * base, `${adapted} against ${base}`);
    assert.ok(Math.abs(adapted - whole) < 1e-4 * adapted, `${adapted} against ${whole}`);
  });

  const isSlow = onlyInAll('three runs of 60 steps');
  it('killed at any step and resumed, ends with the same bytes as a run that was left alone', isSlow, async () => {
    const flags = (out: string) => [
      ...tuneFlags,
      '--out',
      out,
      '--method',
      'lora',
      '--steps',
      '60',
      '--save-every',
      '5',
      '--dropout',
      '0.1',
      '--json',
    ];
    const whole = join(work, 'whole');
    assert.equal((await krait('tune', ...flags(whole))).code, 0);
    const cut = join(work, 'cut');
    const child = startKrait('never', ['tune', ...flags(cut)]);
    for (const stream of [child.stdout, child.stderr]) stream.resume();
    const gone = new Promise((resolve) => child.on('exit', resolve));
    const last = join(cut, 'checkpoints', 'last');
    for (let i = 0; i < 2000 && !existsSync(last); i++) await new Promise((resolve) => setTimeout(resolve, 10));
    child.kill('SIGKILL');
    await gone;
    assert.ok(existsSync(last), 'a checkpoint was written before the kill');
    const resumed = await krait('tune', ...flags(cut), '--resume');
    assert.equal(resumed.code, 0, resumed.stderr);
    const bytes = (folder: string) => readFileSync(join(folder, 'adapter_model.safetensors'));
    assert.ok(bytes(whole).equals(bytes(cut)), 'the adapters differ');
  });
});

describe('wrong input', () => {
  const [command, flag] = [/unknown command 'scor'[\s\S]*score/, /unknown option '--max-tokns'[\s\S]*--max-tokens/];
  const wrongFlag = ['generate', '--model', modelFolder, '--prompt', 'x', '--max-tokns', '3'];

  it('names unknown commands, flags and settings with the nearest known one', async () => {
    for (const [pattern, args] of [
      [command, ['scor']],
      [flag, wrongFlag],
    ] as const) {
      const { code, stderr, stdout } = await krait(...args);
      assert.equal(code, 2, stderr);
      assert.match(stderr, pattern);
      assert.equal(stdout, '');
    }
  });

  it('is the exit code of the process', async () => {
    const { end, stdout, stderr } = await runKrait('never', ['scor']);
    assert.deepEqual([end, stdout], [2, '']);
    assert.match(stderr, command);
  });
});
