/** Checks of every architecture in half precision. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Device } from '../../tensor/index.ts';
import { loadModel } from '../index.ts';
import type { TestDevice } from './devices.ts';
import { Cases, files, fixture } from './fixtures.ts';
import { logitsFor } from './model-runs.ts';

const mostProbable = (logits: Float32Array, row: number, v: number): number => {
  const part = logits.subarray(row * v, (row + 1) * v);
  return part.indexOf(Math.max(...part));
};

/**
 * Distance of a half type's logits from the reference program's in f32: mean, and positions that choose the same, here
 * and in the reference program's bf16.
 */
async function halfDistance(device: Device, name: string, dtype: 'bf16' | 'f16') {
  const cases = await Cases.open(name);
  const model = await loadModel(device, files, fixture(name), { dtype });
  const example = await cases.logitsCase('bf16');
  const got = await logitsFor(model, example);
  const v = model.vocabSize;
  const mean = got.reduce((sum, x, i) => sum + Math.abs(x - example.logits[i]), 0) / got.length;
  const theirs = await cases.floats('case.bf16.logits');
  const theirMean = theirs.reduce((sum, x, i) => sum + Math.abs(x - example.logits[i]), 0) / got.length;
  const rows = [...example.ids.keys()];
  const agreement = (logits: Float32Array) =>
    rows.filter((row) => mostProbable(logits, row, v) === mostProbable(example.logits, row, v)).length;
  model.dispose();
  await cases.close();
  return { mean, theirMean, agreed: agreement(got), theirs: agreement(theirs), positions: rows.length };
}

/** Half types against f32 of the reference program, over some fixtures together. */
export function checkHalf(names: readonly string[], devices: readonly TestDevice[]): void {
  for (const target of devices) {
    for (const dtype of ['bf16', 'f16'] as const) {
      it(`agrees with f32 in ${dtype} on ${target.name}`, { skip: target.skip }, async () => {
        const device = await target.open();
        let [agreed, theirs, positions] = [0, 0, 0];
        for (const name of names) {
          const distance = await halfDistance(device, name, dtype);
          // f16 has eight times the precision of bf16; transformers in bf16 also rounds the step and the recurrence.
          const most = dtype === 'bf16' ? Math.min(2e-2, distance.theirMean) : 2.5e-3;
          assert.ok(distance.mean <= most, `${name}: mean difference ${distance.mean}, at most ${most}`);
          assert.ok(distance.mean > 1e-5, `${name}: ${dtype} was not used`);
          agreed += distance.agreed;
          theirs += distance.theirs;
          positions += distance.positions;
        }
        device.close();
        // Where two tokens are nearly as probable, rounding decides: one position more or less than theirs is chance.
        const least = Math.min(0.99 * positions, theirs - 1);
        assert.ok(agreed >= least, `the most probable token agrees at ${agreed} of ${positions} positions`);
      });
    }
  }
}
