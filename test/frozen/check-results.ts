/** What a device gives for models and forecasters, against what it gave when it was frozen. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Device } from 'krait';
import { onlyInAll } from '../../src/core/testing/only-in-all.ts';
import { FORECASTERS, forecastRows } from './forecast-results.ts';
import type { FrozenDevice } from './frozen-devices.ts';
import { checkEntry } from './golden.ts';
import { FIXTURES, languageRows, largerRows, type Rows } from './language-results.ts';

/** Those that the reference, which is slow, runs in the quick file of tests, and the others. */
export const [SOME, REST] = [
  ['mamba-c', 'falcon_mamba-b', 'gpt_neox-b', 'gpt_neox-c'],
  ['mamba-a', 'mamba-b', 'falcon_mamba-a', 'gpt_neox-a'],
];
const MODELS = [...SOME, ...REST];
const BASE = 'models/base';

export interface Subjects {
  /** Fixtures, or `models/base`, which the package carries; all fixtures unless given. */
  readonly models?: readonly string[];
  readonly forecasters?: readonly string[];
  /** Models and forecasters that `npm test` runs; all of them unless given. */
  readonly quick?: readonly string[];
  /**
   * Part of the device's goldens, in a file of its own. Files of tests may run at the same time, so that no two of them may write
   * one golden.
   */
  readonly part?: string;
}

const rowsOf = (device: Device, model: string): Promise<Rows> =>
  model === BASE ? largerRows(device, `${FIXTURES}../../${BASE}`) : languageRows(device, `${FIXTURES}${model}`);

/** A test for each model on a device. */
export function checkResults(target: FrozenDevice, subjects: Subjects = {}): void {
  const { models = MODELS, forecasters = Object.keys(FORECASTERS), quick, part } = subjects;
  const { name, skip, open } = target;
  const golden = part ? target.golden.replace('.json', `-${part}.json`) : target.golden;
  describe(`results on ${name}`, { skip }, () => {
    const check = (subject: string, work: (device: Device) => Promise<Rows>) => {
      const options = quick && !quick.includes(subject) ? onlyInAll(`enough others on the ${name} device`) : {};
      it(`of ${subject} are those that were frozen, to the last bit`, options, async () => {
        const device = await open();
        checkEntry(golden, subject, await work(device));
        assert.equal(device.memory().blocks, 0, 'memory stays behind');
        device.close();
      });
    };
    for (const model of models) check(model, (device) => rowsOf(device, model));
    for (const forecaster of forecasters) check(forecaster, (device) => forecastRows(device, forecaster));
  });
}

/** The model that the package carries. */
export function checkBase(target: FrozenDevice): void {
  checkResults(target, { models: [BASE], forecasters: [], part: 'base' });
}
