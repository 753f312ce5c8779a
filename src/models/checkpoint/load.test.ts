import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { createReferenceBackend } from '../../backend/reference/index.ts';
import { CheckpointError, FileFormatError, HostRandom, type KraitError } from '../../core/index.ts';
import { openSafetensors, type TensorEntry, writeSafetensors } from '../../io/index.ts';
import { backward, Device, IGNORE_INDEX } from '../../tensor/index.ts';
import * as M from '../index.ts';
import { files, fixture, largestDifference, take } from '../testing/fixtures.ts';
import { randomIds, run } from '../testing/model-runs.ts';

const device = new Device(createReferenceBackend());
after(() => device.close());

/** A fixture's tensors, to be changed and written. */
async function tensorsOf(name: string): Promise<Map<string, TensorEntry>> {
  const source = await openSafetensors(files, `${fixture(name)}/model.safetensors`);
  const entries = new Map<string, TensorEntry>();
  for (const [key, { dtype, shape }] of source.tensors) {
    const bytes = await source.read(key);
    entries.set(key, { name: key, dtype, shape, data: () => bytes });
  }
  await source.close();
  return entries;
}

const renamed = (entries: Iterable<TensorEntry>, change: (name: string) => string) =>
  [...entries].map((entry) => ({ ...entry, name: change(entry.name) }));

const floats = (entry: TensorEntry, change: (values: Float32Array) => void): TensorEntry => {
  const values = new Float32Array((entry.data() as Uint8Array).slice().buffer);
  change(values);
  return { ...entry, data: () => new Uint8Array(values.buffer) };
};

describe('checkpoints', () => {
  let folder: string;
  let entries: Map<string, TensorEntry>;
  let config: Record<string, unknown>;
  let blocks: number;
  before(async () => {
    entries = await tensorsOf('mamba-b');
    config = JSON.parse(await files.readText(`${fixture('mamba-b')}/config.json`));
  });
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'krait-weights-'));
    blocks = device.memory().blocks;
  });
  afterEach(async () => {
    await rm(folder, { recursive: true });
    assert.equal(device.memory().blocks, blocks, 'memory stays behind');
  });

  const write = async (tensors: Iterable<TensorEntry>, json: Record<string, unknown> = config) => {
    await writeSafetensors(files, join(folder, 'model.safetensors'), tensors);
    await files.writeAtomic(join(folder, 'config.json'), JSON.stringify(json));
  };
  const load = (options: M.LoadOptions = {}) => M.loadModel(device, files, folder, options);
  const logitsOf = async (model: M.LanguageModel) => {
    const logits = await run(model, randomIds(9, model.vocabSize, 1));
    model.dispose();
    return logits;
  };
  const fails = async (pattern: RegExp, kind: new (...args: never[]) => KraitError = CheckpointError) =>
    assert.rejects(load(), (error: Error) => {
      assert.ok(error instanceof kind, `${error.name}: ${error.message}`);
      assert.match(error.message, pattern);
      assert.ok(!error.message.includes('\n'));
      assert.ok(error.message.startsWith(folder), error.message);
      return true;
    });

  it('refuses a missing tensor', async () => {
    entries = await tensorsOf('mamba-b');
    entries.delete('backbone.layers.1.mixer.A_log');
    await write(entries.values());
    await fails(/tensor backbone\.layers\.1\.mixer\.A_log: expected \[34, 5\], got nothing of that name/);
    entries = await tensorsOf('mamba-b');
  });

  it('refuses an extra tensor', async () => {
    const [some] = entries.values();
    await write([...entries.values(), { ...some, name: 'backbone.layers.3.norm.weight' }]);
    await fails(/backbone\.layers\.3\.norm\.weight: expected no such tensor in this model/);
  });

  it('refuses a shape that contradicts the configuration', async () => {
    await write(entries.values(), { ...config, state_size: 7 });
    await fails(/expected \[16, 34\], got \[12, 34\]/); // x_proj: 2 + 2 * 7 rows
    await write(entries.values(), { ...config, vocab_size: 1e9 });
    await fails(/backbone\.embeddings\.weight: expected \[1000000000, 17\], got \[37, 17\]/);
  });

  it('refuses integers and types without arithmetic', async () => {
    const name = 'backbone.norm_f.weight';
    const change = { ...entries.get(name)!, dtype: 'I32' as const };
    await write([...entries.values()].map((entry) => (entry.name === name ? change : entry)));
    await fails(/backbone\.norm_f\.weight: expected one of F32, BF16, F16, F64, got I32/);
  });

  it('refuses a folder without configuration or weights', async () => {
    await fails(/config\.json: no such file/, FileFormatError);
    await files.writeAtomic(join(folder, 'config.json'), JSON.stringify(config));
    await fails(/no model\.safetensors/, FileFormatError);
  });

  it('warns of values that are not finite', async () => {
    const name = 'backbone.layers.0.mixer.D';
    const bad = floats(entries.get(name)!, (values) => {
      values[2] = Number.NaN;
      values[4] = Number.POSITIVE_INFINITY;
    });
    await write([...entries.values()].map((entry) => (entry.name === name ? bad : entry)));
    const warnings: string[] = [];
    (await load({ onWarning: (message) => warnings.push(message) })).dispose();
    assert.equal(warnings.length, 1);
    assert.match(
      warnings[0],
      /model\.safetensors: tensor backbone\.layers\.0\.mixer\.D: 2 of 34 values are NaN or infinite/,
    );
  });

  it('takes other names, and a configuration that leaves the biases and the tie open', async () => {
    const original = await logitsOf(await M.loadModel(device, files, fixture('mamba-b')));
    const open = { ...config };
    for (const key of ['use_bias', 'use_conv_bias', 'tie_word_embeddings']) delete open[key];
    for (const change of [
      (name: string) => name,
      (name: string) => name.replace('backbone.embeddings', 'backbone.embedding'),
      (name: string) => `model.${name}`,
      (name: string) => name.replace('backbone.', 'model.'),
    ]) {
      await write(renamed(entries.values(), change), open);
      const model = await load();
      const { useBias, useConvBias } = model.config as M.MambaConfig;
      assert.ok(useBias && useConvBias && model.head);
      assert.deepEqual(await logitsOf(model), original);
    }
  });

  it('reads a tied model whose head is stored too, and the dialect of its authors', async () => {
    const tied = await tensorsOf('mamba-a');
    const json = JSON.parse(await files.readText(`${fixture('mamba-a')}/config.json`));
    const original = await logitsOf(await M.loadModel(device, files, fixture('mamba-a')));
    const table = tied.get('backbone.embeddings.weight')!;
    const all = [...tied.values(), { ...table, name: 'lm_head.weight' }];
    await write(all, json);
    assert.deepEqual(await logitsOf(await load()), original);

    const theirs = {
      d_model: json.hidden_size,
      n_layer: json.num_hidden_layers,
      vocab_size: json.vocab_size,
      pad_vocab_size_multiple: 1,
      ssm_cfg: { d_state: json.state_size, dt_rank: json.time_step_rank },
    };
    await write(
      renamed(all, (name) => name.replace('embeddings', 'embedding')),
      theirs,
    );
    assert.deepEqual(await logitsOf(await load()), original);
    // Left open, the head that is there is used.
    const { tie_word_embeddings: _, ...open } = json;
    await write(all, open);
    const model = await load();
    assert.ok(model.head);
    model.dispose();
  });

  it('keeps the recurrence in f32 whatever the type, and saves types as they are', async () => {
    await write(entries.values());
    const model = await load({ dtype: 'bf16' });
    assert.equal(model.activations, 'bf16');
    const types = new Map([...model.parameters].map(([name, t]) => [name, t.dtype]));
    for (const [name, type] of types) {
      const isMatrix = /(proj|embeddings|lm_head)\.weight$/.test(name);
      assert.equal(type, isMatrix ? 'bf16' : 'f32', name);
    }
    await M.saveModel(model, files, join(folder, 'half'));
    const saved = JSON.parse(await files.readText(join(folder, 'half/config.json')));
    assert.equal(saved.dtype, 'bfloat16');
    const again = await M.loadModel(device, files, join(folder, 'half'), { dtype: 'bf16' });
    for (const [name, t] of again.parameters)
      assert.deepEqual(await t.read(), await model.parameters.get(name)!.read());
    again.dispose();
    await M.saveModel(model, files, join(folder, 'whole'), { dtype: 'f32' });
    const source = await openSafetensors(files, join(folder, 'whole/model.safetensors'));
    assert.ok([...source.tensors.values()].every(({ dtype }) => dtype === 'F32'));
    await source.close();
    model.dispose();
  });

  it('replaces a save, shards and all', async () => {
    const model = await M.loadModel(device, files, fixture('mamba-b'));
    await M.saveModel(model, files, folder, { shardBytes: 10_000 });
    const index = JSON.parse(await files.readText(join(folder, 'model.safetensors.index.json')));
    const stored = [...entries.values()].reduce((sum, { shape }) => sum + 4 * shape.reduce((n, d) => n * d, 1), 0);
    assert.equal(index.metadata.total_size, stored);
    assert.deepEqual(Object.keys(index.weight_map).sort(), [...entries.keys()].sort());
    await M.saveModel(model, files, folder);
    assert.deepEqual(await files.list(folder), ['config.json', 'model.safetensors']);
    model.dispose();
  });

  it('saves a head that was untied', async () => {
    const model = await M.loadModel(device, files, fixture('mamba-a'));
    assert.ok(!model.adaptable.has('lm_head') && !model.parameters.has('lm_head.weight'));
    const original = await run(model, [1, 2, 3]);
    model.untieHead();
    assert.ok(model.adaptable.has('lm_head') && model.parameters.has('lm_head.weight'));
    assert.deepEqual(await run(model, [1, 2, 3]), original);
    await M.saveModel(model, files, folder);
    model.dispose();
    const again = await load();
    assert.equal(again.config.tieWordEmbeddings, false);
    assert.deepEqual(await run(again, [1, 2, 3]), original);
    again.dispose();
  });
});

describe('a model from scratch', () => {
  const config = M.parseConfig(
    {
      model_type: 'mamba',
      vocab_size: 300,
      hidden_size: 64,
      num_hidden_layers: 4,
      state_size: 8,
      tie_word_embeddings: false,
    },
    'config',
  );

  it('starts as in the paper', async () => {
    const model = M.createModel(device, config, 7);
    const values = async (name: string) => (await model.parameters.get(name)!.read()) as Float32Array;
    const std = (x: Float32Array) => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length);
    const near = (x: number, to: number, share: number) =>
      assert.ok(Math.abs(x / to - 1) < share, `${x} against ${to}`);
    near(std(await values('backbone.embeddings.weight')), 0.02, 0.03);
    const layer = 'backbone.layers.2.mixer';
    near(std(await values(`${layer}.in_proj.weight`)), 1 / Math.sqrt(3 * 64), 0.03);
    near(std(await values(`${layer}.out_proj.weight`)), 1 / Math.sqrt(3 * 128) / 2, 0.03);
    const aLog = await values(`${layer}.A_log`);
    assert.ok(aLog.every((a, i) => a === Math.fround(Math.log((i % 8) + 1))));
    assert.ok((await values(`${layer}.D`)).every((d) => d === 1));
    const steps = (await values(`${layer}.dt_proj.bias`)).map((b) => Math.log1p(Math.exp(b)));
    assert.ok(
      steps.every((dt) => dt > 0.000999 && dt < 0.1001),
      `${steps}`,
    );
    assert.ok(Math.min(...steps) < 0.003 && Math.max(...steps) > 0.04);
    // It guesses: the loss of a fresh model is about that of a uniform choice.
    const scores = (await M.scoreTokens(model, randomIds(80, 300, 1))).slice(1);
    const loss = -scores.reduce((sum: number, x) => sum + x!, 0) / scores.length;
    assert.ok(Math.abs(loss - Math.log(300)) < 0.5, `${loss}`);
    model.dispose();
  });

  it('is the same for a seed, and another for another', async () => {
    const first = M.createModel(device, config, 1);
    const [second, other] = [M.createModel(device, config, 1), M.createModel(device, config, 2)];
    for (const [name, t] of first.parameters)
      assert.deepEqual(await second.parameters.get(name)!.read(), await t.read(), name);
    const name = 'backbone.layers.0.mixer.in_proj.weight';
    assert.notDeepEqual(await other.parameters.get(name)!.read(), await first.parameters.get(name)!.read());
    const deeper = M.createModel(device, { ...config, vocabSize: 9 }, 1);
    assert.deepEqual(await deeper.parameters.get(name)!.read(), await first.parameters.get(name)!.read());
    for (const model of [first, second, other, deeper]) model.dispose();
    assert.equal(
      M.parameterCount(M.parseConfig({ ...config.source, tie_word_embeddings: true }, '')) + 300 * 64,
      M.parameterCount({ ...config, useBias: false } as M.ModelConfig),
    );
  });

  it('has the size that is printed on the box', () => {
    const shape = {
      model_type: 'mamba',
      vocab_size: 50280,
      hidden_size: 768,
      num_hidden_layers: 24,
      time_step_rank: 48,
    };
    assert.equal(M.parameterCount(M.parseConfig(shape, '')), 129_135_360); // state-spaces/mamba-130m-hf
  });

  it('refuses types that a device does not have', () => {
    const partial = new Device({ ...createReferenceBackend(), supports: (type: string) => type !== 'f64' } as never);
    assert.throws(() => M.createModel(partial, config, 1, { dtype: 'f64' }), /\[model\] f64 is not supported/);
    assert.throws(() => M.createModel(device, config, 1, { dtype: 'i32' }), /\[model\] i32 is not supported/);
  });
});

describe('the head', () => {
  it('has the same loss and gradients fused and composed', async () => {
    const config = M.parseConfig(
      {
        model_type: 'mamba',
        vocab_size: 19,
        hidden_size: 8,
        num_hidden_layers: 1,
        state_size: 4,
        tie_word_embeddings: false,
      },
      '',
    );
    const model = M.createModel(device, config, 3, { dtype: 'f64' });
    const { weight } = model.head!;
    const random = new HostRandom(4);
    const hidden = device
      .from(
        Array.from({ length: 48 }, () => random.normal()),
        [2, 3, 8],
        'f64',
      )
      .trainable();
    const targets = device.from([1, 2, IGNORE_INDEX, 4, 18, 0], [2, 3], 'i32');
    weight.trainable();
    const measure = async () => {
      const loss = device.scope(() => model.loss(hidden, targets, { normalizer: 5, gradScale: 8 }));
      backward(loss);
      const result = [...(await take(loss)), ...(await hidden.grad!.read()), ...(await weight.grad!.read())];
      hidden.zeroGrad();
      weight.zeroGrad();
      return result;
    };
    const fused = await measure();
    model.head!.adapter = { apply: (_x, y) => y };
    const composed = await measure();
    assert.ok(largestDifference(composed, fused) < 1e-12);
    model.head!.adapter = null;
    model.head!.bias = device.zeros([19], 'f64');
    assert.ok(largestDifference(await measure(), fused) < 1e-12);
    assert.ok(model.parameters.has('lm_head.bias'));
    model.dispose();
  });
});

describe('decay', () => {
  it('leaves alone what the golden run leaves alone', async () => {
    const golden = JSON.parse(await files.readText(fixture('golden-curve.json')));
    const model = await M.loadModel(device, files, fixture('mamba-a'));
    const decayed = [...model.parameters.keys()].filter((name) => model.isDecayed(name));
    assert.deepEqual(decayed.sort(), [...golden.full.decayed].sort());
    model.dispose();
  });
});
