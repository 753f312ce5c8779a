/** Models with int8 weights: what loading makes of a checkpoint, and how far what they say is from f32. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createReferenceBackend } from '../backend/reference/index.ts';
import { ConfigError, quantiseRows } from '../core/index.ts';
import { isAll } from '../core/testing/only-in-all.ts';
import { loadTokenizer, openSafetensors, type TensorEntry, writeSafetensors } from '../io/index.ts';
import { Device } from '../tensor/index.ts';
import { complete } from './generate/index.ts';
import * as M from './index.ts';
import { type TestDevice, testDevices } from './testing/devices.ts';
import { files, fixture, largest, largestDifference } from './testing/fixtures.ts';
import { logitsInPieces, randomIds, run } from './testing/model-runs.ts';

const device = new Device(createReferenceBackend());
const root = await mkdtemp(join(tmpdir(), 'krait-quantised-'));
after(async () => {
  device.close();
  await rm(root, { recursive: true });
});

const isQuantised = (name: string) =>
  /(embeddings|in_proj|x_proj|dt_proj|out_proj|lm_head|embed_in|embed_out|query_key_value|dense\w*)\.weight$/.test(
    name,
  );

/** An f32 model that has in its weights what a quantised one stands for. */
async function roundedModel(on: Device, folder: string): Promise<M.LanguageModel> {
  const model = await M.loadModel(on, files, folder);
  for (const [name, weight] of model.parameters) {
    if (!isQuantised(name)) continue;
    const { values, scales } = quantiseRows(await weight.read(), weight.cols);
    weight.write(Float32Array.from(values, (q, i) => q * scales[Math.floor(i / weight.cols)]));
  }
  return model;
}

/** A copy of a fixture's folder with one tensor's values changed. */
async function changedFixture(name: string, tensor: string, change: (values: Float32Array) => void): Promise<string> {
  const folder = await mkdtemp(join(root, 'model-'));
  const source = await openSafetensors(files, `${fixture(name)}/model.safetensors`);
  const entries: TensorEntry[] = [];
  for (const [key, { dtype, shape }] of source.tensors) {
    const bytes = (await source.read(key)).slice();
    if (key === tensor) change(new Float32Array(bytes.buffer));
    entries.push({ name: key, dtype, shape, data: () => bytes });
  }
  await source.close();
  await writeSafetensors(files, join(folder, 'model.safetensors'), entries);
  await files.writeAtomic(join(folder, 'config.json'), await readFile(`${fixture(name)}/config.json`));
  return folder;
}

describe('loading in int8', () => {
  for (const name of ['mamba-a', 'mamba-b', 'falcon_mamba-a', 'gpt_neox-a', 'gpt_neox-c']) {
    it(`quantises what feeds matrix products and nothing else (${name})`, async () => {
      const before = device.memory().blocks;
      const plain = await M.loadModel(device, files, fixture(name));
      const model = await M.loadModel(device, files, fixture(name), { dtype: 'i8' });
      assert.equal(model.activations, 'f32');
      assert.deepEqual([...model.parameters.keys()], [...plain.parameters.keys()]);
      assert.deepEqual([...model.scales.keys()].sort(), [...plain.parameters.keys()].filter(isQuantised).sort());
      for (const [key, weight] of plain.parameters) {
        const got = model.parameters.get(key)!;
        assert.deepEqual([key, got.shape, got.dtype], [key, weight.shape, isQuantised(key) ? 'i8' : weight.dtype]);
        const [values, expected] = [await got.read(), await weight.read()];
        const scales = await model.scales.get(key)?.read();
        if (!scales) assert.deepEqual(values, expected);
        else {
          const law = quantiseRows(expected, weight.cols);
          assert.deepEqual([[...values], scales], [[...law.values], law.scales], key);
        }
      }
      model.dispose();
      plain.dispose();
      assert.equal(device.memory().blocks, before, 'memory stays behind');
    });
  }

  it('computes what the rounded weights compute, tied or with a head of its own', async () => {
    for (const name of ['mamba-a', 'mamba-b', 'falcon_mamba-a', 'gpt_neox-a', 'gpt_neox-c']) {
      const model = await M.loadModel(device, files, fixture(name), { dtype: 'i8' });
      const rounded = await roundedModel(device, fixture(name));
      const ids = randomIds(19, model.vocabSize, 1);
      const expected = await run(rounded, ids);
      const error = largestDifference(await run(model, ids), expected);
      assert.ok(error <= 1e-4, `${name}: ${error}`);
      const loss = (m: M.LanguageModel) =>
        device.noGrad(() => {
          const { hidden } = m.forward(device.from(ids, [1, 19], 'i32'));
          return m.loss(hidden, device.from([...ids.slice(1), -100], [1, 19], 'i32'), { normalizer: 18 }).item();
        });
      const [got, wanted] = [await loss(model), await loss(rounded)];
      assert.ok(Math.abs(got - wanted) < 1e-4, `${name}: loss ${got}, not ${wanted}`);
      const untied = model.untieHead();
      assert.equal(untied.weight.dtype, 'i8');
      assert.ok(largestDifference(await run(model, ids), expected) <= 1e-4, `${name}, untied`);
      rounded.dispose();
      model.dispose();
    }
  });

  it('keeps rows of zeros, and warns of rows that are not finite, which give NaN', async () => {
    const folder = await changedFixture('mamba-a', 'backbone.layers.0.mixer.out_proj.weight', (values) =>
      values.fill(0, 0, 30),
    );
    const ids = randomIds(9, 61, 1);
    const model = await M.loadModel(device, files, folder, { dtype: 'i8' });
    const rounded = await roundedModel(device, folder);
    assert.ok(largestDifference(await run(model, ids), await run(rounded, ids)) <= 1e-4, 'zeros');
    for (const odd of [model, rounded]) odd.dispose();

    const warnings: string[] = [];
    const bad = await changedFixture('mamba-a', 'backbone.layers.0.mixer.in_proj.weight', (values) => {
      values[3] = Number.NaN;
      values[4] = Number.POSITIVE_INFINITY;
    });
    const broken = await M.loadModel(device, files, bad, { dtype: 'i8', onWarning: (line) => warnings.push(line) });
    assert.equal(warnings.length, 1);
    assert.match(warnings[0], /in_proj\.weight: 2 of \d+ values are NaN or infinite; its outputs will be NaN/);
    assert.ok((await run(broken, ids)).every(Number.isNaN), 'a wrong number would be worse');
    broken.dispose();
  });

  it('makes a new model too, the same for a seed', async () => {
    const config = await M.readModelConfig(files, fixture('mamba-a'));
    const plain = M.createModel(device, config, 3);
    const model = M.createModel(device, config, 3, { dtype: 'i8' });
    const ids = randomIds(9, 61, 1);
    const expected = await run(plain, ids);
    const error = largestDifference(await run(model, ids), expected);
    assert.ok(error > 0 && error < 0.1 * largest(expected), `${error}`);
    for (const m of [plain, model]) m.dispose();
  });

  it('refuses to be trained, saved or exported, and activations in int8', async () => {
    const load = (options: M.LoadOptions) => M.loadModel(device, files, fixture('mamba-a'), options);
    await assert.rejects(
      load({ dtype: 'i8', trainable: true }),
      /^ConfigError: dtype: i8 weights cannot be trained; give f32/,
    );
    await assert.rejects(load({ activations: 'i8' }), /model.*i8 is not supported/);
    const model = await load({ dtype: 'i8' });
    const out = join(root, 'out');
    const refusal = /out: int8 weights are for inference and are not saved as a model; load the model in f32 or bf16/;
    await assert.rejects(M.saveModel(model, files, out), refusal);
    await assert.rejects(M.saveModel(model, files, out, { dtype: 'f32' }), refusal);
    await assert.rejects(M.saveGguf(model, files, fixture('mamba-a'), out), refusal);
    assert.ok(!(await files.exists(out)), 'something was written');
    model.dispose();
    const plain = await load({});
    await assert.rejects(M.saveModel(plain, files, out, { dtype: 'i8' }), ConfigError);
    plain.dispose();
  });

  it('takes little more memory than it keeps', async () => {
    const own = new Device(createReferenceBackend());
    const model = await M.loadModel(own, files, fixture('mamba-b'), { dtype: 'i8' });
    const { bytesInUse, peakBytes } = own.memory();
    const sums = 8 * (model.parameters.size + 1); // a number for each tensor, while they are read
    assert.ok(peakBytes - bytesInUse <= sums, `${peakBytes} bytes, ${bytesInUse} stay: f32 weights lay on the device`);
    model.dispose();
    own.close();
  });
});

const BASE = fileURLToPath(new URL('../../models/base', import.meta.url));
const TEXT = (await readFile(new URL('../../LICENSE', import.meta.url), 'utf8')).slice(0, 4000);
const PROMPTS = ['The weather today', 'Once upon a time', 'In the first place', 'She said that'];

/** All of the text on the first native device, in `npm run test:all`; elsewhere its beginning, about 200 positions. */
const textFor = (name: string): string => (name === 'native' && isAll ? TEXT : TEXT.slice(0, 450));

/** The carried model on a device, in f32 and int8. */
function checkBase({ name, skip, open }: TestDevice): void {
  const isSlow = name === 'reference' && 'too slow for the whole model; its kernels are tested above';
  describe(`the carried model in int8 on ${name}`, { skip: skip || isSlow }, () => {
    let on: Device;
    let plain: M.LanguageModel;
    let model: M.LanguageModel;
    let ids: number[];
    const opened = (async () => {
      if (skip || isSlow) return;
      on = await open();
      plain = await M.loadModel(on, files, BASE);
      model = await M.loadModel(on, files, BASE, { dtype: 'i8' });
      ids = (await loadTokenizer(files, BASE)).encode(textFor(name));
    })();
    after(() => on?.close());

    it('has nearly the logits and bits per byte of f32', async (t) => {
      await opened;
      const [a, b] = [await run(plain, ids), await run(model, ids)];
      const worst = largestDifference(a, b);
      const mean = a.reduce((sum, x, i) => sum + Math.abs(x - b[i]), 0) / a.length;
      const bits = async (m: M.LanguageModel) => {
        const logprobs = await M.scoreTokens(m, ids);
        return -logprobs.slice(1).reduce<number>((sum, x) => sum + x!, 0) / Math.LN2 / Buffer.byteLength(textFor(name));
      };
      const [expected, got] = [await bits(plain), await bits(model)];
      t.diagnostic(
        `logits: largest difference ${worst.toFixed(3)}, mean ${mean.toFixed(4)}, largest logit ${largest(a).toFixed(1)}`,
      );
      t.diagnostic(`bits per byte: f32 ${expected.toFixed(4)}, int8 ${got.toFixed(4)}`);
      assert.ok(mean > 1e-4, 'int8 was not used');
      assert.ok(mean < 0.08 && worst < 1, `logits: mean difference ${mean}, largest ${worst}`);
      assert.ok(Math.abs(got - expected) < 0.02, `bits per byte: ${got}, not ${expected}`);
    });

    it('mostly finds the same token most probable', async (t) => {
      await opened;
      const v = model.vocabSize;
      const best = (logits: Float32Array) =>
        ids.map((_, i) => logits.subarray(i * v, (i + 1) * v)).map((row) => row.indexOf(Math.max(...row)));
      const [a, b] = [best(await run(plain, ids)), best(await run(model, ids))];
      const agreed = a.filter((token, i) => token === b[i]).length;
      t.diagnostic(`the most probable token agrees at ${agreed} of ${ids.length} positions`);
      assert.ok(agreed / ids.length > 0.95, `${agreed} of ${ids.length}`);
    });

    it('says the same in pieces and in a batch as at once and alone', async () => {
      await opened;
      const part = ids.slice(0, 40);
      const whole = await run(model, part);
      const error = largestDifference(await logitsInPieces(model, part, [1, 17, 1, 21]), whole);
      assert.ok(error < 1e-3, `in pieces: ${error}`);
      const tokenizer = await loadTokenizer(files, BASE);
      const options = { maxTokens: 24, temperature: 0 };
      const together = await complete(model, tokenizer, PROMPTS, options);
      for (const [i, prompt] of PROMPTS.entries()) {
        assert.deepEqual((await complete(model, tokenizer, prompt, options))[0].tokens, together[i].tokens, prompt);
      }
    });
  });
}

for (const target of await testDevices()) checkBase(target);
