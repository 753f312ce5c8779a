/** Curves of deviations over positions. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { curveOf, sampleTimes } from './index.ts';

const near = (got: number | null | undefined, wanted: number, tolerance = 1e-12) =>
  assert.ok(Math.abs(got! - wanted) <= tolerance, `${got} against ${wanted}`);

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
