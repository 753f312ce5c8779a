/** What a device gives for models and forecasters, against what it gave when it was frozen. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Device } from 'krait';
import { FORECASTERS, forecastRows } from './forecast-results.ts';
import type { FrozenDevice } from './frozen-devices.ts';
import { checkEntry } from './golden.ts';
import { FIXTURES, languageRows, largerRows } from './language-results.ts';

const MODELS = [
  'mamba-a',
  'mamba-b',
  'mamba-c',
  'falcon_mamba-a',
  'falcon_mamba-b',
  'gpt_neox-a',
  'gpt_neox-b',
  'gpt_neox-c',
];
const BASE = `${FIXTURES}../../models/base`;

export interface Subjects {
  readonly models?: readonly string[];
  readonly forecasters?: readonly string[];
  /** Whether the model that the package carries is run too. */
  readonly base?: boolean;
}

/** A test for each model on a device. */
export function checkResults(target: FrozenDevice, subjects: Subjects = {}): void {
  const { models = MODELS, forecasters = Object.keys(FORECASTERS), base = false } = subjects;
  const { name, golden, skip, open } = target;
  describe(`results on ${name}`, { skip }, () => {
    const check = (subject: string, rowsOf: (device: Device) => Promise<object>, file = golden) =>
      it(`of ${subject} are those that were frozen, to the last bit`, async () => {
        const device = await open();
        checkEntry(file, subject, await rowsOf(device));
        assert.equal(device.memory().blocks, 0, 'memory stays behind');
        device.close();
      });
    for (const model of models) check(model, (device) => languageRows(device, `${FIXTURES}${model}`));
    for (const forecaster of forecasters) check(forecaster, (device) => forecastRows(device, forecaster));
    // In a file of its own: the two files of tests, which may run at the same time, share no golden.
    if (base) check('models/base', (device) => largerRows(device, BASE), golden.replace('.json', '-base.json'));
  });
}
