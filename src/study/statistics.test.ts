/** Numbers about numbers, and curves made of them. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { curveOf, sampleTimes } from './stability/index.ts';
import { estimateOf, quantile, slopeOf, spreadOf } from './statistics.ts';

const near = (got: number | null | undefined, wanted: number, tolerance = 1e-12) =>
  assert.ok(Math.abs(got! - wanted) <= tolerance, `${got} against ${wanted}`);

describe('statistics', () => {
  it('take quantiles between values', () => {
    assert.equal(quantile([1, 2, 4], 0.5), 2);
    assert.equal(quantile([1, 2, 4], 0.75), 3);
    assert.equal(quantile([7], 0.1), 7);
    const { min, p10, median, max } = spreadOf([5, 1, 3, 2, 4]);
    assert.deepEqual([min, median, max], [1, 3, 5]);
    near(p10, 1.4);
    assert.equal(spreadOf([Number.NEGATIVE_INFINITY, 1, 2]).median, 1);
  });

  it('do not hide what is not a number', () => {
    assert.ok(Number.isNaN(spreadOf([1, Number.NaN, 2]).median), 'a NaN was dropped');
    assert.ok(Number.isNaN(spreadOf([]).max), 'nothing has a maximum');
  });

  it('give means an error from two values on', () => {
    const { value, error, count } = estimateOf([1, 2, 3, 6]);
    assert.deepEqual([value, count], [3, 4]);
    near(error, Math.sqrt(14 / 3 / 4));
    assert.equal(estimateOf([2]).error, null);
  });

  it('do not tell what rounding left as a mean or an error', () => {
    const third = 100 * (4 / 9); // three of them do not add up to three times one
    assert.deepEqual(estimateOf([third, third, third]).error, 0);
    const [a, b] = [0.1 + 0.2 - 0.3, -0.7]; // 5.6e-17 and 0.7
    assert.equal(estimateOf([a + b, a - b]).value, 0);
    assert.ok(estimateOf([1, 1 + 1e-9, 1]).error! > 0, 'a small difference is none of rounding');
    assert.ok(Number.isNaN(estimateOf([1, Number.NaN]).value));
  });

  it('fit lines, weighted', () => {
    near(slopeOf([0, 1, 2], [1, 3, 5], [1, 1, 1]), 2);
    near(slopeOf([0, 1, 2], [0, 1, 100], [1, 1, 0]), 1);
    assert.equal(slopeOf([1, 1], [1, 2], [1, 1]), null);
  });
});

describe('a curve', () => {
  const times = sampleTimes(64);
  const decay = (rate: number) => times.map((t) => Math.exp(rate * t));

  it('finds the rate that made it, and its error over texts', () => {
    const { rate, halfTime, last, median } = curveOf(times, [[decay(-0.1), decay(-0.1)], [decay(-0.2)]], {
      planted: 1,
    });
    near(rate!.value, -0.15);
    near(rate!.error, 0.05);
    assert.equal(halfTime, 8); // exp(-0.8) of the middle series
    near(last, Math.exp(-6.4));
    near(median[0], Math.exp(-0.1));
  });

  it('fits nothing to noise', () => {
    const noise = times.map(() => 1e-3);
    const noisy = decay(-0.5).map((x) => Math.max(x, 1e-3));
    assert.equal(curveOf(times, [[noisy]], { noise: [noise] }).rate, null);
    near(curveOf(times, [[decay(-0.05)]], { noise: [noise] }).rate!.value, -0.05);
  });

  it('is sampled from the first position to the last, more rarely later on', () => {
    assert.deepEqual(sampleTimes(12), [1, 2, 3, 4, 6, 8, 11, 12]);
    assert.deepEqual(sampleTimes(1), [1]);
  });
});
