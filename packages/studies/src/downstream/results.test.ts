/** What cells come to: variants over seeds, the paper's figures beside ours, and the page that tells of them. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { StudyCell } from './cells.ts';
import { findingsOf } from './findings.ts';
import type { Method } from './methods.ts';
import { downstreamPage } from './page.ts';
import { accuracyDifference, groupGains, resultsOf, taskResults } from './results.ts';
import { PRESETS } from './settings.ts';
import { bestTrials, type DownstreamStudy } from './study.ts';

const SHOTS = [0, 1, 3, 5];

/** A cell whose accuracy rises by `gain` with the first example. */
function cell(
  model: string,
  method: Method | null,
  precision: 'f32' | 'bf16',
  seed: number,
  gain: number,
  peakBytes = 100,
  questions = 100,
): StudyCell {
  const points = SHOTS.map((shots) => {
    const value = 0.5 + (shots > 0 ? gain : 0) + seed / 100;
    // Without examples the first questions are answered right, with them the last.
    const right = '1'.repeat(Math.round(value * questions));
    const hits = shots === 0 ? right.padEnd(questions, '0') : right.padStart(questions, '0');
    return { task: 'micro_spam', shots, value, error: 0.05, questions, hits };
  });
  const scores = { points, seconds: 1, tokens: 1, truncated: 0 };
  const cost = {
    tokensPerSecond: precision === 'f32' ? 100 : 150,
    seconds: 1,
    loss: 1,
    skippedSteps: 0,
    validationLoss: 1 + gain + seed / 10,
  };
  const sizes = { peakBytes, trainableParameters: 10, totalParameters: 100 };
  const spec =
    method === null
      ? ({ kind: 'untuned', model, precision, seed } as const)
      : ({ kind: 'tuned', model, method, precision, seed } as const);
  return {
    spec,
    result: { seconds: 2, scores, cost: method === null ? null : { ...cost, ...sizes }, rate: 1e-3, failure: null },
  };
}

function studyOf(theirGain: number, questions = 100): DownstreamStudy {
  const cells = [0, 1, 2].flatMap((seed) => [
    cell('mamba', null, 'f32', seed, 0.05, 100, questions),
    cell('twin', null, 'f32', seed, theirGain, 100, questions),
    cell('mamba', 'full', 'f32', seed, 0.1, 200),
    cell('mamba', 'lora-all', 'f32', seed, 0.1),
    cell('mamba', 'lora-all', 'bf16', seed, 0.12, 50),
    cell('twin', 'lora-all', 'bf16', seed, 0.24),
  ]);
  const models = [
    { label: 'mamba', folder: 'm', family: 'mamba', parameters: 1000 },
    { label: 'twin', folder: 't', family: 'gpt_neox', parameters: 1000 },
  ];
  const tasks = [{ name: 'micro_spam', summary: 'spam or not', chance: 0.5, asks: 'micro_spam' }];
  return {
    settings: PRESETS.micro,
    models,
    reference: 'twin',
    tasks,
    instructions: 'episodes',
    metaInstructions: null,
    device: 'reference',
    cells,
    planned: cells.length,
  };
}

const near = (got: number, expected: number) => assert.ok(Math.abs(got - expected) < 1e-9, `${got}, not ${expected}`);

describe('results over seeds', () => {
  const study = studyOf(0.1);
  const results = resultsOf(study);
  const of = (model: string, method: Method | null, precision: string) =>
    results.find((r) => r.model === model && r.method === method && r.precision === precision)!;

  it('have the share of the reference that was tuned alike', () => {
    const { share, aipss } = of('mamba', null, 'f32');
    assert.equal(aipss.count, 3);
    near(share!.value, 50);
    assert.equal(share!.isMeaningful, false, 'a gain of 10 points has an error of 7 from 100 questions');
    assert.equal(resultsOf(studyOf(0.1, 1000))[0].share!.isMeaningful, true);
    near(of('mamba', 'lora-all', 'bf16').share!.value, 50);
    assert.equal(of('twin', null, 'f32').share, null);
    assert.equal(of('mamba', 'full', 'f32').share, null, 'the reference was not tuned so');
  });

  it('have divergences by seed, beside what another seed moves', () => {
    const half = of('mamba', 'lora-all', 'bf16');
    near(half.divergence!.value, 1.5); // 0, 2, 2 and 2 points
    near(half.divergence!.error!, 0);
    near(half.fromFull!.value, 1.5);
    near(of('mamba', 'lora-all', 'f32').seedNoise!, 4 / 3);
    near(accuracyDifference(half, of('mamba', 'lora-all', 'f32'), study)!.value, 1.5);
    assert.equal(of('mamba', null, 'f32').divergence, null);
  });

  it('tell tasks above chance from those that are not', () => {
    const [above] = taskResults(of('twin', 'lora-all', 'bf16'), study);
    assert.equal(above.isAboveChance, true); // 69 %, with errors of 5 points and 0.58
    near(above.errorsAboveChance!, 19 / Math.hypot(5, 1 / Math.sqrt(3)));
    near(above.mean.value, 69);
    near(above.byShots.get(5)!.value, 75);
    assert.equal(taskResults(of('mamba', null, 'f32'), study)[0].isAboveChance, false);
    // 24 points of 100 questions, from 51 to 75 %: 6.6 errors of questions; 5 points are less than one.
    const [steep] = groupGains(of('twin', 'lora-all', 'bf16'), study);
    near(steep.gain.value, 24);
    assert.deepEqual([steep.gains, groupGains(of('mamba', null, 'f32'), study)[0].gains], [true, false]);
  });
});

describe('tasks that ask the same questions', () => {
  it('gain together: what a guess wins in one it loses in the other', () => {
    const study = studyOf(0.2);
    const tasks = ['a', 'b'].map((name) => ({ name, summary: '', chance: 0.5, asks: 'a' }));
    // Without examples always the first label, with one always the second.
    const hits = (isFirst: boolean) => (isFirst ? '1100' : '0011').repeat(10);
    const point = (task: string, shots: number, isFirst: boolean) => {
      return { task, shots, value: 0.5, error: 0, questions: 40, hits: hits(isFirst) };
    };
    const points = [point('a', 0, true), point('b', 0, false), point('a', 1, false), point('b', 1, true)];
    const cells = study.cells.slice(0, 1).map(({ spec, result }) => {
      return { spec, result: { ...result, scores: { ...result.scores!, points } } };
    });
    const [variant] = resultsOf({ ...study, tasks, cells });
    const [group, ...others] = groupGains(variant, { ...study, tasks });
    assert.deepEqual([group.tasks, group.gain.value, group.gains, others], [['a', 'b'], 0, false, []]);
  });
});

describe('findings', () => {
  it('stand beside the paper’s, and say so where a share means nothing', () => {
    const found = findingsOf(studyOf(0.1, 1000));
    const here = (question: RegExp) => found.find((finding) => question.test(finding.question))!;
    assert.match(here(/as pretrained/).here, /^50 ± [\d.]+ % of AIPSS, 50 ± [\d.e-]+ % of the gain in points \(/);
    assert.match(here(/as pretrained/).paper, /38 %/);
    assert.match(here(/tokens per second/).here, /up to 1\.5 ± 0 times \(lora-all, bf16\)/);
    assert.match(here(/peak memory/).here, /up to 75 % less/);
    assert.match(here(/divergence of bf16/).here, /^1\.5 ± 0; another seed 1\.33$/);
    assert.equal(here(/divergence of f16/), undefined, 'a figure that the run does not have');
    const none = findingsOf(studyOf(0)).find(({ question }) => /as pretrained/.test(question))!;
    assert.match(
      none.here,
      /^no share of AIPSS, no share of the gain in points \(AIPSS 9\.[\d.]+ ± [\d.]+ % against 0 ± 1\d %; gain 5 ± 9\.6 against 0 ± 9\.9 points/,
    );
    // A zero-shot score of 0 leaves the share of the gain.
    const study = studyOf(0.1, 10_000);
    for (const { spec, result } of study.cells) {
      if (spec.kind !== 'untuned') continue;
      for (const point of result.scores!.points) Object.assign(point, { value: point.value - 0.5 - spec.seed / 100 });
    }
    const zero = findingsOf(study).find(({ question }) => /as pretrained/.test(question))!;
    assert.match(zero.here, /^no share of AIPSS, 50 ± [\d.e-]+ % of the gain in points \(AIPSS undefined, a zero-shot/);
  });

  it('name the tasks above chance, and the variants that gain', () => {
    const found = findingsOf(studyOf(0.1));
    const here = (question: string) => found.find((finding) => finding.question === question)?.here;
    // 59.75 and 63.5 % of 100 questions: errors of 5 points from them, of 0.58 from the seeds.
    assert.equal(here('mamba, untuned, f32: tasks above chance'), 'none of 1');
    assert.equal(here('twin, untuned, f32: tasks above chance'), 'none of 1');
    // 10 points with an error of 7 from the questions, and 24 with one of 6.6.
    assert.equal(here('twin: variants that gain from examples, by two errors'), '1 of 2');
    assert.equal(here('twin, untuned, f32: tasks that gain from examples'), 'none of 1');
    const steep = findingsOf(studyOf(0.2)).find(({ question }) =>
      /^twin, untuned, f32: tasks that gain/.test(question),
    )!;
    assert.match(steep.here, /^1 of 1: micro_spam 20 ± [\d.e-]+ points$/);
    const more = findingsOf(studyOf(0.16)).find(({ question }) => /^twin, untuned.*above chance/.test(question))!;
    assert.equal(more.here, '1 of 1: micro_spam 63 ± 0.58 % (chance 50)');
    const none = findingsOf(studyOf(0)).find(({ question }) => question.startsWith('twin: variants'))!;
    assert.equal(none.here, '1 of 2');
  });

  it('compare means over ways of tuning over those that all models have', () => {
    const study = studyOf(0.1);
    const cells = [...study.cells, cell('twin', 'lora-all', 'f32', 0, 0.2), cell('twin', 'lora-x', 'f32', 0, 0.2)];
    const found = findingsOf({ ...study, cells }).filter(({ question }) => /divergence of bf16/.test(question));
    assert.deepEqual(
      found.map(({ question, here }) => [question.split(':')[0], question.split(', ').at(-1), here]),
      [
        ['mamba', 'mean of lora-all', '1.5 ± 0; another seed 1.33'],
        ['twin', 'mean of lora-all', '3'],
      ],
    );
  });

  it('tell of one down-projection against three', () => {
    const study = studyOf(0.1);
    const pair = [0, 1, 2].flatMap((seed) => [
      cell('mamba', 'lora-x', 'f32', seed, 0.1),
      cell('mamba', 'lora-x-untied', 'f32', seed, 0.1 - 0.02 * seed),
    ]);
    const { here } = findingsOf({ ...study, cells: [...study.cells, ...pair] }).find(({ question }) =>
      /one down-projection less/.test(question),
    )!;
    // 0, 1.5 and 3 have an error of 0.87, the four questions that differ one of 0.78, of which both share 0.49; 0, 0.02 and 0.04.
    assert.equal(here, '1.5 ± 1.1 points; validation loss 0.02 ± 0.012 nats');
  });

  it('are on the page, with what is missing and what diverged', () => {
    const study = studyOf(0.1);
    const failed: StudyCell = {
      spec: { kind: 'tuned', model: 'mamba', method: 'lora-x', precision: 'bf16', seed: 0 },
      result: { seconds: 1, scores: null, cost: null, rate: 1, failure: 'step 3: the loss is NaN' },
    };
    const page = downstreamPage({ ...study, cells: [...study.cells, failed], planned: 60 });
    assert.match(page, /19 of 60 cells are measured/);
    assert.match(page, /Diverged: mamba, lora-x, bf16, seed 0: step 3: the loss is NaN/);
    for (const figure of ['38 %', '81.5 %', '2.15 times', '65.5 %']) assert.ok(page.includes(figure), figure);
    assert.ok(!/NaN %|undefined/.test(page));
  });

  it('take the rate with the lowest validation loss', () => {
    const trial = (rate: number, validationLoss: number | null): StudyCell => {
      const base = cell('mamba', 'full', 'f32', 0, 0).result;
      const cost = validationLoss === null ? null : { ...base.cost!, validationLoss };
      return {
        spec: { kind: 'trial', model: 'mamba', method: 'full', rate },
        result: { ...base, scores: null, cost },
      };
    };
    const best = bestTrials([trial(1e-3, 2), trial(1e-2, 1.5), trial(1e-1, null)]);
    assert.deepEqual(best, [{ model: 'mamba', method: 'full', rate: 1e-2, loss: 1.5 }]);
  });
});
