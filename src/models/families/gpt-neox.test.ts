import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { createReferenceBackend } from '../../backend/reference/index.ts';
import { openSafetensors, type TensorEntry, writeSafetensors } from '../../io/index.ts';
import { Device } from '../../tensor/index.ts';
import * as M from '../index.ts';
import { checkHalf } from '../testing/check-half.ts';
import { checkModel } from '../testing/check-model.ts';
import { testDevices } from '../testing/devices.ts';
import { files, fixture, largestDifference } from '../testing/fixtures.ts';
import { randomIds, run } from '../testing/model-runs.ts';

const NAMES = ['gpt_neox-a', 'gpt_neox-b', 'gpt_neox-c'];

const devices = await testDevices();
checkModel('gpt_neox', NAMES, devices);
checkHalf(NAMES, devices);

describe('checkpoints of GPT-NeoX', () => {
  const device = new Device(createReferenceBackend());
  after(() => device.close());

  /** Logits of a fixture whose tensors were changed on the way. */
  async function logitsOf(name: string, change: (entries: TensorEntry[]) => TensorEntry[], edit: object = {}) {
    const folder = await mkdtemp(join(tmpdir(), 'krait-neox-'));
    const source = await openSafetensors(files, `${fixture(name)}/model.safetensors`);
    const entries: TensorEntry[] = [];
    for (const [key, { dtype, shape }] of source.tensors) {
      const bytes = await source.read(key);
      entries.push({ name: key, dtype, shape, data: () => bytes });
    }
    await source.close();
    try {
      await writeSafetensors(files, join(folder, 'model.safetensors'), change(entries));
      const json = JSON.parse(await files.readText(`${fixture(name)}/config.json`));
      await files.writeAtomic(join(folder, 'config.json'), JSON.stringify({ ...json, ...edit }));
      const model = await M.loadModel(device, files, folder, { onWarning: assert.fail });
      const logits = await run(model, randomIds(9, model.vocabSize, 1));
      const isTied = model.head === null;
      model.dispose();
      return { logits, isTied };
    } finally {
      await rm(folder, { recursive: true });
    }
  }

  const same = (entries: TensorEntry[]) => entries;

  it('are read with the masks and angles of older versions, and without the prefix', async () => {
    const plain = await logitsOf('gpt_neox-a', same);
    const old = (entries: TensorEntry[]): TensorEntry[] => {
      const layer = 'gpt_neox.layers.1.attention';
      const mask = { name: `${layer}.bias`, dtype: 'U8', shape: [1, 1, 4, 4], data: () => new Uint8Array(16) } as const;
      const hidden = { name: `${layer}.masked_bias`, dtype: 'F32', shape: [1], data: () => new Uint8Array(4) } as const;
      return [...entries, mask, hidden, { ...hidden, name: `${layer}.rotary_emb.inv_freq` }];
    };
    const bare = (entries: TensorEntry[]) =>
      entries.map((entry) => ({ ...entry, name: entry.name.replace('gpt_neox.', '') }));
    assert.deepEqual(await logitsOf('gpt_neox-a', old), plain);
    assert.deepEqual(await logitsOf('gpt_neox-a', bare), plain);
    const odd = (entries: TensorEntry[]) => [...entries, { ...entries[0], name: 'gpt_neox.layers.1.attention.other' }];
    await assert.rejects(logitsOf('gpt_neox-a', odd), /attention\.other: expected no such tensor in this model/);
    const headless = (entries: TensorEntry[]) => entries.filter(({ name }) => name !== 'embed_out.weight');
    await assert.rejects(logitsOf('gpt_neox-a', headless), /embed_out\.weight: expected \[61, 24\], got nothing/);
  });

  it('show whether the head is the table where the configuration leaves it open', async () => {
    const open = { tie_word_embeddings: undefined };
    assert.equal((await logitsOf('gpt_neox-a', same, open)).isTied, false);
    assert.equal((await logitsOf('gpt_neox-c', same, open)).isTied, true);
  });

  it('are made from nothing: it guesses at first, the same for a seed', async () => {
    const config = await M.readModelConfig(files, fixture('gpt_neox-a'));
    const [model, again] = [7, 7].map((seed) => M.createModel(device, { ...config, numHiddenLayers: 8 }, seed));
    const ids = randomIds(80, model.vocabSize, 1);
    const scores = (await M.scoreTokens(model, ids)).slice(1);
    const loss = -scores.reduce((sum: number, x) => sum + x!, 0) / scores.length;
    assert.ok(Math.abs(loss - Math.log(model.vocabSize)) < 0.1, `${loss}`);
    assert.equal(largestDifference(await run(model, ids), await run(again, ids)), 0);
    const std = async (name: string) => {
      const values = await model.parameters.get(`gpt_neox.layers.3.${name}.weight`)!.read();
      return Math.sqrt([...values].reduce((sum, x) => sum + x * x, 0) / values.length);
    };
    assert.ok(Math.abs((await std('mlp.dense_h_to_4h')) / 0.02 - 1) < 0.1, 'input maps');
    assert.ok(Math.abs((await std('mlp.dense_4h_to_h')) / (0.02 / 4) - 1) < 0.1, 'output maps');
    for (const made of [model, again]) made.dispose();
  });

  it('decay in training are the matrices', async () => {
    const model = await M.loadModel(device, files, fixture('gpt_neox-a'));
    const decayed = [...model.parameters].filter(([name]) => model.isDecayed(name)).map(([name]) => name);
    const matrices = [...model.parameters].filter(([, { shape }]) => shape.length > 1).map(([name]) => name);
    assert.deepEqual(decayed, matrices);
    assert.equal(decayed.length, 2 + 2 * 4);
    model.dispose();
  });
});
