/** Adapters on a model with int8 weights: they take part in what it says, but nothing is trained or merged. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createReferenceBackend } from '../../backend/reference/index.ts';
import { type LanguageModel, loadModel } from '../../models/index.ts';
import { NodeFileSystem } from '../../platform/node/index.ts';
import { Device } from '../../tensor/index.ts';
import { allParameters, LanguageTask } from '../language.ts';
import { distance, fixturePath } from '../testing/fixtures.ts';
import {
  adapterParameters,
  attachLora,
  detachLora,
  keepMerged,
  type LoraAdapter,
  loadAdapter,
  mergeLora,
  saveAdapter,
} from './index.ts';

const files = new NodeFileSystem();
const device = new Device(createReferenceBackend());
const root = await mkdtemp(join(tmpdir(), 'krait-quantised-adapters-'));
after(async () => {
  device.close();
  await rm(root, { recursive: true });
});

const IDS = [1, 5, 2, 9, 9, 14, 3];
const load = (dtype: 'f32' | 'i8') => loadModel(device, files, fixturePath('mamba-a'), { dtype });

async function logitsOf(model: LanguageModel): Promise<ArrayLike<number>> {
  const forward = () => model.logits(model.forward(device.from(IDS, [1, IDS.length], 'i32')).hidden);
  const logits = device.noGrad(() => device.scope(forward));
  const values = await logits.read();
  logits.dispose();
  return values;
}

/** Something other than zeros in every factor; whole parameters change a little. */
function disturb(adapter: LoraAdapter): void {
  [...adapter.trainable.values()].forEach((tensor, i) => {
    const noise = device.uniform(tensor.shape, { seed: 9, stream: i }, -0.3, 0.3);
    const alpha = tensor.rank === 2 && tensor.size > 500 ? 0.1 : 1;
    device.launch('accumulate', { x: noise, y: tensor }, { rows: tensor.rows, cols: tensor.cols }, { alpha });
  });
}

const ADAPTERS = {
  'all linear maps and the convolution': { targetModules: ['in_proj', 'x_proj', 'dt_proj', 'out_proj', 'conv1d'] },
  'the table': { targetModules: ['embeddings'] },
  'the head, the table tied to it': { targetModules: ['lm_head'] },
  'modules trained whole': { targetModules: ['in_proj'], modulesToSave: ['lm_head', 'x_proj', 'norm_f'] },
  'the table trained whole': { targetModules: ['in_proj'], modulesToSave: ['embeddings'] },
};

for (const [what, settings] of Object.entries(ADAPTERS)) {
  test(`an adapter on ${what} changes int8 as it changes f32, and comes off again`, async () => {
    const folder = join(root, what);
    const plain = await load('f32');
    const plainBase = await logitsOf(plain);
    const trained = attachLora(plain, { r: 3, loraAlpha: 6, ...settings });
    disturb(trained);
    await saveAdapter(trained, files, folder);
    const expected = await logitsOf(plain);

    const before = device.memory().blocks;
    const model = await load('i8');
    const base = await logitsOf(model);
    const adapter = await loadAdapter(model, files, folder);
    const got = await logitsOf(model);
    const [effect, error] = [distance(expected, plainBase), distance(got, expected)];
    assert.ok(effect > 5 * distance(base, plainBase), `the adapter matters: ${effect}`);
    assert.ok(error < effect / 5, `off by ${error} where the adapter moves logits by ${effect}`);
    detachLora(adapter);
    assert.deepEqual(await logitsOf(model), base);
    model.dispose();
    assert.equal(device.memory().blocks, before, 'memory stays behind');
    plain.dispose();
  });
}

test('nothing is trained or merged', async () => {
  const model = await load('i8');
  assert.throws(
    () => allParameters(model),
    /^ConfigError: training: the model's weights are int8, .* load it in f32 or bf16/,
  );
  const adapter = attachLora(model, { targetModules: ['in_proj'] });
  const task = {
    model,
    parameters: adapterParameters(adapter),
    train: [{ ids: IDS, targets: [[1, 7] as const], bytes: 7 }],
  };
  assert.throws(() => new LanguageTask(task), /^ConfigError: training: the model's weights are int8/);
  const base = await logitsOf(model);
  for (const merge of [mergeLora, keepMerged]) {
    assert.throws(() => merge(adapter), /^ConfigError: merge: the model's weights are int8, .* load it in f32 or bf16/);
  }
  assert.deepEqual(await logitsOf(model), base);
  model.dispose();
});
