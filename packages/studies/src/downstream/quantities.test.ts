/** The study's formulas on numbers that can be worked out by hand. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { HostRandom } from 'krait/core';
import { estimateOf, meanOf } from 'krait/statistics';
import {
  type AskedPoint,
  aipss,
  divergence,
  meanGain,
  overSeeds,
  pairedDivergence,
  questionErrorOfDifference,
  questionErrors,
  type ScorePoint,
  seedDivergence,
  shareOf,
  withError,
} from './quantities.ts';

const scores = (task: string, byShots: Record<number, number>): ScorePoint[] =>
  Object.entries(byShots).map(([shots, value]) => ({ task, shots: Number(shots), value }));

const asked = (task: string, byShots: Record<number, string>): AskedPoint[] =>
  Object.entries(byShots).map(([shots, hits]) => {
    const value = [...hits].filter((hit) => hit === '1').length / hits.length;
    return { task, shots: Number(shots), value, hits };
  });

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
    // 4 questions; what each takes from the gain: 0.5, 1, 0, 0.5 of a, and 0, -0.5, 0.5, 0 of b.
    const a = [...asked('a', { 0: '0011', 1: '1110', 3: '0111' })];
    const b = [...asked('b', { 0: '1100', 1: '1010', 3: '1010' })];
    const seed = [...a, ...b];
    const byHand = (values: number[]) => {
      const mean = values.reduce((x, y) => x + y) / 4;
      return Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / 3 / 4);
    };
    const ofA = [0.5, 1, 0, -0.5];
    const ofB = [0, -1, 1, 0];
    near(questionErrors([a]).gain.ofQuestions, 100 * byHand(ofA));
    near(questionErrors([seed]).gain.ofQuestions, (100 * Math.hypot(byHand(ofA), byHand(ofB))) / 2);
    // Where both ask the same, a question is drawn for both at once.
    const asSame = questionErrors([seed], () => 'a').gain.ofQuestions;
    near(asSame, (100 * byHand(ofA.map((x, i) => x + ofB[i]))) / 2);
    // few / zero of a is 0.75 / 0.5.
    const relative = [0.5, 1, 1, 0.5].map((few, i) => few / 0.5 - (0.75 * [0, 0, 1, 1][i]) / 0.25);
    near(questionErrors([a]).aipss.ofQuestions, 100 * byHand(relative));
    // The same from another seed: nothing is moved by both together.
    const twice = questionErrors([a, asked('a', { 0: '0011', 1: '1110', 3: '0111' })]).gain;
    near(twice.ofQuestions, 100 * byHand(ofA));
    near(twice.inBoth, 0);
    assert.ok(Number.isNaN(questionErrors([seed.filter(({ shots }) => shots === 0)]).gain.ofQuestions));
    // Of one scores less those of another, which answered one question more, then of all alike.
    const less = questionErrorOfDifference([asked('a', { 0: '1100' })], [asked('a', { 0: '0100' })]);
    near(less.ofQuestions, 100 * byHand([1, 0, 0, 0]));
    near(questionErrorOfDifference([a], [a]).ofQuestions, 0);
  });

  it('has no error from questions that a guess answers as often one way as the other', () => {
    // Labels turned round: without examples always the first label, with them always the second.
    const turned = [...asked('a', { 0: '1100', 1: '0011' }), ...asked('b', { 0: '0011', 1: '1100' })];
    near(questionErrors([turned], () => 'a').gain.ofQuestions, 0);
    assert.ok(questionErrors([turned]).gain.ofQuestions > 30);
  });

  it('has an error, of seeds and questions together, of the size that other seeds and questions move it', () => {
    // Hits are drawn with effects of question, seed and both; the error told is held against the spread of many studies.
    const random = new HostRandom(7, 1);
    const spread = (ofQuestion: number, ofSeed: number) => {
      const told: number[] = [];
      const gains = Array.from({ length: 400 }, () => {
        const questions = Array.from({ length: 40 }, () => ofQuestion * (random.uniform() - 0.5));
        const seeds = Array.from({ length: 3 }, () => {
          const own = ofSeed * (random.uniform() - 0.5);
          const draw = (p: number) => questions.map((q) => Number(random.uniform() < p + q + own)).join('');
          const gained = questions.map((q) => Number(random.uniform() < 0.7 - q + own)).join('');
          return asked('a', { 0: draw(0.5), 1: gained });
        });
        const estimate = withError(overSeeds(seeds, meanGain), questionErrors(seeds).gain);
        told.push(estimate.error!);
        return estimate.value;
      });
      const { error } = estimateOf(gains);
      return { really: error! * Math.sqrt(gains.length), told: Math.sqrt(meanOf(told.map((x) => x * x))) };
    };
    for (const [question, seed] of [
      [0, 0],
      [0.5, 0],
      [0.5, 0.3],
    ]) {
      const { really, told } = spread(question, seed);
      assert.ok(told > 0.9 * really && told < 1.25 * really, `${question}, ${seed}: ${told} for ${really}`);
    }
  });

  it('is not known of one seed or one question', () => {
    const one = (hits: string) => asked('a', { 0: '0', 1: hits });
    const ofSeeds = [one('1'), one('0'), one('1')];
    assert.equal(withError(overSeeds(ofSeeds, meanGain), questionErrors(ofSeeds).gain).error, null);
    const alone = [asked('a', { 0: '0011', 1: '0111' })];
    assert.equal(withError(overSeeds(alone, meanGain), questionErrors(alone).gain).error, null);
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
