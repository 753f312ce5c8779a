/** Weights in int8, from the command line and from the library, on a tiny model and the reference device. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { Krait } from 'krait';
import { onlyInAll } from '../src/core/testing/only-in-all.ts';
import { krait, refuses, workFolder } from './cli-cases.ts';
import { writeTinyModel } from './tiny-model.ts';

const work = workFolder('int8');
const model = join(work, 'model');
const adapter = join(work, 'adapter');
const data = join(work, 'data.jsonl');
const recipe = join(work, 'recipe.yaml');
const device = ['--device', 'reference'];
const int8 = ['--dtype', 'int8', ...device];
const TEXT = 'hello world, hello';

async function json(...args: string[]) {
  const { code, stdout, stderr } = await krait(...args, '--json');
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}

before(async () => {
  await writeTinyModel(model);
  writeFileSync(data, '{"prompt":"hell","completion":"o"}\n{"text":"hello world"}\n');
  writeFileSync(recipe, 'model: {}\n');
  const tune = ['tune', '--model', model, '--data', data, '--steps', '3', '--max-length', '8', '--lr', '0.01'];
  await json(...tune, '--out', adapter, ...device);
});

describe('--dtype int8', () => {
  it('scores nearly as f32 does, with an adapter too', async () => {
    for (const flags of [[], ['--adapter', adapter]]) {
      const score = ['score', '--model', model, '--text', TEXT, ...flags];
      const [plain, quantised] = [await json(...score, ...device), await json(...score, ...int8)];
      const difference = Math.abs(plain.bitsPerByte - quantised.bitsPerByte);
      assert.ok(
        difference > 0 && difference < 0.02 * plain.bitsPerByte,
        `${plain.bitsPerByte}, ${quantised.bitsPerByte}`,
      );
    }
  });

  it('generates, and says so', async () => {
    const result = await json('generate', '--model', model, '--prompt', 'hello', '--max-tokens', '4', ...int8);
    assert.deepEqual([result.dtype, result.tokens.length], ['int8', 4]);
  });

  it('is measured, by the bytes that it reads', async () => {
    const bench = ['bench', '--model', model, '--what', 'prefill,decode', '--tokens', '3', '--rounds', '1'];
    const [plain, quantised] = [await json(...bench, ...device), await json(...bench, ...int8)];
    assert.equal(quantised.dtype, 'int8');
    const [a, b] = [plain, quantised].map(({ results }) => results[1].bytesPerStep);
    assert.ok(b < 0.55 * a, `${b} bytes a step, ${a} in f32`); // in so small a model scales, rates and states weigh
  });

  it(
    'is measured on a shape that is drawn, too',
    onlyInAll('two million weights on the reference device'),
    async () => {
      const drawn = await json(
        'bench',
        '--shape',
        'base',
        '--what',
        'decode',
        '--tokens',
        '2',
        '--rounds',
        '1',
        ...int8,
      );
      assert.equal(drawn.model.parameters, 2_800_320);
    },
  );

  it('is refused in one line where weights change or are saved', async () => {
    const out = ['--out', join(work, 'out')];
    const invalid =
      /'--dtype <type>' argument 'int8' is invalid: weights in int8 are for generate, score and bench; give f32/;
    for (const command of [
      ['tune', '--model', model, '--data', data, ...out],
      ['merge', '--model', model, '--adapter', adapter, ...out],
      ['pretrain', '-c', recipe, ...out],
    ]) {
      await refuses(work, 2, invalid, ...command, ...int8);
    }
    const bench = ['bench', '--model', model, '--what', 'decode,lora'];
    await refuses(work, 2, /--what lora: weights in int8 cannot be trained; give --dtype f32/, ...bench, ...int8);
    const gradients = ['score', '--model', model, '--text', TEXT, '--gradients', join(work, 'g.safetensors')];
    await refuses(work, 2, /--gradients: weights in int8 have none; give --dtype f32/, ...gradients, ...int8);
    await refuses(work, 2, /'--dtype <type>' .*'int4' is invalid.*f32, bf16, f16, int8/, 'score', '--dtype', 'int4');
  });
});

describe('Krait.load in i8', () => {
  it('uses the model and adapters, and refuses in one line to change or save it', async () => {
    const quantised = await Krait.load(model, { device: 'reference', dtype: 'i8' });
    const base = await quantised.score(TEXT);
    const records = [{ text: TEXT }];
    await assert.rejects(
      quantised.tune({ data: records, steps: 1 }),
      /^ConfigError: tune: the model's weights are int8/,
    );
    await assert.rejects(quantised.tune({ data: records, steps: 1, method: 'full' }), /^ConfigError: tune: .*int8/);
    await assert.rejects(
      quantised.save(join(work, 'saved')),
      /^ConfigError: .*saved: int8 weights .* load the model in f32/,
    );
    assert.deepEqual(await quantised.score(TEXT), base, 'as it was');
    await quantised.loadAdapter(adapter);
    assert.notDeepEqual(await quantised.score(TEXT), base);
    assert.throws(() => quantised.merge(), /^ConfigError: merge: the model's weights are int8/);
    assert.throws(() => quantised.merge({ permanent: true }), /^ConfigError: merge: .*int8/);
    quantised.removeAdapter();
    assert.deepEqual(await quantised.score(TEXT), base);
    quantised.close();
  });
});
