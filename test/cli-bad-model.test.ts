/** Models, tokenizers and adapters that are broken in one way each: the command names the file, the value, the remedy. */
import assert from 'node:assert/strict';
import { cpSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { tinyTokenizer } from '../src/io/testing/tiny-tokenizer.ts';
import { BrokenModels, krait, refuses, workFolder } from './cli-cases.ts';
import { writeTinyModel } from './tiny-model.ts';

const work = workFolder('bad-model');
const good = join(work, 'good');
const data = join(work, 'data.jsonl');
const device = ['--device', 'reference'];
const D = 'backbone.layers.1.mixer.D';
let models: BrokenModels;

before(async () => {
  await writeTinyModel(good);
  models = new BrokenModels(work, good);
  writeFileSync(data, '{"prompt":"hell","completion":"o"}\n{"text":"hello world"}\n');
});

/** Tuning a broken model fails with exit code 1, and its --out does not come to be. */
const refusesModel = (folder: string, pattern: RegExp, code = 1) =>
  refuses(work, code, pattern, 'tune', '--model', folder, '--data', data, '--out', join(work, 'out'), ...device);

describe('weights', () => {
  it('of a header length that cannot be', async () => {
    const length = (value: bigint) => {
      const file = models.weights();
      file.writeBigUInt64LE(value);
      return models.with({ 'model.safetensors': file });
    };
    await refusesModel(length(2n ** 63n), /model\.safetensors: header length 9223372036854775808 .*fetch or write/);
    await refusesModel(length(10_000_000n), /model\.safetensors: header length 10000000 is more than .*fetch or write/);
    await refusesModel(length(0n), /model\.safetensors: header length 0 is too short .*fetch or write/);
    await refusesModel(
      models.with({ 'model.safetensors': '' }),
      /model\.safetensors: 0 bytes are too few .*fetch or write/,
    );
  });

  it('that are cut off, in the data and in the header', async () => {
    const cut = (bytes: number) => models.with({ 'model.safetensors': models.weights().subarray(0, bytes) });
    await refusesModel(cut(models.weights().length - 100), /model\.safetensors: truncated: .* bytes of data, it has/);
    await refusesModel(cut(100), /model\.safetensors: header length \d+ is more than the 92 bytes that follow/);
  });

  it('of offsets that overlap, leave the file or contradict the shape', async () => {
    const moved = (begin: number, end: number) =>
      models.withTensors((tensors) => {
        tensors[D].data_offsets[0] += begin;
        tensors[D].data_offsets[1] += end;
      });
    await refusesModel(
      moved(-4, -4),
      /model\.safetensors: tensor ".*data_offsets \[\d+, \d+\] overlap .*fetch or write/,
    );
    await refusesModel(moved(2 ** 20, 2 ** 20), /model\.safetensors: truncated: its tensors need \d+ bytes .* it has/);
    await refusesModel(
      moved(0, 4),
      /model\.safetensors: tensor ".*D": shape \[64\] of F32 needs 256 bytes, .* span 260/,
    );
  });

  it('of a dtype that is unknown, or known and not for weights', async () => {
    const typed = (dtype: string) =>
      models.withTensors((tensors) => {
        tensors[D].dtype = dtype;
      });
    await refusesModel(typed('F33'), /model\.safetensors: tensor ".*D": unknown dtype "F33", known are .*F32/);
    await refusesModel(typed('I32'), /model\.safetensors: tensor .*D: expected one of F32, .*, got I32; convert/);
  });

  it('with a tensor missing, or one too many', async () => {
    const renamed = models.withTensors((tensors) => {
      tensors['backbone.layers.1.mixer.DD'] = tensors[D];
      delete tensors[D];
    });
    await refusesModel(
      renamed,
      /model\.safetensors: tensor .*layers\.1\.mixer\.D: expected \[64\], got nothing .*; use/,
    );
    const extra = models.withTensors((tensors, { length }) => {
      tensors['backbone.layers.0.mixer.Q'] = { dtype: 'F32', shape: [0], data_offsets: [length, length] };
    });
    await refusesModel(extra, /model\.safetensors: tensor .*mixer\.Q: expected no such tensor .*shape \[0\]; use/);
  });

  it('that are a pickle, or something else under the name of safetensors', async () => {
    const pickle = models.with({ 'model.safetensors': null, 'pytorch_model.bin': 'PK\x03\x04' });
    await refusesModel(
      pickle,
      /pytorch_model\.bin: .*pickle.* can run code; convert .*save_file.* or use a repository/,
    );
    const named = (content: string) => models.with({ 'model.safetensors': `${content}${' '.repeat(100)}` });
    await refusesModel(named('PK\x03\x04'), /model\.safetensors: a PyTorch pickle, .*; convert it with/);
    await refusesModel(named('version https://git-lfs'), /model\.safetensors: a Git LFS pointer, .*`git lfs pull`/);
    await refusesModel(
      models.with({ 'model.safetensors': null }),
      /: no model\.safetensors .*it has config\.json.*; give/,
    );
  });

  it('in shards of which one is missing', async () => {
    const index = { weight_map: { [D]: 'model-00002-of-00002.safetensors' } };
    const sharded = { 'model.safetensors': null, 'model.safetensors.index.json': JSON.stringify(index) };
    await refusesModel(
      models.with(sharded),
      /model-00002-of-00002\.safetensors: missing shard, .*; fetch the model again/,
    );
  });

  it('with values that are NaN are a warning, and the command goes on', async () => {
    const folder = models.withTensors((tensors, bytes) => {
      new DataView(bytes.buffer).setFloat32(tensors[D].data_offsets[0], Number.NaN, true);
    });
    const { code, stdout, stderr } = await krait('score', '--model', folder, '--tokens', '1,2,3', '--json', ...device);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /warning.* \S*model\.safetensors: tensor \S*mixer\.D: 1 of 64 values are NaN or infinite; /);
    assert.deepEqual(JSON.parse(stdout).logprobs, [null, null, null]);
  });
});

describe('config.json', () => {
  it('that contradicts the weights', async () => {
    const wide = models.withConfig({ state_size: 5 });
    await refusesModel(wide, /model\.safetensors: tensor .*x_proj\.weight: expected \[12, 64\], got \[10, 64\]; use/);
    await refusesModel(
      models.withConfig({ num_hidden_layers: 3 }),
      /tensor backbone\.layers\.2\.\S+: expected .*got nothing/,
    );
  });

  it('of a model type that is not supported: those that are', async () => {
    const type = (model_type?: string) => models.withConfig({ model_type });
    await refusesModel(type('gpt2'), /config\.json: model_type "gpt2" is not supported; .* mamba, falcon_mamba/, 2);
    await refusesModel(type(), /config\.json: model_type is missing; supported are mamba, falcon_mamba/, 2);
  });

  it('with values that no model has, at once', async () => {
    await refusesModel(models.withConfig({ hidden_size: -1 }), /config\.json: hidden_size -1: expected .*>=1/, 2);
    await refusesModel(
      models.withConfig({ num_hidden_layers: 1e9 }),
      /config\.json: num_hidden_layers 1000000000: /,
      2,
    );
    await refusesModel(
      models.withConfig({ vocab_size: 1e12 }),
      /embeddings\.weight: expected \[1000000000000, 32\], got/,
    );
  });

  it('that is no JSON, or not there', async () => {
    await refusesModel(models.with({ 'config.json': '{' }), /config\.json: not valid JSON: .*; write it again/);
    await refusesModel(models.with({ 'config.json': '[]' }), /config\.json: expected a JSON object, got \[\]/);
    await refusesModel(models.with({ 'config.json': null }), /config\.json: no such file or folder; check the path/);
  });

  it('of a model path that is a file, or nothing', async () => {
    await refusesModel(data, /data\.jsonl: is a file; give the folder of a model/, 2);
    await refusesModel(join(work, 'no', 'model'), /no\/model: no such folder; give the folder of a model/, 2);
  });
});

describe('the tokenizer', () => {
  it('that is larger than the vocabulary', async () => {
    const { model } = JSON.parse(tinyTokenizer());
    const larger = tinyTokenizer({ model: { ...model, vocab: { ...model.vocab, surplus: 5000 } } });
    const folder = models.with({ 'tokenizer.json': larger });
    await refusesModel(folder, /tokenizer\.json: 5001 tokens .* vocabulary of 272; use the tokenizer that belongs/, 2);
  });

  it('that is none, or not there', async () => {
    await refusesModel(models.with({ 'tokenizer.json': 'nope' }), /tokenizer\.json: not valid JSON: /);
    await refusesModel(
      models.with({ 'tokenizer.json': '{"model":{}}' }),
      /tokenizer\.json: not a tokenizer: .*; fetch/,
    );
    await refusesModel(models.with({ 'tokenizer.json': null }), /tokenizer\.json: no tokenizer .*; put the tokenizer/);
  });
});

describe('the adapter', () => {
  const adapter = join(work, 'adapter');
  const refusesAdapter = (folder: string, pattern: RegExp, model = good) => {
    const flags = ['--model', model, '--adapter', folder, '--out', join(work, 'out'), ...device];
    return refuses(work, 1, pattern, 'merge', ...flags);
  };
  const changed = (name: string, changes: Record<string, unknown>) => {
    const folder = join(work, name);
    cpSync(adapter, folder, { recursive: true });
    const path = join(folder, 'adapter_config.json');
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...changes }));
    return folder;
  };
  before(async () => {
    const flags = [
      '--model',
      good,
      '--data',
      data,
      '--out',
      adapter,
      '--steps',
      '1',
      '--max-length',
      '16',
      '--rank',
      '2',
    ];
    const { code, stderr } = await krait('tune', ...flags, ...device);
    assert.equal(code, 0, stderr);
  });

  it('of another model', async () => {
    const other = fileURLToPath(new URL('fixtures/mamba-a', import.meta.url));
    await refusesAdapter(
      adapter,
      /adapter_model\.safetensors: tensor .*lora_A\S*: expected \[2, 24\], got \[2, 32\]/,
      other,
    );
  });

  it('whose configuration does not belong to it, or is not supported', async () => {
    await refusesAdapter(
      changed('rank', { r: 3 }),
      /adapter_model\.safetensors: tensor .*expected \[3, 32\], got \[2, 32\]/,
    );
    await refusesAdapter(
      changed('dora', { use_dora: true }),
      /adapter_config\.json: use_dora: true .*; merge the adapter/,
    );
    await refusesAdapter(changed('ia3', { peft_type: 'IA3' }), /adapter_config\.json: peft_type "IA3" .*; use/);
  });

  it('that is not there, is of an unfinished run, or is a pickle', async () => {
    await refusesAdapter(good, /good\/adapter_config\.json: no such file; give the folder of a LoRA adapter/);
    const unfinished = changed('unfinished', {});
    rmSync(join(unfinished, 'adapter_config.json'));
    await refusesAdapter(
      unfinished,
      /unfinished\/adapter_config\.json: no such file; finish the run in it with --resume/,
    );
    const pickled = changed('pickled', {});
    renameSync(join(pickled, 'adapter_model.safetensors'), join(pickled, 'adapter_model.bin'));
    await refusesAdapter(
      pickled,
      /adapter_model\.bin: .*pickle.*; load the adapter with PEFT .*: PEFT writes safetensors/,
    );
  });
});
