import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { ConfigError } from '../core/index.ts';
import { parseStrict } from './config-keys.ts';
import { nearest, suggestion } from './nearest.ts';

const KNOWN = ['learning_rate', 'batch_size', 'warmup', 'seed', 'lora_alpha'];

test('the nearest name', () => {
  assert.equal(nearest('learning-rate', KNOWN), 'learning_rate');
  assert.equal(nearest('LearningRate', KNOWN), 'learning_rate');
  assert.equal(nearest('lerning_rate', KNOWN), 'learning_rate');
  assert.equal(nearest('wramup', KNOWN), 'warmup');
  assert.equal(nearest('sed', KNOWN), 'seed');
  assert.equal(nearest('momentum', KNOWN), undefined);
  assert.equal(nearest('x', KNOWN), undefined);
  assert.equal(nearest('', KNOWN), undefined);
  assert.equal(nearest('x', []), undefined);
  assert.equal(suggestion('batchsize', KNOWN), ' (did you mean batch_size?)');
  assert.equal(suggestion('momentum', KNOWN), '');
});

const SCHEMA = z.strictObject({
  steps: z.int().positive(),
  learning_rate: z.number().default(1e-3),
  schedule: z.enum(['cosine', 'linear']).optional(),
  lora: z.strictObject({ rank: z.int(), targets: z.array(z.string()) }).optional(),
});

test('what is right is parsed, defaults filled in', () => {
  assert.deepEqual(parseStrict(SCHEMA, { steps: 3 }, 'c.yaml'), { steps: 3, learning_rate: 1e-3 });
});

test('what is wrong is one line that names file, key, value and the nearest key', () => {
  const cases: [unknown, RegExp][] = [
    [{ steps: 3, learning_rte: 1 }, /^c\.yaml: unknown key learning_rte \(did you mean learning_rate\?\)$/],
    [{ steps: 3, foo: 1 }, /^c\.yaml: unknown key foo, known are steps, learning_rate, schedule, lora$/],
    [{ steps: 3, lora: { rank: 1, targets: [], rnak: 2 } }, /unknown key lora\.rnak \(did you mean rank\?\)$/],
    [{ steps: 3, a: 1, sceduhle: 1 }, /unknown keys a, sceduhle \(did you mean schedule\?\)$/],
    [{}, /^c\.yaml: steps is missing \(expected number\)$/],
    [{ steps: 'many' }, /^c\.yaml: steps "many": expected number$/],
    [{ steps: 1.5 }, /steps 1\.5: expected int$/],
    [{ steps: -1 }, /steps -1: .*>0$/],
    [{ steps: 3, schedule: 'cos' }, /schedule "cos": expected one of "cosine"\|"linear"$/],
    [{ steps: 3, lora: { rank: 1, targets: ['a', 2] } }, /lora\.targets\[1\] 2: expected string$/],
    [null, /^c\.yaml: null: expected object$/],
    [[], /^c\.yaml: \[\]: expected object$/],
  ];
  for (const [value, expected] of cases) {
    assert.throws(
      () => parseStrict(SCHEMA, value, 'c.yaml'),
      (error: Error) => {
        assert.ok(error instanceof ConfigError);
        assert.match(error.message, expected);
        return true;
      },
    );
  }
});
