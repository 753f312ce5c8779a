import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { LoglikelihoodAnswer } from '../requests.ts';
import { aggregate, argmax, choiceMetrics, type MetricName, type MetricValue, openMetrics, pool } from './index.ts';

const near = (got: number | null, expected: number) =>
  assert.equal(Math.abs(got! - expected) < 1e-12 * Math.max(1, expected), true, `${got}, expected ${expected}`);

/** `[value, error]` of `lm_eval.api.metrics`, 0.4.13. */
function expectAggregate(
  metric: MetricName,
  values: MetricValue[],
  expected: [number, number | null],
  iterations = 100,
) {
  const { value, error } = aggregate(metric, values, { bootstrapIterations: iterations });
  near(value, expected[0]);
  if (expected[1] === null) assert.equal(error, null);
  else near(error, expected[1]);
}

const answers = (logprobs: number[], greedy = -1): LoglikelihoodAnswer[] =>
  logprobs.map((logprob, i) => ({ kind: 'loglikelihood', logprob, isGreedy: i === greedy }));

describe('metrics of a question', () => {
  it('the first of equals is chosen; what is not a number beats all, as in numpy', () => {
    assert.equal(argmax([-2, -1, -1]), 1);
    assert.equal(argmax([-2, Number.NaN, -1]), 1);
  });

  it('characters are code points, bytes are UTF-8', () => {
    // Per character -1, -1.5 and -1; per byte -0.25, -1.5 and -1.
    const given = answers([-2, -3, -4], 2);
    const of = (gold: number) => choiceMetrics(given, ['😀😀', 'ab', 'abcd'], gold);
    assert.deepEqual(of(0), { acc: 1, acc_norm: 1, acc_bytes: 1, exact_match: 0, f1: [0, 0] });
    assert.deepEqual(of(2), { acc: 0, acc_norm: 0, acc_bytes: 0, exact_match: 1, f1: [2, 0] });
    const bytes = choiceMetrics(answers([-2, -3]), ['é', 'xyz'], 1);
    assert.deepEqual([bytes.acc, bytes.acc_norm, bytes.acc_bytes], [0, 1, 0]);
  });

  it('written answers count to the letter, but for white space around them', () => {
    const written = { kind: 'generate' as const, text: ' Paris' };
    assert.deepEqual(openMetrics(written, ['London', 'Paris']), { exact_match: 1 });
    assert.deepEqual(openMetrics(written, ['paris']), { exact_match: 0 });
  });
});

describe('metrics of a task and a group', () => {
  it('means have the error of a sample', () => {
    expectAggregate('acc', [1, 0, 1, 1, 0, 1, 0], [4 / 7, 0.20203050891044214]);
    expectAggregate('acc', [1], [1, null]);
    expectAggregate('acc', [1, 0], [0.5, null], 0);
  });

  it('perplexity and F1 have a bootstrapped error, of the same resamples as in lm-eval', () => {
    expectAggregate('perplexity', [-0.5, -2.25, -1, -3.5, -0.125], [4.371035772929758, 3.2224929075025837], 2000);
    const pairs: [number, number][] = [
      [1, 1],
      [0, 1],
      [1, 0],
      [1, 1],
      [0, 0],
      [1, 0],
      [0, 0],
    ];
    expectAggregate('f1', pairs, [0.5714285714285714, 0.24834729028048802]);
    assert.throws(() => aggregate('f1', [[2, 0]]), /f1 is of two choices, got choice number 2/);
    expectAggregate('f1', [[0, 0]], [0, null]);
  });

  it('perplexities of words and bytes are of all texts together', () => {
    const texts: [number, number][] = [
      [-100.5, 70],
      [-20.25, 11],
    ];
    expectAggregate('word_perplexity', texts, [4.440383474035931, null]);
    expectAggregate('bits_per_byte', texts, [2.1506842739178067, null]);
  });

  it('groups weigh tasks by size and pool their errors', () => {
    const parts = [
      { value: 0.25, error: 0.05, size: 100 },
      { value: 0.5, error: 0.1, size: 20 },
      { value: 0.3, error: 0.02, size: 300 },
    ];
    const { value, error } = pool(parts);
    near(value, 0.2976190476190476);
    near(error, 0.01918012322353359);
    assert.equal(pool([...parts, { value: 1, error: null, size: 1 }]).error, null);
  });
});
