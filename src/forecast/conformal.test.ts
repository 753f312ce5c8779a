/** Quantiles of errors, and how often they held: by hand, on errors of a known distribution, and where nothing moves. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { HostRandom } from '../core/index.ts';
import { conformalQuantile, quantilesOf } from './index.ts';

const LEVELS = [0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.95];

/** Errors of n origins, one row apart, each with a value a variable and step. */
const backTest = (n: number, error: (origin: number, place: number) => number, places = 2) => ({
  starts: Array.from({ length: n }, (_, o) => o),
  errors: Array.from({ length: n }, (_, o) => Float32Array.from({ length: places }, (_, p) => error(o, p))),
  firstTest: Math.floor(n / 3),
});

describe('quantiles of errors', () => {
  it('are the ones of split conformal prediction, mirrored below the middle', () => {
    const nine = [1, 2, 3, 4, 5, 6, 7, 8, 9];
    assert.deepEqual(
      [0.1, 0.5, 0.8, 0.9].map((level) => conformalQuantile(nine, level)),
      [1, 5, 8, 9],
    );
    assert.equal(conformalQuantile([1, 2], 0.5), 1.5);
    assert.equal(conformalQuantile([], 0.5), Number.NaN);
  });

  it('never cross, of however few errors', () => {
    const random = new HostRandom(2);
    for (let n = 1; n <= 60; n++) {
      const sorted = Float64Array.from({ length: n }, () => random.normal()).sort();
      const values = LEVELS.map((level) => conformalQuantile(sorted, level));
      for (let i = 1; i < values.length; i++) assert.ok(values[i] >= values[i - 1], `${n} errors: ${values}`);
    }
  });

  it('hold as often as they say on errors that are alike', () => {
    const random = new HostRandom(3);
    const { coverage, judged } = quantilesOf(
      backTest(900, () => random.normal(), 8),
      LEVELS,
      2,
    );
    assert.equal(judged, 600);
    for (const { level, share } of coverage) assert.ok(Math.abs(share - level) < 0.02, `${level}: ${share}`);
  });

  it('are judged without what never moves, which would be at every quantile', () => {
    const random = new HostRandom(4);
    const moving = quantilesOf(
      backTest(600, () => random.normal(), 1),
      LEVELS,
      1,
    );
    const again = new HostRandom(4);
    const both = quantilesOf(
      backTest(600, (_, place) => (place === 0 ? again.normal() : 0.25)),
      LEVELS,
      1,
    );
    assert.deepEqual(both.coverage, moving.coverage);
    const still = quantilesOf(
      backTest(600, () => 0),
      LEVELS,
      1,
    );
    assert.deepEqual(still.coverage, []);
    assert.deepEqual([...still.offsets[0]], [0, 0]);
  });

  it('are not known, and not judged, where no error is', () => {
    const random = new HostRandom(5);
    const error = (origin: number, place: number) => (place === 0 && origin < 500 ? Number.NaN : random.normal());
    const { coverage } = quantilesOf(backTest(600, error), [0.9], 1);
    assert.ok(Math.abs(coverage[0].share - 0.9) < 0.05, `${coverage[0].share}`);
    const { offsets } = quantilesOf(
      backTest(600, () => Number.NaN),
      [0.9],
      1,
    );
    assert.deepEqual([...offsets[0]], [Number.NaN, Number.NaN]);
  });
});
