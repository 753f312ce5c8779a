/** The examples run as users run them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Krait } from 'krait';
import { NODE_FLAGS } from '../src/core/testing/module-process.ts';
import { onlyInAll } from '../src/core/testing/only-in-all.ts';
import { writeTinyModel } from './tiny-model.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const work = mkdtempSync(join(tmpdir(), 'krait-examples-'));
after(() => rmSync(work, { recursive: true, force: true }));
const modelFolder = join(work, 'base');
await writeTinyModel(modelFolder);

const EXAMPLES: Readonly<Record<string, URL>> = {
  'engine.ts': new URL('../examples/engine.ts', import.meta.url),
  'fine-tune.ts': new URL('../examples/fine-tune.ts', import.meta.url),
  'forecast.ts': new URL('../examples/forecast.ts', import.meta.url),
  'generate.ts': new URL('../examples/generate.ts', import.meta.url),
};
const run = (name: string, ...args: string[]) =>
  spawnSync(process.execPath, [...NODE_FLAGS, fileURLToPath(EXAMPLES[name]), ...args], { cwd: root, encoding: 'utf8' });
/** What an example printed; it must have ended well. */
const output = (name: string, ...args: string[]): string => {
  const { status, stdout, stderr } = run(name, ...args);
  assert.equal(status, 0, stderr);
  return stdout;
};

it('every example is run here', () => {
  assert.deepEqual(readdirSync(join(root, 'examples')).sort(), Object.keys(EXAMPLES));
});

it('examples/engine.ts learns XOR', () => {
  assert.match(output('engine.ts'), /answers: -?0\.00 1\.00 1\.00 -?0\.00/);
});

it(
  'examples/forecast.ts forecasts the made-up hours better than the day before',
  onlyInAll('a forecaster is trained'),
  () => {
    const printed = output('forecast.ts');
    const scores = new Map(
      [...printed.matchAll(/^(\S+): MSE ([\d.]+), MAE/gm)].map(([, model, mse]) => [model, Number(mse)]),
    );
    assert.ok(scores.get('mambats')! < scores.get('seasonal-naive')! / 4, printed);
    const rows = [...printed.matchAll(/^2024-03-11 \d\d:00:00: visits ([\d.]+) \(([\d.]+) to ([\d.]+)\)$/gm)];
    assert.equal(rows.length, 4, printed);
    for (const [, value, low, high] of rows) assert.ok(Number(low) <= Number(value) && Number(value) <= Number(high));
  },
);

it('examples/generate.ts streams, stops at a signal and completes a batch', () => {
  const printed = output('generate.ts', modelFolder, 'hello');
  assert.match(printed, /^mamba on (native|wasm|reference), from /);
  assert.match(printed, /\nhello\|.+\nended by: length\n/s);
  assert.match(printed, /stopped after 8 tokens: eight are enough/);
  assert.equal(printed.match(/": 12 tokens, -\d+\.\d{3} nats each/g)?.length, 2);
});

it('examples/fine-tune.ts learns, and what it saves gives the answer that it printed', async () => {
  const out = join(work, 'tuned');
  const printed = output('fine-tune.ts', modelFolder, out);
  const losses = [...printed.matchAll(/^step \d+ of 40: loss ([\d.]+)$/gm)].map(([, loss]) => Number(loss));
  assert.equal(losses.length, 4);
  assert.ok(losses[3] < losses[0] / 4, `${losses}`);
  assert.equal(printed.match(/held-out loss/g)?.length, 3);
  assert.match(printed, /^completed: 40 steps/m);
  assert.match(printed, /^completed: 10 more steps/m);
  const answer = printed.match(/^after: 37 is(.*)$/m)![1];
  assert.notEqual(answer, printed.match(/^before: 37 is(.*)$/m)![1]);
  const ask = async (folder: string, adapter?: string) => {
    const krait = await Krait.load(folder);
    if (adapter) await krait.loadAdapter(adapter);
    const [{ text }] = await krait.complete('37 is', { maxTokens: 4, temperature: 0 });
    krait.close();
    return text;
  };
  assert.equal(await ask(join(out, 'model')), answer, 'the merged model');
  assert.equal(await ask(modelFolder, join(out, 'adapter')), answer, 'the adapter on its base');
});

it('an example without a model says what to give', () => {
  const { status, stderr } = run('generate.ts');
  assert.equal(status, 1);
  assert.match(stderr, /give the folder of a model, or its id on the hub, as the first argument/);
});
