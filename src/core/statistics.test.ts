/** Numbers about numbers. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
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
