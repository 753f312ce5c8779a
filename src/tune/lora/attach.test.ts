import assert from 'node:assert/strict';
import { test } from 'node:test';
import { argumentName, KERNELS, type KernelName } from '../../backend/index.ts';
import { ConfigError, RandomSource } from '../../core/index.ts';
import type { LoraConfig } from '../../io/index.ts';
import type { LanguageModel } from '../../models/index.ts';
import { backward, type Tensor } from '../../tensor/index.ts';
import { distance } from '../testing/fixtures.ts';
import { referenceDevice, tinyModel } from '../testing/tiny-runs.ts';
import { adapterParameters, attachLora, detachLora, type LoraAdapter, mergeLora, unmergeLora } from './index.ts';

const IDS = [1, 5, 2, 9, 9, 14, 3];

async function logitsOf(model: LanguageModel): Promise<Float32Array> {
  const { device } = model;
  const logits = device.noGrad(() =>
    device.scope(() => model.logits(model.forward(device.from(IDS, [1, IDS.length], 'i32')).hidden)),
  );
  return (await logits.read()) as Float32Array;
}

/** Gradients of all that an adapter trains. */
function differentiate(model: LanguageModel): void {
  const { device } = model;
  device.scope(() => {
    const { hidden } = model.forward(device.from(IDS, [1, IDS.length], 'i32'));
    const targets = device.from([...IDS.slice(1), -100], [1, IDS.length], 'i32');
    backward(model.loss(hidden, targets, { normalizer: 6 }));
  });
}

/** Something other than zeros in every factor. */
function disturb(adapter: LoraAdapter): void {
  const { device } = adapter.model;
  [...adapter.trainable.values()].forEach((tensor, i) => {
    const noise = device.uniform(tensor.shape, { seed: 9, stream: i }, -0.5, 0.5);
    device.launch('copy', { x: noise, y: tensor }, { rows: tensor.rows, cols: tensor.cols });
  });
}

/** Gradients of parameters, by kernel. */
const FROZEN: Partial<Record<KernelName, readonly string[]>> = {
  causal_conv_bwd: ['dweight', 'dbias'],
  selective_scan_bwd: ['da', 'dd', 'ddtBias'],
  rms_norm_bwd: ['dweight'],
};
const MODULES = ['in_proj', 'x_proj', 'dt_proj', 'out_proj', 'conv1d', 'embeddings', 'lm_head'];

for (const target of MODULES) {
  test(`LoRA on ${target}: starts as the base, then changes it; merge, unmerge and detach are exact`, async () => {
    const model = tinyModel(referenceDevice());
    const base = await logitsOf(model);
    const adapter = attachLora(model, { r: 3, loraAlpha: 6, targetModules: [target] });
    assert.ok(distance(await logitsOf(model), base) < 1e-6, 'a new adapter changes nothing');
    assert.equal(adapter.coverage.modules.length, 1);
    differentiate(model);
    for (const [name, tensor] of adapter.trainable) assert.ok(tensor.grad, `${name} has a gradient`);
    for (const [name, tensor] of model.parameters) assert.equal(tensor.grad, null, `${name} is frozen`);
    disturb(adapter);
    const adapted = await logitsOf(model);
    const effect = distance(adapted, base);
    assert.ok(effect > 1e-5, `the adapter changes the output: ${effect}`);
    const before = await adapter.factors[0].layer.weight.read();
    mergeLora(adapter);
    assert.equal(adapter.factors[0].layer.adapter, null);
    assert.ok(distance(await logitsOf(model), adapted) < effect / 20, 'merged is the same');
    assert.throws(() => mergeLora(adapter), /merged already/);
    unmergeLora(adapter);
    assert.deepEqual(await adapter.factors[0].layer.weight.read(), before);
    assert.deepEqual(await logitsOf(model), adapted);
    detachLora(adapter);
    assert.deepEqual(await logitsOf(model), base);
  });
}

test('kernels are not asked for gradients of what is frozen', () => {
  const model = tinyModel(referenceDevice());
  attachLora(model, { r: 3, targetModules: ['in_proj', 'x_proj'] });
  const { backend } = model.device;
  const launch = backend.launch.bind(backend);
  const asked: string[] = [];
  backend.launch = (command) => {
    launch(command);
    const frozen = FROZEN[command.kernel] ?? [];
    const names = KERNELS[command.kernel].tensors.map(argumentName);
    asked.push(command.kernel, ...frozen.filter((name) => command.tensors[names.indexOf(name)]));
  };
  differentiate(model);
  for (const [kernel, names] of Object.entries(FROZEN)) {
    assert.ok(asked.includes(kernel), kernel);
    for (const name of names) assert.ok(!asked.includes(name), `${name} of ${kernel}`);
  }
  assert.ok(!asked.includes('embedding_bwd'));
});

test('gradients reach every factor, the ones next to the input too', async () => {
  const model = tinyModel(referenceDevice());
  const targetModules = MODULES.filter((name) => name !== 'lm_head');
  const adapter = attachLora(model, { r: 2, targetModules });
  disturb(adapter);
  differentiate(model);
  for (const [name, tensor] of adapter.trainable) {
    assert.ok(Math.max(...Array.from(await tensor.grad!.read(), Math.abs)) > 0, name);
  }
  const { modules, trainableParameters, share } = adapter.coverage;
  assert.deepEqual(modules.map(({ name }) => name.split('.').pop()).sort(), [...targetModules].sort());
  const sizes = [...adapter.trainable.values()].reduce((sum, { size }) => sum + size, 0);
  assert.equal(trainableParameters, sizes);
  assert.ok(share > 0 && share < 1);
  assert.equal(modules.find(({ kind }) => kind === 'conv')!.parameters, 2 * (4 + 16));
});

test('all-linear is every linear layer but the head; an expression matches whole paths', () => {
  const names = (config: Partial<LoraConfig>) =>
    attachLora(tinyModel(referenceDevice()), config).coverage.modules.map(({ name }) => name.split('.').pop());
  assert.deepEqual(names({ targetModules: 'all-linear' }), ['in_proj', 'x_proj', 'dt_proj', 'out_proj']);
  assert.deepEqual(names({ targetModules: 'all-linear', excludeModules: ['dt_proj'] }).length, 3);
  assert.deepEqual(names({ targetModules: '.*\\.(x|dt)_proj' }), ['x_proj', 'dt_proj']);
  assert.throws(() => names({ targetModules: 'x_proj' }), /matches no module/);
});

test('on a Transformer all-linear leaves the head alone too, wherever it is', () => {
  const adapt = (config: Partial<LoraConfig>, isTied = true) => {
    const model = tinyModel(referenceDevice(), 1, 'gpt_neox', { tie_word_embeddings: isTied });
    const { coverage } = attachLora(model, config);
    return { names: coverage.modules.map(({ name }) => name.split('.').pop()), whole: coverage.whole, model };
  };
  const linear = ['query_key_value', 'dense', 'dense_h_to_4h', 'dense_4h_to_h'];
  for (const isTied of [true, false]) assert.deepEqual(adapt({ targetModules: 'all-linear' }, isTied).names, linear);
  assert.deepEqual(adapt({ targetModules: ['query_key_value'] }).names, ['query_key_value']); // PEFT's own choice
  assert.deepEqual(adapt({ targetModules: ['dense', 'embed_in'] }).names, ['embed_in', 'dense']);
  const head = adapt({ targetModules: ['dense', 'embed_out'] });
  assert.deepEqual([head.names, head.model.parameters.has('embed_out.weight')], [['dense', 'embed_out'], true]);
  assert.deepEqual(adapt({ targetModules: ['dense'], modulesToSave: ['embed_out'] }).whole, ['embed_out.weight']);
  assert.throws(() => adapt({ targetModules: ['in_proj'] }), /"in_proj" matches no module; there are embed_in, query_/);
});

test('targets that match nothing are errors that name the nearest and those there are', () => {
  const attach = (config: Partial<LoraConfig>) => () => attachLora(tinyModel(referenceDevice()), config);
  const fails = (config: Partial<LoraConfig>, message: RegExp) =>
    assert.throws(attach(config), (error: Error) => error instanceof ConfigError && message.test(error.message));
  fails({ targetModules: ['in_proj', 'q_proj'] }, /"q_proj" matches no module.*there are embeddings, in_proj, conv1d/);
  fails({ targetModules: ['in_prj'] }, /did you mean in_proj\?/);
  fails(
    { targetModules: ['in_proj'], modulesToSave: ['norm_ff'] },
    /modules_to_save: "norm_ff".*did you mean norm_f\?/,
  );
  fails({ targetModules: ['in_proj'], modulesToSave: ['in_proj'] }, /in_proj is in target_modules too/);
  fails({ targetModules: ['in_proj'], excludeModules: ['in_proj'] }, /exclude_modules: leaves no module/);
  fails({ r: 0 }, /r: expected a rank from 1, got 0/);
  fails({ initLoraWeights: 'eva' }, /init_lora_weights: eva/);
  const model = tinyModel(referenceDevice());
  attachLora(model, {});
  assert.throws(() => attachLora(model, {}), /has an adapter already/);
});

test('modules to save and biases are trained on copies; detaching brings the base back', async () => {
  const model = tinyModel(referenceDevice());
  const base = await logitsOf(model);
  const settings = { targetModules: ['in_proj'], bias: 'all', modulesToSave: ['norm_f', 'lm_head'] } as const;
  const adapter = attachLora(model, settings);
  assert.deepEqual([...adapter.coverage.whole].sort(), [
    'backbone.layers.0.mixer.conv1d.bias',
    'backbone.layers.0.mixer.dt_proj.bias',
    'backbone.norm_f.weight',
    'lm_head.weight',
  ]);
  const undecayed = adapterParameters(adapter).filter(({ isDecayed }) => !isDecayed);
  assert.deepEqual(undecayed.map(({ name }) => name.split('.').slice(-2).join('.')).sort(), [
    'conv1d.bias',
    'dt_proj.bias',
    'norm_f.weight',
  ]);
  disturb(adapter);
  assert.ok(distance(await logitsOf(model), base) > 1e-3);
  detachLora(adapter);
  assert.deepEqual(await logitsOf(model), base);
});

test('dropout is drawn in training only, from the source that training gives', async () => {
  const model = tinyModel(referenceDevice());
  const adapter = attachLora(model, { loraDropout: 0.5, targetModules: ['in_proj', 'out_proj'] });
  disturb(adapter);
  const still = await logitsOf(model);
  adapter.random = new RandomSource(4);
  const drawn = await logitsOf(model);
  assert.ok(distance(drawn, still) > 1e-3);
  assert.equal(adapter.random.stream, 2);
  adapter.random = new RandomSource(4);
  assert.deepEqual(await logitsOf(model), drawn);
  adapter.random = null;
  assert.deepEqual(await logitsOf(model), still);
});

test('half weights: factors stay f32, merging rounds once, unmerging is bit-exact', async () => {
  const device = referenceDevice();
  const model = tinyModel(device);
  for (const layer of model.adaptable.values()) {
    if (layer.kind === 'conv') continue;
    const values = await layer.weight.read();
    (layer as { weight: Tensor }).weight = device.from(values, layer.weight.shape, 'bf16');
  }
  model.activations = 'bf16';
  const adapter = attachLora(model, { targetModules: 'all-linear', modulesToSave: ['lm_head'] });
  disturb(adapter);
  for (const tensor of adapter.trainable.values()) assert.equal(tensor.dtype, 'f32');
  differentiate(model);
  for (const [name, tensor] of adapter.trainable) assert.equal(tensor.grad?.dtype, 'f32', name);
  const adapted = await logitsOf(model);
  const weights = await Promise.all(adapter.factors.map(({ layer }) => layer.weight.read()));
  mergeLora(adapter);
  for (const { layer } of adapter.factors) assert.equal(layer.weight.dtype, 'bf16');
  assert.ok(distance(await logitsOf(model), adapted) < 0.1);
  unmergeLora(adapter);
  for (const [i, { layer }] of adapter.factors.entries()) assert.deepEqual(await layer.weight.read(), weights[i]);
});

test('the same seed gives the same factors, another seed others', async () => {
  const valuesOf = async (seed: number) => {
    const adapter = attachLora(tinyModel(referenceDevice()), { targetModules: ['in_proj', 'x_proj'] }, { seed });
    return Promise.all([...adapter.trainable.values()].map((tensor) => tensor.read()));
  };
  const [a, again, other] = [await valuesOf(1), await valuesOf(1), await valuesOf(2)];
  assert.deepEqual(a, again);
  assert.notDeepEqual(a[0], other[0]);
  const bound = 1 / Math.sqrt(8);
  assert.ok(Array.from(a[0]).every((value) => Math.abs(value) <= bound));
  assert.ok(Math.max(...Array.from(a[0], Math.abs)) > 0.9 * bound);
  assert.deepEqual(
    Array.from(a[1]).filter((value) => value !== 0),
    [],
  );
});
