import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError } from '../core/index.ts';
import { scoreTokens } from '../models/index.ts';
import { train } from '../train/index.ts';
import { chooseShots, classify, evaluateLabels, type LabelledText, reportOf } from './classify.ts';
import { LanguageTask } from './language.ts';
import { type LabelPrompt, tokenizeRecord } from './records.ts';
import { CharTokenizer } from './testing/char-tokenizer.ts';
import { referenceDevice, tinyModel } from './testing/tiny-runs.ts';

const tokenizer = new CharTokenizer();
const labelPrompt: LabelPrompt = { prompt: (text) => `${text}:`, completion: (label) => ` ${label}` };
const LABELS = ['ab', 'c'];

/** Log-likelihood of a label after a context, the plain way. */
async function plainScore(model: Parameters<typeof scoreTokens>[0], context: string, label: string): Promise<number> {
  const before = tokenizer.encode(context);
  const scores = await scoreTokens(model, [...before, ...tokenizer.encode(label)]);
  return scores.slice(before.length).reduce<number>((sum, score) => sum + score!, 0);
}

test('scores are the log-likelihoods of the label words, with and without examples before', async () => {
  const model = tinyModel(referenceDevice());
  const shots: LabelledText[] = [
    { text: 'dd', label: 'c' },
    { text: 'hh', label: 'ab' },
  ];
  for (const [given, before] of [
    [[], ''],
    [shots, 'dd: c\n\nhh: ab\n\n'],
  ] as const) {
    const texts = ['aabb', 'g', 'ffff'];
    const predictions = await classify(model, tokenizer, texts, {
      labels: LABELS,
      labelPrompt,
      shots: given,
      batchSize: 2,
    });
    for (const [i, { scores, probabilities, label }] of predictions.entries()) {
      for (const [j, word] of LABELS.entries()) {
        const expected = await plainScore(model, `${before}${texts[i]}:`, ` ${word}`);
        assert.ok(Math.abs(scores[j] - expected) < 1e-5, `${texts[i]} ${word}: ${scores[j]} is not ${expected}`);
      }
      assert.equal(label, LABELS[scores[0] > scores[1] ? 0 : 1]);
      assert.ok(Math.abs(probabilities[0] + probabilities[1] - 1) < 1e-9);
    }
  }
});

test('a query is cut as a training example is', async () => {
  const model = tinyModel(referenceDevice());
  const options = { labels: ['ab', 'cd'], labelPrompt };
  const record = { kind: 'labelled', text: 'abcdefgh', label: 'ab' } as const;
  const { example } = tokenizeRecord(record, tokenizer, { maxLength: 8, labelPrompt }, 'x:1');
  assert.equal(tokenizer.decode(example.ids), 'fgh: ab');
  const [cut] = await classify(model, tokenizer, ['abcdefgh'], { ...options, maxLength: 8 });
  const [short] = await classify(model, tokenizer, ['fgh'], options);
  assert.deepEqual(cut.scores, short.scores);
});

test('training on the labels makes the same measure rise', async () => {
  const model = tinyModel(referenceDevice(), 2);
  const records: LabelledText[] = ['aaab', 'abaa', 'baaa', 'aaaa', 'ccdd', 'dddc', 'dcdd', 'dddd'].map((text) => ({
    text,
    label: text.includes('a') ? 'ab' : 'c',
  }));
  const evaluate = () => evaluateLabels(model, tokenizer, records, { labels: LABELS, labelPrompt });
  const before = await evaluate();
  const examples = records.map(({ text, label }, i) => {
    const record = { kind: 'labelled', text, label } as const;
    return tokenizeRecord(record, tokenizer, { maxLength: 12, labelPrompt }, `x:${i}`).example;
  });
  const measure = async () => ({ accuracy: (await evaluate()).accuracy });
  const task = new LanguageTask({ model, train: examples, validation: examples, batchSize: 8, maxLength: 12, measure });
  const result = await train(task, { options: { steps: 25, learningRate: 0.02, evalEvery: 25 } });
  const after = await evaluate();
  assert.equal(after.accuracy, 1);
  assert.equal(result.evaluation?.accuracy, 1);
  assert.ok(after.loss < before.loss);
  assert.deepEqual(after.confusion, [
    [4, 0],
    [0, 4],
  ]);
});

test('the report counts by label, and against always answering the most frequent one', () => {
  const records = ['a', 'a', 'a', 'b'].map((label) => ({ text: '', label }));
  const predictions = ['a', 'a', 'b', 'b'].map((label) => ({ label, scores: [], probabilities: [0.5, 0.5] }));
  const report = reportOf(records, predictions, ['a', 'b']);
  assert.equal(report.accuracy, 0.75);
  assert.deepEqual(report.confusion, [
    [2, 1],
    [0, 1],
  ]);
  assert.deepEqual(report.majority, { label: 'a', accuracy: 0.75 });
  assert.ok(Math.abs(report.loss - Math.LN2) < 1e-12);
});

test('examples to show take turns by label and are the same for a seed', () => {
  const records = Array.from({ length: 30 }, (_, i) => ({ text: `${i}`, label: i % 3 ? 'a' : 'b' }));
  const shots = chooseShots(records, ['a', 'b'], 5, 1);
  assert.deepEqual(
    shots.map(({ label }) => label),
    ['a', 'b', 'a', 'b', 'a'],
  );
  assert.deepEqual(chooseShots(records, ['a', 'b'], 5, 1), shots);
  assert.notDeepEqual(chooseShots(records, ['a', 'b'], 5, 2), shots);
  assert.throws(() => chooseShots(records, ['a', 'b'], 31, 1), ConfigError);
});

test('labels that cannot be told apart are errors', async () => {
  const model = tinyModel(referenceDevice());
  const fails = (options: Parameters<typeof classify>[3], message: RegExp) =>
    assert.rejects(classify(model, tokenizer, ['a'], options), (error: Error) => {
      return error instanceof ConfigError && message.test(error.message);
    });
  await fails({ labels: ['a', 'ab'] }, /"ab" begins with "a"/);
  await fails({ labels: ['a'] }, /at least 2/);
  await fails({ labels: ['a', 'b'], maxLength: 3 }, /max_length: 3 leaves no room/);
});
