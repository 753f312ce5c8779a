/** Adapters that PEFT made: the same logits, gradients and merged logits here, and back in the same files. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openSafetensors } from '../../io/index.ts';
import type { LanguageModel } from '../../models/index.ts';
import { testDevices } from '../../models/testing/devices.ts';
import { NodeFileSystem } from '../../platform/node/index.ts';
import { backward, type Tensor } from '../../tensor/index.ts';
import { distance, fixturePath, loadFixtureModel, readFixture, relativeDistance } from '../testing/fixtures.ts';
import { loadAdapter, mergeLora, saveAdapter, unmergeLora } from './index.ts';

const ADAPTERS = (await readdir(fixturePath(''))).filter((name) => name.startsWith('peft-'));
const files = new NodeFileSystem();

async function logitsOf(model: LanguageModel, ids: Tensor): Promise<ArrayLike<number>> {
  const { device } = model;
  const logits = device.noGrad(() => device.scope(() => model.logits(model.forward(ids).hidden)));
  const values = await logits.read();
  logits.dispose();
  return values;
}

async function readTensors(path: string): Promise<Map<string, Uint8Array>> {
  const source = await openSafetensors(files, path);
  const tensors = new Map<string, Uint8Array>();
  for (const key of source.tensors.keys()) tensors.set(key, await source.read(key));
  await source.close();
  return tensors;
}

const CASES = (await testDevices()).flatMap((device) =>
  ADAPTERS.map((name) => ({ ...device, device: device.name, name })),
);

for (const { device: deviceName, skip, open, name } of CASES) {
  test(`${deviceName}: ${name}: logits, gradients, merge and file as in PEFT`, { skip }, async () => {
    const device = await open();
    const cases = await readFixture(`${name}/cases.safetensors`);
    const base = JSON.parse(await readFile(fixturePath(`${name}/adapter_config.json`), 'utf8'))
      .base_model_name_or_path as string;
    const model = await loadFixtureModel(device, base);
    const { shape, values } = cases.get('input_ids')!;
    const ids = device.from(values, shape, 'i32');
    const expected = (key: string) => cases.get(key)!.values;
    assert.ok(distance(await logitsOf(model, ids), expected('base_logits')) < 1e-4, 'base logits');

    const adapter = await loadAdapter(model, files, fixturePath(name), { trainable: true });
    assert.ok(distance(await logitsOf(model, ids), expected('logits')) < 1e-4, 'logits');

    device.scope(() => {
      const { hidden } = model.forward(ids);
      const targets = [...Array.from(values).slice(1), -100];
      backward(model.loss(hidden, device.from(targets, shape, 'i32'), { normalizer: targets.length - 1 }));
    });
    for (const [key, tensor] of adapter.trainable) {
      const gradient = expected(`grad.${key}`);
      const error = relativeDistance(await tensor.grad!.read(), gradient);
      assert.ok(error < 1e-4, `gradient of ${key}: ${error}`);
    }
    const frozen = [...model.parameters].filter(([, tensor]) => !tensor.requiresGrad);
    assert.ok(frozen.length > 0);
    for (const [key, tensor] of frozen) assert.equal(tensor.grad, null, `${key} is frozen`);

    const folder = await mkdtemp(join(tmpdir(), 'krait-adapter-'));
    await saveAdapter(adapter, files, folder);
    const saved = await readTensors(join(folder, 'adapter_model.safetensors'));
    const original = await readTensors(fixturePath(`${name}/adapter_model.safetensors`));
    assert.deepEqual([...saved.keys()].sort(), [...original.keys()].sort());
    for (const [key, bytes] of original) assert.deepEqual(saved.get(key), bytes, key);
    await rm(folder, { recursive: true });

    const weights = await Promise.all(adapter.factors.map(({ layer }) => layer.weight.read()));
    mergeLora(adapter);
    assert.ok(distance(await logitsOf(model, ids), expected('merged_logits')) < 1e-4, 'merged logits');
    unmergeLora(adapter);
    for (const [i, { layer }] of adapter.factors.entries()) assert.deepEqual(await layer.weight.read(), weights[i]);
    assert.ok(distance(await logitsOf(model, ids), expected('logits')) < 1e-4, 'logits after unmerging');
    device.close();
  });
}
