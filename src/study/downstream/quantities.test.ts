/** The study's formulas on numbers that can be worked out by hand. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  aipss,
  divergence,
  meanGain,
  overSeeds,
  pairedDivergence,
  questionErrors,
  type ScorePoint,
  seedDivergence,
  shareOf,
} from './quantities.ts';

const scores = (task: string, byShots: Record<number, number>): ScorePoint[] =>
  Object.entries(byShots).map(([shots, value]) => ({ task, shots: Number(shots), value }));

const near = (got: number, expected: number) => assert.ok(Math.abs(got - expected) < 1e-9, `${got}, not ${expected}`);

describe('AIPSS', () => {
  it('is the mean over tasks and examples of the relative gain', () => {
    const points = [...scores('a', { 0: 0.5, 1: 0.55, 3: 0.6 }), ...scores('b', { 0: 0.25, 1: 0.25, 3: 0.2 })];
    near(aipss(points), (10 + 20 + 0 - 20) / 4);
    near(meanGain(points), (5 + 10 + 0 - 5) / 4);
  });

  it('is not a number where a zero-shot score is 0, or nothing is few-shot', () => {
    assert.ok(Number.isNaN(aipss(scores('a', { 0: 0, 1: 0.5 }))));
    near(meanGain(scores('a', { 0: 0, 1: 0.5 })), 50);
    assert.ok(Number.isNaN(aipss(scores('a', { 0: 0.5 }))));
    near(aipss([...scores('a', { 1: 0.9 }), ...scores('b', { 0: 0.5, 1: 0.75 })]), 50);
  });

  it('has an error from the questions, as the gain has', () => {
    const points = [...scores('a', { 0: 0.5, 1: 0.8, 3: 0.8 }), ...scores('b', { 0: 0.2, 1: 0.2, 3: 0.6 })].map(
      (point) => ({ ...point, questions: 100 }),
    );
    // a: 0.5 and 0.8, variances 0.0025 and 0.0016; b: 0.2 and 0.4, variances 0.0016 and 0.0024.
    const { gain, aipss: relative } = questionErrors(points);
    near(gain, (100 * Math.sqrt(0.0041 + 0.004)) / 2);
    const [a, b] = [0.0016 / 0.25 + (0.64 * 0.0025) / 0.0625, 0.0024 / 0.04 + (0.16 * 0.0016) / 0.0016];
    near(relative, (100 * Math.sqrt(a + b)) / 2);
    assert.ok(Number.isNaN(questionErrors(points.filter(({ shots }) => shots === 0)).gain));
  });

  it('has the standard error of the seeds', () => {
    const seeds = [0.6, 0.7, 0.8].map((few) => scores('a', { 0: 0.5, 5: few }));
    const { value, error, count } = overSeeds(seeds, aipss);
    near(value, 40);
    near(error!, 20 / Math.sqrt(3));
    assert.equal(count, 3);
    assert.equal(overSeeds(seeds.slice(0, 1), aipss).error, null);
  });
});

describe('a share of the Transformer’s', () => {
  it('carries both errors on', () => {
    const share = shareOf({ value: 8, error: 1, count: 3 }, { value: 20, error: 2, count: 4 });
    near(share.value, 40);
    near(share.error!, 40 * Math.hypot(1 / 8, 2 / 20));
    assert.deepEqual([share.count, share.isMeaningful], [3, true]);
  });

  it('is not meaningful where the other gains nothing that is told from 0', () => {
    const mine = { value: 5, error: 1, count: 3 };
    assert.equal(shareOf(mine, { value: 3, error: 2, count: 3 }).isMeaningful, false);
    assert.equal(shareOf(mine, { value: -10, error: 1, count: 3 }).isMeaningful, false);
    assert.equal(shareOf(mine, { value: 0, error: null, count: 1 }).isMeaningful, false);
    assert.deepEqual(shareOf(mine, { value: 10, error: null, count: 1 }), {
      value: 50,
      error: null,
      count: 1,
      isMeaningful: false,
    });
    near(shareOf({ value: 0, error: 1, count: 3 }, { value: 10, error: 1, count: 3 }).error!, 10);
  });
});

describe('divergence', () => {
  const full = scores('a', { 0: 0.5, 1: 0.6, 3: 0.7 });
  const mixed = scores('a', { 0: 0.49, 1: 0.62, 3: 0.7 });

  it('is the mean absolute difference in points, of what both have', () => {
    near(divergence(full, mixed), 1);
    near(divergence(full, mixed.slice(0, 2)), 1.5);
    assert.ok(Number.isNaN(divergence(full, scores('b', { 0: 1 }))));
  });

  it('is taken seed by seed, and beside what another seed moves', () => {
    const f32 = new Map([
      [0, full],
      [1, scores('a', { 0: 0.4, 1: 0.5, 3: 0.6 })],
    ]);
    const half = new Map([
      [0, mixed],
      [1, scores('a', { 0: 0.4, 1: 0.53, 3: 0.66 })],
      [2, full],
    ]);
    const found = pairedDivergence(f32, half)!;
    near(found.value, 2);
    near(found.error!, 1);
    near(seedDivergence(f32)!, 10);
    assert.equal(pairedDivergence(f32, new Map([[7, full]])), null);
    assert.equal(seedDivergence(new Map([[0, full]])), null);
  });
});
