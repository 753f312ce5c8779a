import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ConfigError } from '../../core/index.ts';
import { configKeys, type GptNeoXConfig, parameterCount, parseConfig, toConfigJson } from '../index.ts';
import { files, fixture } from '../testing/fixtures.ts';
import { rotatedSize } from './gpt-neox.ts';

const FILE = 'some/config.json';
/** As in EleutherAI/pythia-160m. */
const pythia = {
  architectures: ['GPTNeoXForCausalLM'],
  bos_token_id: 0,
  eos_token_id: 0,
  hidden_act: 'gelu',
  hidden_size: 768,
  initializer_range: 0.02,
  intermediate_size: 3072,
  layer_norm_eps: 1e-5,
  max_position_embeddings: 2048,
  model_type: 'gpt_neox',
  num_attention_heads: 12,
  num_hidden_layers: 12,
  rotary_emb_base: 10000,
  rotary_pct: 0.25,
  tie_word_embeddings: false,
  torch_dtype: 'float16',
  use_cache: true,
  use_parallel_residual: true,
  vocab_size: 50304,
};
const parse = (json: Record<string, unknown>) => parseConfig(json, FILE) as GptNeoXConfig;

describe('config.json of GPT-NeoX', () => {
  it('is read as Pythia writes it, and has the size that is printed on the box', () => {
    const c = parse(pythia);
    assert.deepEqual([c.numAttentionHeads, c.intermediateSize, c.maxPositionEmbeddings], [12, 3072, 2048]);
    assert.deepEqual([rotatedSize(c), c.ropeTheta, c.useParallelResidual, c.attentionBias], [16, 10000, true, true]);
    assert.equal(parameterCount(c), 162_322_944);
    assert.deepEqual(toConfigJson(c), { ...pythia, attention_bias: true, pad_token_id: null });
  });

  it('has its rotation in the dialects of all versions', () => {
    const { rotary_pct: _, rotary_emb_base: __, ...plain } = pythia;
    const rotation = (change: Record<string, unknown>) => {
      const c = parse({ ...plain, ...change });
      const again = parse(toConfigJson(c));
      assert.deepEqual([again.rotaryPct, again.ropeTheta], [c.rotaryPct, c.ropeTheta]);
      return [rotatedSize(c), c.ropeTheta];
    };
    assert.deepEqual(rotation({}), [16, 10000]);
    assert.deepEqual(rotation({ rotary_pct: 1, rotary_emb_base: 500 }), [64, 500]);
    assert.deepEqual(rotation({ partial_rotary_factor: 0.5, rope_theta: 500 }), [32, 500]);
    const newer = { rope_type: 'default', partial_rotary_factor: 0.5, rope_theta: 20_000 };
    assert.deepEqual(rotation({ rope_parameters: newer, rotary_pct: 0.25 }), [32, 20_000]);
    assert.deepEqual(rotation({ rope_scaling: null, rope_parameters: null }), [16, 10000]);
  });

  it('keeps keys that it does not use', async () => {
    for (const name of ['gpt_neox-a', 'gpt_neox-b', 'gpt_neox-c']) {
      const json = JSON.parse(await files.readText(`${fixture(name)}/config.json`));
      assert.deepEqual(toConfigJson(parse(json)), json);
    }
  });

  it('names the keys of each family', () => {
    assert.ok(configKeys('gpt_neox').includes('rotary_pct') && !configKeys('gpt_neox').includes('state_size'));
    assert.ok(configKeys('mamba').includes('state_size') && !configKeys('mamba').includes('rotary_pct'));
    assert.ok(configKeys('other').includes('state_size') && configKeys('other').includes('rotary_pct'));
  });

  const broken: [string, Record<string, unknown>, RegExp][] = [
    ['heads of unequal size', { num_attention_heads: 7 }, /hidden_size 768 is no multiple of num_attention_heads 7/],
    ['no heads', { num_attention_heads: undefined }, /some\/config\.json: num_attention_heads is missing/],
    ['half a pair', { rotary_pct: 0.02 }, /rotary_pct 0\.02 of the 64 elements of a head is 1; .* even number from 2$/],
    ['more than a head', { rotary_pct: 1.5 }, /rotary_pct 1\.5/],
    ['an unknown activation', { hidden_act: 'swish' }, /hidden_act "swish"/],
    ['scaled rotation', { rope_scaling: { type: 'linear', factor: 2 } }, /rope_scaling\.type "linear"/],
    ['scaled rotation', { rope_parameters: { rope_type: 'yarn' } }, /rope_parameters\.rope_type "yarn"/],
    ['not a switch', { use_parallel_residual: 1 }, /use_parallel_residual 1/],
  ];
  for (const [what, change, message] of broken) {
    it(`refuses ${what}, in one line`, () => {
      assert.throws(
        () => parse({ ...pythia, ...change }),
        (error: Error) => error instanceof ConfigError && message.test(error.message) && !error.message.includes('\n'),
      );
    });
  }
});
