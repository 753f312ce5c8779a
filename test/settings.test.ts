/** The table of settings: its names, and that files, flags and code mean the same by it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Command } from 'commander';
import { SETTINGS_PAGE, settingsPage } from '../scripts/settings-page.ts';
import { givenSettings, withSettingFlags } from '../src/cli/setting-flags.ts';
import { ConfigError } from '../src/core/index.ts';
import { fileNames, flagName, resolveOptions, type Setting } from '../src/train/index.ts';
import { checkRelations, configOf, mergeTuneConfigs, parseTuneConfig, trainerOptionsOf } from '../src/tune/config.ts';
import { CONFIG_SETTINGS } from '../src/tune/settings.ts';

const ROWS: [name: string, row: Setting][] = Object.entries(CONFIG_SETTINGS);

const fails = (work: () => unknown, message: RegExp) =>
  assert.throws(work, (error: Error) => error instanceof ConfigError && message.test(error.message));

test('no name, key, alias or flag stands for two settings', () => {
  for (const names of [
    ROWS.flatMap(([, row]) => fileNames(row)),
    ROWS.map(([, row]) => flagName(row)),
    ROWS.map(([name]) => name),
  ]) {
    assert.deepEqual(
      names.filter((name, i) => names.indexOf(name) !== i),
      [],
    );
  }
});

/** Names that files had before the table was made, and what they mean. */
const OLD_NAMES = {
  model: 'model data validation_data output_dir adapter_path out',
  words: 'target_modules targets exclude_modules',
  whole:
    'per_device_train_batch_size batch_size gradient_accumulation_steps grad_accumulation grad_accumulation_steps ' +
    'max_seq_length max_length max_steps iters steps warmup_steps warmup eval_steps steps_per_eval save_steps save_every ' +
    'save_total_limit r rank seed',
  share:
    'num_train_epochs epochs learning_rate lr warmup warmup_ratio min_lr weight_decay adam_beta1 adam_beta2 adam_epsilon ' +
    'max_grad_norm lora_alpha alpha lora_dropout dropout',
  truth: 'mask_prompt gradient_checkpointing grad_checkpoint use_rslora init_lora_weights',
} as const;

test('every name that files had is taken', () => {
  const values = { model: 'a', words: 'a', whole: 2, share: 0.5, truth: true };
  for (const [kind, names] of Object.entries(OLD_NAMES)) {
    for (const name of names.split(' ')) {
      const config = parseTuneConfig('file', { [name]: values[kind as keyof typeof values] });
      assert.deepEqual(Object.values(config), [values[kind as keyof typeof values]], name);
    }
  }
  const choices = { method: 'full', fine_tune_type: 'full', dtype: 'f16', lr_scheduler_type: 'cosine', bias: 'all' };
  const others = { lr_schedule: 'linear', schedule: 'linear', batching: 'padding', modules_to_save: ['a'] };
  for (const [name, value] of Object.entries({ ...choices, ...others })) {
    assert.deepEqual(Object.values(parseTuneConfig('file', { [name]: value })), [value], name);
  }
});

/** A value other than the default, as the flag has it and as code has it. */
function sampleOf({ kind, default: standard }: Setting): [words: string[], value: unknown] {
  switch (kind.flag.type) {
    case 'whole':
      return [['7'], 7];
    case 'number':
      return [['0.25'], 0.25];
    case 'choice': {
      const value = kind.flag.choices.find((choice) => choice !== standard)!;
      return [[String(value)], value];
    }
    case 'list':
      return [['a, b'], ['a', 'b']];
    case 'switch':
      return [[], true];
    case 'text':
      return [['a'], 'a'];
  }
}

test('each setting has a flag, which means the same as its key in a file and its name in code', () => {
  for (const [name, row] of ROWS) {
    const [words, value] = sampleOf(row);
    const command = withSettingFlags(new Command(), CONFIG_SETTINGS);
    command.parse([flagName(row), ...words], { from: 'user' });
    const given = givenSettings(command, CONFIG_SETTINGS);
    assert.deepEqual(given, { [name]: value });
    const config = configOf('code', given);
    const [key] = Object.keys(config) as (keyof typeof config)[];
    assert.equal(key, name === 'warmup' ? 'warmup_ratio' : row.key);
    assert.deepEqual(config[key], row.isInverted ? !value : value);
    for (const alias of fileNames(row).filter((other) => other !== row.key)) {
      assert.deepEqual(parseTuneConfig('file', { [alias]: value }), config, alias);
    }
  }
});

test('an optimiser refuses settings that it does not take, from one source or from two', () => {
  const lion = parseTuneConfig('file', { optim: 'lion', adam_beta2: 0.98 });
  checkRelations(lion, 'file');
  const { learningRate, betas, weightDecay, eps } = resolveOptions({ ...trainerOptionsOf(lion), steps: 1 });
  assert.deepEqual([learningRate, betas, weightDecay, eps], [1e-4, [0.9, 0.98], 0.1, undefined]);
  const epsilon = parseTuneConfig('flags', { 'adam-epsilon': 1e-6 });
  const message = /^settings: adam_epsilon: the optimizer lion does not take it; leave it out$/;
  fails(() => mergeTuneConfigs(lion, epsilon), message);
  fails(() => mergeTuneConfigs(epsilon, lion), message);
  fails(() => resolveOptions({ steps: 1, optimizer: 'lion', eps: 1e-6 }), /^eps: the optimizer lion does not take it/);
  fails(() => resolveOptions({ steps: 1, optimizer: 'sgd' as 'lion' }), /^optim: expected adamw, lion, got sgd$/);
});

test('patience and an evaluation before the first step need evaluations', () => {
  const flags = parseTuneConfig('flags', { patience: 3, 'eval-on-start': true });
  fails(
    () => mergeTuneConfigs({}, flags),
    /^settings: eval_on_start is true but nothing is evaluated; give eval_steps too$/,
  );
  fails(
    () => mergeTuneConfigs({}, { early_stopping_patience: 3 }),
    /^settings: early_stopping_patience is 3 but nothing/,
  );
  const { patience, evalOnStart } = trainerOptionsOf(mergeTuneConfigs({ eval_steps: 5 }, flags));
  assert.deepEqual([patience, evalOnStart], [3, true]);
});

test('docs/settings.md says what the table says', () => {
  assert.equal(
    readFileSync(SETTINGS_PAGE, 'utf8'),
    settingsPage(),
    'node --import tsx scripts/settings-page.ts writes it anew',
  );
});
