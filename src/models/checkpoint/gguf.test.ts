import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { createReferenceBackend } from '../../backend/reference/index.ts';
import { type GgufType, openCheckpoint } from '../../io/index.ts';
import { type ReadGguf, readGguf, valuesOf } from '../../io/testing/gguf-reader.ts';
import { Device } from '../../tensor/index.ts';
import { parseConfig } from '../families/index.ts';
import { files, fixture, largestDifference } from '../testing/fixtures.ts';
import { convertToGguf, type GgufOptions, saveGguf } from './gguf.ts';
import { createModel, loadModel } from './load.ts';
import { saveModel } from './save.ts';

const work = await mkdtemp(join(tmpdir(), 'krait-gguf-'));
after(() => rm(work, { recursive: true }));
const device = new Device(createReferenceBackend());
let count = 0;
const newPath = () => join(work, `${count++}`);

/** Converts a folder and reads the file back. */
async function converted(folder: string, options: GgufOptions = {}): Promise<ReadGguf & { warnings: string[] }> {
  const path = newPath();
  const warnings: string[] = [];
  const summary = await convertToGguf(files, folder, path, { onWarning: (line) => warnings.push(line), ...options });
  const bytes = await readFile(path);
  const file = readGguf(bytes);
  assert.deepEqual([summary.bytes, summary.tensors], [bytes.length, file.tensors.size]);
  return { ...file, warnings };
}

/** A folder with a fresh model; the settings in place of a small Mamba's. */
async function freshModel(settings: Record<string, unknown>): Promise<string> {
  const config = { model_type: 'mamba', vocab_size: 40, hidden_size: 32, num_hidden_layers: 2, state_size: 4 };
  const model = createModel(device, parseConfig({ ...config, use_bias: false, ...settings }, 'config.json'), 3);
  const folder = newPath();
  await saveModel(model, files, folder);
  model.dispose();
  return folder;
}

const LAYER = [
  ['attn_norm.weight', 'norm.weight', [24]],
  ['ssm_in.weight', 'mixer.in_proj.weight', [96, 24]],
  ['ssm_conv1d.weight', 'mixer.conv1d.weight', [48, 4]],
  ['ssm_conv1d.bias', 'mixer.conv1d.bias', [48]],
  ['ssm_x.weight', 'mixer.x_proj.weight', [19, 48]],
  ['ssm_dt.weight', 'mixer.dt_proj.weight', [48, 3]],
  ['ssm_dt.bias', 'mixer.dt_proj.bias', [48]],
  ['ssm_d', 'mixer.D', [48]],
  ['ssm_out.weight', 'mixer.out_proj.weight', [24, 48]],
] as const;

describe('a model as GGUF', () => {
  it('has every weight under the name and shape of llama.cpp', async () => {
    const folder = fixture('mamba-a');
    const { tensors } = await converted(folder, { type: 'f32' });
    const source = await openCheckpoint(files, folder);
    const check = async (name: string, stored: string, shape: readonly number[]) => {
      const tensor = tensors.get(name)!;
      assert.deepEqual([name, tensor.shape, tensor.code], [name, shape, 0]);
      assert.deepEqual(valuesOf(tensor), await source.readAs(stored, 'f32'), name);
    };
    await check('token_embd.weight', 'backbone.embeddings.weight', [61, 24]);
    await check('output_norm.weight', 'backbone.norm_f.weight', [24]);
    for (const layer of [0, 1]) {
      for (const [name, ours, shape] of LAYER) {
        await check(`blk.${layer}.${name}`, `backbone.layers.${layer}.${ours}`, shape);
      }
      const logs = (await source.readAs(`backbone.layers.${layer}.mixer.A_log`, 'f32')) as Float32Array;
      const rates = tensors.get(`blk.${layer}.ssm_a`)!;
      assert.deepEqual([rates.shape, rates.code], [[48, 8], 0]);
      assert.deepEqual(
        valuesOf(rates),
        logs.map((log) => -Math.exp(log)),
      );
    }
    assert.equal(tensors.size, 2 + 2 * (LAYER.length + 1)); // a tied head is left out
    await source.close();
  });

  it('says what the model is', async () => {
    const { metadata, warnings } = await converted(fixture('mamba-a'), { type: 'bf16', name: 'A name' });
    const expected = {
      'general.architecture': 'mamba',
      'general.name': 'A name',
      'general.file_type': 32,
      'mamba.context_length': 1048576,
      'mamba.embedding_length': 24,
      'mamba.feed_forward_length': 0,
      'mamba.attention.head_count': 0,
      'mamba.block_count': 2,
      'mamba.vocab_size': 61,
      'mamba.ssm.conv_kernel': 4,
      'mamba.ssm.inner_size': 48,
      'mamba.ssm.state_size': 8,
      'mamba.ssm.time_step_rank': 3,
      'mamba.ssm.dt_b_c_rms': false,
      'mamba.attention.layer_norm_rms_epsilon': Math.fround(1e-5),
    };
    for (const [key, value] of Object.entries(expected)) assert.equal(metadata.get(key), value, key);
    assert.equal((metadata.get('tokenizer.ggml.tokens') as string[]).length, 61);
    assert.match(warnings[0], /tokenizer\.json: there is none/);
  });

  it('keeps what feeds no matrix product in f32, and rows that do not fit q8_0 in f16', async () => {
    const codes = { f32: 0, f16: 1, q8_0: 8, bf16: 30 };
    const folder = await freshModel({ tie_word_embeddings: false }); // 32 wide, 64 inside, steps of rank 2
    const source = await openCheckpoint(files, folder);
    for (const type of Object.keys(codes) as GgufType[]) {
      const { tensors } = await converted(folder, { type });
      const matrix = /^(token_embd|output|blk\.\d\.ssm_(in|x|dt|out))\.weight$/;
      for (const [name, tensor] of tensors) {
        const isNarrow = type === 'q8_0' && name.includes('ssm_dt');
        assert.equal(tensor.code, matrix.test(name) ? codes[isNarrow ? 'f16' : type] : 0, `${name} in ${type}`);
      }
      const stored = (await source.readAs('lm_head.weight', 'f32')) as Float32Array;
      const most = stored.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
      const error = largestDifference(valuesOf(tensors.get('output.weight')!), stored) / most;
      const limit = { f32: 0, f16: 2 ** -11, bf16: 2 ** -8, q8_0: 1 / 220 }[type];
      assert.ok(error <= limit && (type === 'f32' || error > limit / 20), `${type}: ${error}`);
    }
    await source.close();
  });

  it('gives a convolution without a bias one of zeros', async () => {
    const { tensors } = await converted(fixture('mamba-c'));
    const bias = tensors.get('blk.1.ssm_conv1d.bias')!;
    assert.deepEqual([bias.shape, bias.code], [[32], 0]);
    assert.ok(valuesOf(bias).every((x) => x === 0));
  });

  it('marks Falcon-Mamba, and says where its epsilon differs', async () => {
    const { metadata, warnings } = await converted(fixture('falcon_mamba-a'));
    assert.equal(metadata.get('mamba.ssm.dt_b_c_rms'), true);
    assert.match(warnings[0], /mixer_rms_eps 0\.000001: llama\.cpp uses layer_norm_epsilon 0\.00001 in its place/);
    const same = await converted(await freshModel({ model_type: 'falcon_mamba', mixer_rms_eps: 1e-5 }));
    assert.equal(same.warnings.filter((line) => line.includes('eps')).length, 0);
  });

  it('is the same from memory as from the folder', async () => {
    for (const name of ['mamba-a', 'mamba-c']) {
      for (const type of ['f32', 'f16', 'bf16'] as const) {
        const [direct, fromMemory] = [newPath(), newPath()];
        const model = await loadModel(device, files, fixture(name));
        const shares: number[] = [];
        const onProgress = (share: number) => shares.push(share);
        await saveGguf(model, files, fixture(name), fromMemory, { type, onProgress });
        await convertToGguf(files, fixture(name), direct, { type });
        assert.ok((await readFile(direct)).equals(await readFile(fromMemory)), `${name} ${type}`);
        assert.equal(shares.at(-1), 1);
        model.dispose();
      }
    }
  });

  it('refuses what llama.cpp cannot run, and leaves no file', async () => {
    const path = newPath();
    const cases: [string, RegExp][] = [
      [fixture('gpt_neox-a'), /gpt_neox-a: GGUF export takes Mamba models, not gpt_neox; keep it as safetensors$/],
      [fixture('mamba-b'), /tensor backbone\.layers\.0\.mixer\.in_proj\.bias: llama\.cpp has no place for it/],
      [await freshModel({ intermediate_size: 96 }), /intermediate_size 96 with hidden_size 32: llama\.cpp runs twice/],
    ];
    for (const [folder, expected] of cases) {
      await assert.rejects(convertToGguf(files, folder, path), expected);
      assert.equal(await files.exists(path), false);
    }
  });

  it('refuses values that f16 cannot hold, and warns of those that are not finite', async () => {
    const folder = await freshModel({});
    const file = join(folder, 'model.safetensors');
    const spoil = async (value: number) => {
      const bytes = await readFile(file);
      const source = await openCheckpoint(files, folder);
      bytes.writeFloatLE(value, source.info('backbone.embeddings.weight').begin + 8);
      await source.close();
      await writeFile(file, bytes);
    };
    await spoil(1e6);
    const path = newPath();
    const expected =
      /model\.safetensors: tensor backbone\.embeddings\.weight: expected values of at most 65504, got 1000000/;
    await assert.rejects(convertToGguf(files, folder, path), expected);
    assert.deepEqual(
      (await files.list(work)).filter((name) => name.includes('tmp')),
      [],
    );
    assert.equal(await files.exists(path), false);
    await converted(folder, { type: 'bf16' });
    await spoil(Number.NaN);
    const { warnings } = await converted(folder, { type: 'q8_0' });
    assert.ok(
      warnings.some((line) => /embeddings\.weight: 1 blocks hold values that are NaN/.test(line)),
      `${warnings}`,
    );
  });

  it('reads shards, and the checkpoint of half types as it is stored', async () => {
    const model = await loadModel(device, files, fixture('mamba-a'));
    const folder = newPath();
    await saveModel(model, files, folder, { dtype: 'bf16', shardBytes: 4000 });
    model.dispose();
    assert.ok((await files.list(folder)).length > 3);
    const { tensors } = await converted(folder, { type: 'bf16' });
    const source = await openCheckpoint(files, folder);
    for (const [name, stored] of [
      ['token_embd.weight', 'backbone.embeddings.weight'],
      ['blk.1.ssm_in.weight', 'backbone.layers.1.mixer.in_proj.weight'],
    ]) {
      assert.deepEqual(Buffer.from(tensors.get(name)!.data), Buffer.from(await source.read(stored)));
    }
    await source.close();
  });

  it('names a broken folder', async () => {
    const folder = newPath();
    await cp(fixture('mamba-a'), folder, { recursive: true });
    await rm(join(folder, 'model.safetensors'));
    await assert.rejects(convertToGguf(files, folder, newPath()), new RegExp(folder));
    await assert.rejects(convertToGguf(files, join(work, 'nowhere'), newPath()), /nowhere\/config\.json: no such file/);
  });
});
