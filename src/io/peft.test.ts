import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { FileFormatError } from '../core/index.ts';
import { NodeFileSystem } from '../platform/node/index.ts';
import { LORA_DEFAULTS } from './lora-config.ts';
import {
  formatAdapterConfig,
  isSavedWhole,
  isTargeted,
  parseAdapterConfig,
  rankAndScale,
  UNSUPPORTED_FEATURES,
} from './peft.ts';
import { type AdapterTensor, formatAdapterName, parseAdapterName } from './peft-names.ts';
import { openSafetensors } from './safetensors.ts';

const FIXTURES = fileURLToPath(new URL('../../test/fixtures/', import.meta.url));
const adapters = readdirSync(FIXTURES).filter((name) => name.startsWith('peft-'));
const BASE = { peft_type: 'LORA', r: 4, lora_alpha: 16, target_modules: ['in_proj'] };
const parse = (json: unknown) => parseAdapterConfig('a/adapter_config.json', JSON.stringify(json));

describe('adapter_config.json', () => {
  for (const name of adapters) {
    test(`${name}, written by PEFT, is read; what is written from it is the same configuration`, () => {
      const file = join(FIXTURES, name, 'adapter_config.json');
      const json = JSON.parse(readFileSync(file, 'utf8'));
      const config = parseAdapterConfig(file, readFileSync(file, 'utf8'));
      assert.equal(config.r, json.r);
      assert.equal(config.loraAlpha, json.lora_alpha);
      assert.equal(config.useRslora, json.use_rslora);
      assert.deepEqual(config.targetModules, json.target_modules);
      assert.deepEqual(config.modulesToSave, json.modules_to_save ?? []);
      const written = formatAdapterConfig(config);
      assert.deepEqual(parseAdapterConfig('again', written), config);
      for (const [key, value] of Object.entries(JSON.parse(written))) assert.deepEqual(value, json[key], key);
    });
  }

  test('absent fields have the defaults of PEFT', () => {
    const config = parse({ peft_type: 'LORA', target_modules: ['a'] });
    assert.deepEqual(config, { ...LORA_DEFAULTS, targetModules: ['a'], taskType: null });
  });

  test('every field survives', () => {
    const config = {
      r: 3,
      loraAlpha: 1.5,
      loraDropout: 0.1,
      targetModules: '.*_proj',
      excludeModules: ['x_proj'],
      bias: 'lora_only',
      modulesToSave: ['lm_head', 'norm_f'],
      useRslora: true,
      fanInFanOut: true,
      initLoraWeights: 'gaussian',
      rankPattern: { 'layers.0.*in_proj': 7 },
      alphaPattern: { in_proj: 9 },
      baseModelNameOrPath: 'org/name',
      revision: 'v2',
      taskType: 'SEQ_CLS',
    } as const;
    assert.deepEqual(parseAdapterConfig('x', formatAdapterConfig(config)), config);
  });

  test('what changes the numbers is refused by name, what is off is not', () => {
    for (const key of UNSUPPORTED_FEATURES) {
      for (const off of [null, false, [], {}]) parse({ ...BASE, [key]: off });
      for (const on of [true, [1], { a: 1 }]) {
        assert.throws(
          () => parse({ ...BASE, [key]: on }),
          (error: Error) => {
            assert.ok(error instanceof FileFormatError);
            assert.match(
              error.message,
              new RegExp(`^a/adapter_config\\.json: ${key}: .*changes the numbers and is not supported; merge`),
            );
            return true;
          },
        );
      }
    }
    parse({ ...BASE, a_new_field: null, another: {} });
    assert.throws(() => parse({ ...BASE, a_new_field: 3 }), /unknown field a_new_field: 3; it may change the numbers/);
    assert.throws(() => parse({ ...BASE, lora_alfa: 3 }), /unknown field lora_alfa: 3 \(did you mean lora_alpha\?\)/);
  });

  test('wrong values are named', () => {
    const cases: [unknown, RegExp][] = [
      [{ ...BASE, peft_type: 'IA3' }, /peft_type "IA3" is not supported/],
      [{}, /peft_type nothing/],
      [{ ...BASE, r: 0 }, /r 0: .*>0/],
      [{ ...BASE, r: 2.5 }, /r 2\.5: expected int/],
      [{ ...BASE, lora_dropout: 1 }, /lora_dropout 1: /],
      [{ ...BASE, bias: 'some' }, /bias "some": expected one of "none"\|"all"\|"lora_only"/],
      [{ ...BASE, target_modules: null }, /target_modules is null/],
      [{ ...BASE, target_modules: [] }, /target_modules is \[\]/],
      [{ ...BASE, target_modules: [1] }, /target_modules/],
      [{ ...BASE, target_modules: '(' }, /"\(" is not a regular expression/],
      [{ ...BASE, init_lora_weights: 'pissa' }, /init_lora_weights "pissa": /],
      [{ ...BASE, rank_pattern: { x: 0 } }, /rank_pattern\.x 0: /],
      [[], /expected a JSON object/],
    ];
    for (const [json, expected] of cases) assert.throws(() => parse(json), expected);
    assert.throws(() => parseAdapterConfig('f', '{"r":'), /f: not valid JSON/);
  });
});

describe('which modules', () => {
  const path = 'backbone.layers.1.mixer.in_proj';

  test('lists match ends, text matches whole paths', () => {
    const on = (targetModules: string | string[], excludeModules: string | string[] | null = null) =>
      isTargeted({ targetModules, excludeModules }, path);
    assert.deepEqual(
      [on(['in_proj']), on(['mixer.in_proj']), on([path]), on(['n_proj']), on(['out_proj']), on([])],
      [true, true, true, false, false, false],
    );
    assert.deepEqual(
      [on('.*in_proj'), on('in_proj'), on('.*\\.1\\..*'), on('a|.*_proj'), on('backbone')],
      [true, false, true, true, false],
    );
    assert.deepEqual(
      [on('all-linear'), on('all-linear', ['in_proj']), on(['in_proj'], '.*layers\\.1\\..*')],
      [true, false, false],
    );
    assert.equal(isSavedWhole({ modulesToSave: ['norm_f'] }, 'backbone.norm_f'), true);
    assert.equal(isSavedWhole({ modulesToSave: ['norm_f'] }, 'backbone.layers.0.norm'), false);
  });

  test('patterns change rank and alpha, for paths and their ends; scale by r or its root', () => {
    const config = {
      ...LORA_DEFAULTS,
      r: 4,
      loraAlpha: 8,
      rankPattern: { 'layers\\.1.*in_proj': 16, x_proj: 2 },
      alphaPattern: { x_proj: 3 },
    };
    assert.deepEqual(rankAndScale(config, path), { rank: 16, scale: 0.5 });
    assert.deepEqual(rankAndScale(config, 'backbone.layers.0.mixer.in_proj'), { rank: 4, scale: 2 });
    assert.deepEqual(rankAndScale(config, 'backbone.layers.0.mixer.x_proj'), { rank: 2, scale: 1.5 });
    assert.deepEqual(rankAndScale({ ...config, useRslora: true }, path), { rank: 16, scale: 2 });
  });
});

describe('tensor names', () => {
  for (const name of adapters) {
    test(`${name}: every name is understood and comes back`, async () => {
      const file = await openSafetensors(new NodeFileSystem(), join(FIXTURES, name, 'adapter_model.safetensors'));
      assert.ok(file.tensors.size > 0);
      for (const key of file.tensors.keys()) {
        const tensor = parseAdapterName(key);
        assert.ok(tensor, key);
        assert.equal(formatAdapterName(tensor), key);
      }
      await file.close();
    });
  }

  test('each kind by name', () => {
    const cases: [string, AdapterTensor][] = [
      [
        'base_model.model.backbone.layers.0.mixer.in_proj.lora_A.weight',
        { kind: 'factor', module: 'backbone.layers.0.mixer.in_proj', factor: 'A', isEmbedding: false },
      ],
      [
        'base_model.model.backbone.embeddings.lora_embedding_B',
        { kind: 'factor', module: 'backbone.embeddings', factor: 'B', isEmbedding: true },
      ],
      ['base_model.model.lm_head.weight', { kind: 'parameter', parameter: 'lm_head.weight', isWrapped: false }],
      [
        'base_model.model.a.in_proj.base_layer.bias',
        { kind: 'parameter', parameter: 'a.in_proj.bias', isWrapped: true },
      ],
    ];
    for (const [name, tensor] of cases) {
      assert.deepEqual(parseAdapterName(name), tensor);
      assert.equal(formatAdapterName(tensor), name);
    }
  });

  test('other spellings, and names that are none', () => {
    assert.deepEqual(parseAdapterName('base_model.model.a.lora_B.default.weight'), {
      kind: 'factor',
      module: 'a',
      factor: 'B',
      isEmbedding: false,
    });
    assert.deepEqual(parseAdapterName('base_model.model.a.lora_embedding_A.default'), {
      kind: 'factor',
      module: 'a',
      factor: 'A',
      isEmbedding: true,
    });
    assert.deepEqual(parseAdapterName('base_model.model.lm_head.modules_to_save.default.weight'), {
      kind: 'parameter',
      parameter: 'lm_head.weight',
      isWrapped: false,
    });
    for (const name of [
      'backbone.weight',
      'base_model.model.a.lora_magnitude_vector',
      'base_model.model.a.lora_A.bias',
      'base_model.model.a.lora_C.weight',
    ]) {
      assert.equal(parseAdapterName(name), undefined, name);
    }
  });
});
