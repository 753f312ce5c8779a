import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { KraitError } from '../../core/index.ts';
import { openSafetensors, storedName, type TensorEntry, writeSafetensors } from '../../io/index.ts';
import type { LanguageModel } from '../../models/index.ts';
import { NodeFileSystem } from '../../platform/node/index.ts';
import { distance } from '../testing/fixtures.ts';
import { referenceDevice, tinyModel } from '../testing/tiny-runs.ts';
import { attachLora, detachLora, type LoraAdapter, loadAdapter, saveAdapter } from './index.ts';

const files = new NodeFileSystem();
const root = await mkdtemp(join(tmpdir(), 'krait-adapters-'));
after(() => rm(root, { recursive: true }));

async function logitsOf(model: LanguageModel): Promise<ArrayLike<number>> {
  const { device } = model;
  const ids = [1, 5, 2, 9, 9, 14, 3];
  const logits = device.noGrad(() =>
    device.scope(() => model.logits(model.forward(device.from(ids, [1, ids.length], 'i32')).hidden)),
  );
  return logits.read();
}

/** Puts noise into every trained tensor, so that each of them matters. */
function disturb({ model, trainable }: LoraAdapter): void {
  [...trainable.values()].forEach((tensor, i) => {
    const noise = model.device.uniform(tensor.shape, { seed: 2, stream: i }, -0.5, 0.5);
    model.device.launch('copy', { x: noise, y: tensor }, { rows: tensor.rows, cols: tensor.cols });
  });
}

/** An adapter that was not trained. */
async function savedAdapter(folder: string): Promise<ArrayLike<number>> {
  const model = tinyModel(referenceDevice());
  const adapter = attachLora(model, {
    r: 3,
    loraAlpha: 5,
    targetModules: ['in_proj', 'conv1d', 'embeddings', 'dt_proj'],
    bias: 'all',
    // All of the mixer's own parameters (A_log, D) lie in a module that has targets below it: norms instead.
    modulesToSave: ['norm', 'norm_f'],
    useRslora: true,
  });
  disturb(adapter);
  await saveAdapter(adapter, files, folder);
  return logitsOf(model);
}

test('saved and loaded again: the same logits; detached: the base, whatever ran before', async () => {
  const folder = join(root, 'round');
  const expected = await savedAdapter(folder);
  const model = tinyModel(referenceDevice());
  const base = await logitsOf(model);
  const adapter = await loadAdapter(model, files, folder);
  assert.deepEqual(await logitsOf(model), expected);
  assert.ok(distance(expected, base) > 1e-3);
  detachLora(adapter);
  assert.deepEqual(await logitsOf(model), base);
});

test('a head is found under its name in the checkpoint and under that of newer programs', async () => {
  for (const where of [{ targetModules: ['dense', 'embed_out'] }, { modulesToSave: ['embed_out'] }]) {
    const [folder, newer] = [join(root, 'head'), join(root, 'newer-head')];
    const adapter = attachLora(tinyModel(referenceDevice(), 1, 'gpt_neox'), {
      r: 2,
      targetModules: ['dense'],
      ...where,
    });
    disturb(adapter);
    const expected = await logitsOf(adapter.model as LanguageModel);
    await saveAdapter(adapter, files, folder);
    const source = await openSafetensors(files, join(folder, 'adapter_model.safetensors'));
    const entries: TensorEntry[] = [];
    for (const [name, { dtype, shape }] of source.tensors) {
      const bytes = await source.read(name);
      entries.push({ name: name.replace('.embed_out.', '.lm_head.'), dtype, shape, data: () => bytes });
    }
    await source.close();
    await writeSafetensors(files, join(newer, 'adapter_model.safetensors'), entries);
    const config = await readFile(join(folder, 'adapter_config.json'), 'utf8');
    assert.match(config, /"embed_out"/);
    await writeFile(join(newer, 'adapter_config.json'), config.replace('"embed_out"', '"lm_head"'));
    for (const place of [folder, newer]) {
      const model = tinyModel(referenceDevice(), 1, 'gpt_neox');
      assert.ok(distance(await logitsOf(model), expected) > 1e-3);
      await loadAdapter(model, files, place);
      assert.deepEqual(await logitsOf(model), expected, place);
    }
  }
});

test('all-linear is written down as the modules it meant', async () => {
  const folder = join(root, 'all');
  const adapter = attachLora(tinyModel(referenceDevice()), { targetModules: 'all-linear' });
  await saveAdapter(adapter, files, folder);
  const json = JSON.parse(await readFile(join(folder, 'adapter_config.json'), 'utf8'));
  const mixer = 'backbone.layers.0.mixer.';
  assert.deepEqual(
    json.target_modules.sort(),
    ['dt_proj', 'in_proj', 'out_proj', 'x_proj'].map((name) => mixer + name),
  );
});

/** A copy of a good adapter with its tensors changed. */
async function brokenAdapter(name: string, change: (entries: TensorEntry[]) => TensorEntry[]): Promise<string> {
  const [from, to] = [join(root, 'good'), join(root, name)];
  await savedAdapter(from);
  await cp(from, to, { recursive: true });
  const path = join(to, 'adapter_model.safetensors');
  const source = await openSafetensors(files, path);
  const entries: TensorEntry[] = [];
  for (const [key, { shape, dtype }] of source.tensors) {
    const bytes = await source.read(key);
    entries.push({ name: key, shape, dtype, data: () => bytes });
  }
  await source.close();
  await writeSafetensors(files, path, change(entries));
  return to;
}

test('adapters that do not fit are errors that name file and tensor, and leave the model as it was', async () => {
  const extra: TensorEntry = {
    name: 'base_model.model.backbone.layers.7.mixer.in_proj.lora_A.weight',
    shape: [1],
    dtype: storedName('f32'),
    data: () => new Uint8Array(4),
  };
  const isInB = ({ name }: TensorEntry) => name.endsWith('in_proj.lora_B.weight');
  const cases: [string, (entries: TensorEntry[]) => TensorEntry[], RegExp][] = [
    ['missing', (e) => e.filter((x) => !isInB(x)), /missing.adapter_model.safetensors: tensor .*in_proj.lora_B.weight/],
    ['extra', (e) => [...e, extra], /tensor .*layers.7.* expected no such tensor/],
    ['shape', (e) => e.map((x) => (isInB(x) ? { ...x, shape: [3, 32] } : x)), /expected \[32, 3\], got \[3, 32\]/],
  ];
  const model = tinyModel(referenceDevice());
  const base = await logitsOf(model);
  for (const [name, change, message] of cases) {
    const folder = await brokenAdapter(name, change);
    await assert.rejects(loadAdapter(model, files, folder), (error: Error) => {
      assert.ok(error instanceof KraitError);
      assert.match(error.message, message);
      return !error.message.includes('\n');
    });
    assert.deepEqual(await logitsOf(model), base, name);
  }
});

test('a configuration for modules that the model has not is an error', async () => {
  const folder = join(root, 'foreign');
  await savedAdapter(folder);
  const path = join(folder, 'adapter_config.json');
  const json = JSON.parse(await readFile(path, 'utf8'));
  await writeFile(path, JSON.stringify({ ...json, target_modules: ['q_proj', 'v_proj'] }));
  await assert.rejects(loadAdapter(tinyModel(referenceDevice()), files, folder), /"q_proj, v_proj" matches no module/);
  await rm(path);
  await assert.rejects(loadAdapter(tinyModel(referenceDevice()), files, folder), /adapter_config.json: no such file/);
});
