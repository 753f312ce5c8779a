import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError } from '../core/index.ts';
import { resolveOptions } from '../train/index.ts';
import {
  checkRelations,
  configOf,
  loraConfigOf,
  mergeTuneConfigs,
  parseTuneConfig,
  parseTuneYaml,
  trainerOptionsOf,
} from './config.ts';

const fails = (work: () => unknown, message: RegExp) =>
  assert.throws(work, (error: Error) => {
    assert.ok(error instanceof ConfigError, `${error}`);
    assert.match(error.message, message);
    return !error.message.includes('\n');
  });

test('a file in the names of transformers and PEFT', () => {
  const config = parseTuneYaml(
    'tune.yaml',
    `model: m
method: lora
learning_rate: 2.0e-3
lr_scheduler_type: cosine
warmup_ratio: 0.1
max_steps: 50
r: 16
lora_alpha: 32
target_modules: [in_proj, x_proj]
modules_to_save: [lm_head]
adam_beta2: 0.95
`,
  );
  const { learningRate, schedule, warmup, betas } = resolveOptions({ ...trainerOptionsOf(config), steps: 50 });
  assert.deepEqual([learningRate, schedule, warmup, betas], [0.002, 'cosine', 0.1, [0.9, 0.95]]);
  const lora = loraConfigOf(config);
  assert.deepEqual([lora.r, lora.loraAlpha, lora.targetModules], [16, 32, ['in_proj', 'x_proj']]);
  assert.deepEqual(lora.modulesToSave, ['lm_head']);
});

test('the names of mlx-lm and of the command line mean the same', () => {
  const config = parseTuneConfig('flags', {
    lr: 1,
    steps: 3,
    'batch-size': 2,
    targets: 'in_proj, x_proj',
    warmup: 0.2,
  });
  assert.deepEqual(config, {
    learning_rate: 1,
    max_steps: 3,
    per_device_train_batch_size: 2,
    target_modules: 'in_proj, x_proj',
    warmup_ratio: 0.2,
  });
  assert.deepEqual(loraConfigOf(config).targetModules, ['in_proj', 'x_proj']);
  assert.equal(parseTuneConfig('flags', { warmup: 20 }).warmup_steps, 20);
  assert.equal(loraConfigOf({ target_modules: 'all-linear' }).targetModules, 'all-linear');
  assert.equal(loraConfigOf({ target_modules: '.*_proj' }).targetModules, '.*_proj');
  assert.equal(loraConfigOf({ r: 4 }).loraAlpha, 8);
});

test('flags go before the file', () => {
  const file = { max_steps: 5, learning_rate: 1, warmup_steps: 3 };
  assert.deepEqual(mergeTuneConfigs(file, { num_train_epochs: 2, learning_rate: undefined, warmup_ratio: 0.5 }), {
    num_train_epochs: 2,
    learning_rate: 1,
    warmup_ratio: 0.5,
  });
});

test('what cannot be used is an error on one line that names it', () => {
  const yaml = (text: string) => () => parseTuneYaml('t.yaml', text);
  fails(yaml('learning_rte: 1'), /^t.yaml: unknown key learning_rte \(did you mean learning_rate\?\)/);
  fails(yaml('batch_sise: 1'), /did you mean batch_size\?/);
  fails(yaml('learning_rate: fast'), /learning_rate "fast": expected number/);
  fails(yaml('r: 0'), /r 0:/);
  fails(yaml('lr: 1\nlearning_rate: 2'), /learning_rate is learning_rate, which is given already|given already/);
  fails(yaml('steps: 1\nepochs: 2'), /max_steps and num_train_epochs are both given/);
  fails(yaml('lr_scheduler_type: cosin'), /lr_scheduler_type "cosin"/);
  fails(yaml('a: [1'), /^t.yaml:\d+: not valid YAML/);
  fails(yaml('- 1'), /expected settings/);
  assert.deepEqual(parseTuneYaml('t.yaml', ''), {});
});

test('settings that would do nothing, or are given twice under two names, are refused', () => {
  assert.throws(() => checkRelations(parseTuneConfig('x', { method: 'full', rank: 4 }), 'x'), /x: r is of LoRA/);
  assert.throws(
    () => checkRelations(parseTuneConfig('x', { min_lr: 1e-5 }), 'x'),
    /x: min_lr is 0\.00001 but the rate is constant/,
  );
  checkRelations(parseTuneConfig('x', { min_lr: 1e-5, schedule: 'cosine' }), 'x');
  assert.throws(() => configOf('x', { warmup: 0.5, warmupRatio: 0.1 }), /x: .*is given already; give it once/);
});
