import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { erf, gelu, sigmoid, silu, softplus } from './functions.ts';

const near = (got: number, expected: number, relative = 1e-14): void =>
  assert.ok(Math.abs(got - expected) <= relative * Math.abs(expected), `${got}, expected ${expected}`);

describe('scalar functions', () => {
  it('has the error function to 1e-14 on both branches', () => {
    // Abramowitz and Stegun, table 7.1, with more digits from mpmath 1.3.
    const table = [
      [0.1, 0.1124629160182849],
      [0.5, 0.5204998778130465],
      [1, 0.8427007929497149],
      [2, 0.9953222650189527],
      [2.5, 0.999593047982555],
      [2.6, 0.9997639655834707],
      [3, 0.9999779095030014],
      [4, 0.9999999845827421],
    ];
    for (const [x, expected] of table) {
      near(erf(x), expected);
      near(erf(-x), -expected);
    }
    assert.deepEqual([0, 7, -7, Number.POSITIVE_INFINITY].map(erf), [0, 1, -1, 1]);
    assert.ok(Number.isNaN(erf(Number.NaN)));
  });

  it('keeps small numbers where the usual formulas lose them', () => {
    near(softplus(-30), Math.exp(-30), 1e-13);
    near(softplus(-700), Math.exp(-700), 1e-13);
    assert.equal(softplus(21), 21);
    near(sigmoid(-700), Math.exp(-700));
    near(silu(-40), -40 * Math.exp(-40));
    assert.deepEqual([sigmoid(1000), sigmoid(-1000)], [1, 0]);
    near(gelu(1), 0.8413447460685429);
  });
});
