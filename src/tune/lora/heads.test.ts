/** Adapters on models that are no plain language model of a family: mixed layers, and a classifier of vector sequences. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openSafetensors } from '../../io/index.ts';
import { createClassifier, createFrom, parseClassifierConfig } from '../../models/index.ts';
import { mixedBlueprint } from '../../models/testing/mixed-family.ts';
import { NodeFileSystem } from '../../platform/node/index.ts';
import { referenceDevice } from '../testing/tiny-runs.ts';
import {
  adapterParameters,
  attachLora,
  detachLora,
  type LoraAdapter,
  loadAdapter,
  mergeLora,
  saveAdapter,
} from './index.ts';

const files = new NodeFileSystem();
let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'krait-heads-'));
});
after(() => rm(root, { recursive: true, force: true }));

/** Puts noise into every trained tensor, so that each of them matters. */
function disturb({ model, trainable }: LoraAdapter): void {
  [...trainable.values()].forEach((tensor, i) => {
    const noise = model.device.uniform(tensor.shape, { seed: 2, stream: i }, -0.5, 0.5);
    model.device.launch('copy', { x: noise, y: tensor }, { rows: tensor.rows, cols: tensor.cols });
  });
}

const config = parseClassifierConfig(
  {
    model_type: 'sequence_classifier',
    num_features: 3,
    num_labels: 4,
    backbone: {
      model_type: 'gpt_neox',
      hidden_size: 16,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      intermediate_size: 24,
      rotary_pct: 0.5,
    },
  },
  'config.json',
);

const KINDS = {
  'M*-M': {
    create: () => createFrom(mixedBlueprint('M*-M'), referenceDevice(), 1),
    run: (model: ReturnType<typeof createFrom>) => {
      const lm = model as ReturnType<ReturnType<typeof mixedBlueprint>['build']>;
      const ids = lm.device.from([1, 2, 3, 4, 5], [1, 5], 'i32');
      return lm.logits(lm.forward(ids).hidden);
    },
    task: 'CAUSAL_LM',
    modules: ['in_proj', 'x_proj', 'dt_proj', 'out_proj', 'qkv_proj', 'o_proj', 'up_proj', 'down_proj'],
  },
  'a classifier': {
    create: () => createClassifier(referenceDevice(), config, 1),
    run: (model: ReturnType<typeof createFrom>) => {
      const classifier = model as ReturnType<typeof createClassifier>;
      const values = Float32Array.from({ length: 15 }, (_, i) => Math.sin(i));
      return classifier.forward(classifier.device.from(values, [1, 5, 3]));
    },
    task: 'SEQ_CLS',
    modules: ['read_in', 'query_key_value', 'dense', 'dense_h_to_4h', 'dense_4h_to_h'],
  },
} as const;

for (const [kind, { create, run, task, modules }] of Object.entries(KINDS)) {
  const outputOf = async (model: ReturnType<typeof create>) => {
    const y = model.device.noGrad(() => model.device.scope(() => run(model)));
    const values = await y.read();
    y.dispose();
    return Array.from(values);
  };

  test(`LoRA on all linear layers of ${kind}: named as PEFT does, saved, loaded, merged, taken off`, async () => {
    const folder = join(root, task);
    const model = create();
    const base = await outputOf(model);
    const adapter = attachLora(model, { r: 2, targetModules: 'all-linear' });
    assert.deepEqual(await outputOf(model), base, 'a new adapter changes nothing');
    assert.deepEqual(
      [...new Set(adapter.coverage.modules.map(({ name }) => name.split('.').at(-1)))].sort(),
      [...modules].sort(),
    );
    assert.ok(adapterParameters(adapter).every(({ tensor, isDecayed }) => tensor.requiresGrad && isDecayed));
    disturb(adapter);
    const expected = await outputOf(model);
    assert.ok(expected.some((y, i) => Math.abs(y - base[i]) > 1e-2));
    await saveAdapter(adapter, files, folder);

    const source = await openSafetensors(files, join(folder, 'adapter_model.safetensors'));
    const first = adapter.coverage.modules[0].name;
    assert.ok(source.tensors.has(`base_model.model.${first}.lora_A.weight`), [...source.tensors.keys()].join(' '));
    assert.equal(source.tensors.size, 2 * adapter.coverage.modules.length);
    await source.close();
    const written = JSON.parse(await readFile(join(folder, 'adapter_config.json'), 'utf8')) as Record<string, unknown>;
    assert.equal(written.task_type, task);

    const other = create();
    const loaded = await loadAdapter(other, files, folder);
    assert.deepEqual(await outputOf(other), expected);
    mergeLora(loaded);
    for (const [i, y] of (await outputOf(other)).entries()) assert.ok(Math.abs(y - expected[i]) < 1e-5);
    detachLora(adapter);
    assert.deepEqual(await outputOf(model), base);
  });
}
