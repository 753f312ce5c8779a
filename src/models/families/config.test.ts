import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ConfigError, FileFormatError } from '../../core/index.ts';
import { type MambaConfig, parseConfig, parseConfigText, toConfigJson } from '../index.ts';
import { files, fixture } from '../testing/fixtures.ts';

const FILE = 'some/config.json';
const parseMamba = (json: Record<string, unknown>) => parseConfig(json, FILE) as MambaConfig;
const small = { model_type: 'mamba', vocab_size: 10, hidden_size: 33, num_hidden_layers: 2 };

describe('config.json', () => {
  it('fills what is absent, and leaves open what only the checkpoint knows', () => {
    const c = parseMamba(small);
    assert.equal(c.intermediateSize, 66);
    assert.equal(c.timeStepRank, 3); // ceil(33 / 16)
    assert.equal(c.stateSize, 16);
    assert.equal(c.convKernel, 4);
    assert.deepEqual([c.useBias, c.useConvBias, c.tieWordEmbeddings, c.mixerRmsEps], [null, null, null, null]);
    assert.deepEqual(c.eosTokenIds, []);
    assert.equal(parseMamba({ ...small, model_type: 'falcon_mamba' }).mixerRmsEps, 1e-6);
  });

  it('takes the width over the factor, as falcon-mamba-7b needs it', () => {
    assert.equal(parseMamba({ ...small, expand: 16, intermediate_size: 66 }).intermediateSize, 66);
    assert.equal(parseMamba({ ...small, time_step_rank: 'auto' }).timeStepRank, 3);
    assert.deepEqual(parseConfig({ ...small, eos_token_id: [3, 4] }, FILE).eosTokenIds, [3, 4]);
  });

  it("reads the authors' dialect", () => {
    const json = {
      d_model: 768,
      n_layer: 24,
      vocab_size: 50277,
      ssm_cfg: {},
      rms_norm: true,
      residual_in_fp32: true,
      fused_add_norm: true,
      pad_vocab_size_multiple: 8,
    };
    const c = parseMamba(json);
    assert.equal(c.modelType, 'mamba');
    assert.equal(c.vocabSize, 50280);
    assert.deepEqual([c.intermediateSize, c.timeStepRank, c.stateSize, c.convKernel], [1536, 48, 16, 4]);
    assert.equal(c.tieWordEmbeddings, true);
    const saved = toConfigJson(c);
    assert.equal(saved.model_type, 'mamba');
    assert.ok(!('d_model' in saved) && !('ssm_cfg' in saved));
    assert.deepEqual({ ...parseConfig(saved, FILE), source: {} }, c);
    for (const [change, message] of [
      [{ rms_norm: false }, /rms_norm false/],
      [{ ssm_cfg: { layer: 'Mamba2' } }, /ssm_cfg\.layer "Mamba2"/],
      [{ attn_layer_idx: [3] }, /attn_layer_idx/],
      [{ d_intermediate: 64 }, /d_intermediate 64/],
    ] as const) {
      assert.throws(() => parseConfig({ ...json, ...change }, FILE), message);
    }
  });

  it('keeps keys that it does not use', async () => {
    const path = `${fixture('mamba-a')}/config.json`;
    const json = JSON.parse(await files.readText(path));
    assert.deepEqual(toConfigJson(parseConfig(json, path)), json);
    assert.equal(toConfigJson(parseConfig({ ...small, task: { a: 1 } }, FILE)).task !== undefined, true);
  });

  it('reads the Infinity and NaN of Python', () => {
    const text =
      '{"model_type": "mamba", "vocab_size": 10, "hidden_size": 32, "num_hidden_layers": 2, "limit": [0.0, Infinity], "other": NaN, "text": "a \\"NaN\\" NaN"}';
    const c = parseConfigText(text, FILE);
    assert.deepEqual(c.source.limit, [0, Number.POSITIVE_INFINITY]);
    assert.equal(c.source.other, null);
    assert.equal(c.source.text, 'a "NaN" NaN');
  });

  const broken: [string, Record<string, unknown>, RegExp][] = [
    [
      'another type',
      { model_type: 'mamba2' },
      /some\/config\.json: model_type "mamba2" is not supported; supported are mamba, falcon_mamba, gpt_neox$/,
    ],
    ['no type', { model_type: undefined }, /model_type is missing; supported are/],
    ['no size', { hidden_size: undefined }, /some\/config\.json: hidden_size is missing/],
    ['a size of 0', { num_hidden_layers: 0 }, /num_hidden_layers 0/],
    ['a fraction', { state_size: 2.5 }, /state_size 2\.5/],
    ['a text', { vocab_size: '10' }, /vocab_size "10"/],
    ['another activation', { hidden_act: 'gelu' }, /hidden_act "gelu"/],
    ['a negative epsilon', { layer_norm_epsilon: -1 }, /layer_norm_epsilon -1/],
    ['not a switch', { use_bias: 'no' }, /use_bias "no"/],
    ['a rank that is no number', { time_step_rank: 'big' }, /time_step_rank "big"/],
  ];
  for (const [what, change, message] of broken) {
    it(`refuses ${what}, in one line`, () => {
      assert.throws(
        () => parseConfig({ ...small, ...change }, FILE),
        (error: Error) => error instanceof ConfigError && message.test(error.message) && !error.message.includes('\n'),
      );
    });
  }

  it('refuses what is not JSON', () => {
    assert.throws(() => parseConfigText('{"a": ', FILE), FileFormatError);
    assert.throws(() => parseConfigText('[]', FILE), FileFormatError);
  });
});
