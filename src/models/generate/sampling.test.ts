import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { HostRandom } from '../../core/index.ts';
import * as S from './sampling.ts';

const logs = (...probabilities: number[]) => Float32Array.from(probabilities, Math.log);
const tokens = (list: readonly S.Candidate[]) => list.map(({ token }) => token);

describe('sampling', () => {
  it('takes the most probable token without temperature, the first of equals', () => {
    assert.equal(S.greedyToken([1, 3, 3, 2]), 1);
    assert.equal(S.greedyToken([Number.NEGATIVE_INFINITY, -5]), 1);
    assert.equal(S.sampleToken(Float32Array.of(1, 3, 2), {}, [], new HostRandom(1)), 1);
    assert.throws(() => S.greedyToken([1, Number.NaN]), /logit of token 1 is NaN/);
  });

  it('keeps the k most probable', () => {
    assert.deepEqual(tokens(S.candidates(logs(0.1, 0.4, 0.2, 0.3), { topK: 2 })), [1, 3]);
    assert.deepEqual(tokens(S.candidates(logs(0.25, 0.25, 0.25, 0.25), { topK: 3 })), [0, 1, 2]);
    assert.equal(S.candidates(logs(0.1, 0.4, 0.2, 0.3), { topK: 9 }).length, 4);
  });

  it('keeps the nucleus: the fewest tokens that reach p', () => {
    const logits = logs(0.1, 0.4, 0.2, 0.3);
    assert.deepEqual(tokens(S.candidates(logits, { topP: 0.35 })), [1]);
    assert.deepEqual(tokens(S.candidates(logits, { topP: 0.5 })), [1, 3]);
    assert.deepEqual(tokens(S.candidates(logits, { topP: 0.75 })), [1, 3, 2]);
    assert.deepEqual(tokens(S.candidates(logits, { topP: 0.95 })), [1, 3, 2, 0]);
    // After top-k the probabilities are those among the k.
    assert.deepEqual(tokens(S.candidates(logits, { topK: 2, topP: 0.5 })), [1]);
  });

  it('finds the same nucleus with its short cut as by sorting all', () => {
    const random = new HostRandom(5);
    for (let round = 0; round < 50; round++) {
      const logits = Float32Array.from({ length: 40 }, () => random.normal() * 4);
      const topP = 0.05 + 0.9 * random.uniform();
      const order = [...logits.keys()].sort((a, b) => logits[b] - logits[a]);
      const total = logits.reduce((sum, x) => sum + Math.exp(x), 0);
      let mass = 0;
      const nucleus: number[] = [];
      for (const token of order) {
        nucleus.push(token);
        mass += Math.exp(logits[token]) / total;
        if (mass >= topP) break;
      }
      assert.deepEqual(tokens(S.candidates(logits, { topP })), nucleus, `round ${round}`);
    }
  });

  it('draws in proportion, flatter when hotter', () => {
    const share = (temperature: number) => {
      const random = new HostRandom(3);
      let count = 0;
      for (let i = 0; i < 4000; i++) count += S.sampleToken(logs(0.2, 0.8), { temperature }, [], random);
      return count / 4000;
    };
    assert.ok(Math.abs(share(1) - 0.8) < 0.02);
    assert.ok(Math.abs(share(2) - 2 / 3) < 0.02); // sqrt(0.8) : sqrt(0.2) = 2 : 1
    assert.ok(Math.abs(share(0.5) - 16 / 17) < 0.02);
    assert.equal(S.draw([{ token: 4, weight: 0.3 }], new HostRandom(1)), 4);
  });

  it('makes seen tokens less probable, whatever the sign of their logit', () => {
    const logits = Float32Array.of(2, -2, 2, -2);
    S.penalizeRepetition(logits, [0, 1], 2);
    assert.deepEqual(Array.from(logits), [1, -4, 2, -2]);
  });

  it('gives log-probabilities without overflow', () => {
    assert.ok(Math.abs(S.logProbability([1000, 1000], 0) + Math.LN2) < 1e-12);
    assert.ok(Math.abs(S.logProbability(logs(0.1, 0.9), 1) - Math.log(0.9)) < 1e-6);
  });

  it('refuses options out of range', () => {
    for (const [options, message] of [
      [{ temperature: -1 }, /temperature: expected a number from 0, got -1/],
      [{ temperature: Number.NaN }, /temperature/],
      [{ topK: 1.5 }, /top-k: expected a whole number from 0, got 1\.5/],
      [{ topP: 0 }, /top-p/],
      [{ topP: 1.1 }, /top-p/],
      [{ repetitionPenalty: 0 }, /repetition penalty/],
    ] as const) {
      assert.throws(() => S.checkSampling(options), message);
    }
    S.checkSampling({});
  });
});
