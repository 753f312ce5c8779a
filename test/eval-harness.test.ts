/**
 * Evaluation against lm-evaluation-harness 0.4.13, which ran its own tasks on the same rows and the base model
 * (`oracles/check_eval.py --fixture`): prompts and targets to the letter, answers, metrics and standard errors.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openBackend } from '../src/backend/select.ts';
import {
  answerRequests,
  type EvalRequest,
  evaluate,
  type PreparedTask,
  prepareTask,
  sampleLog,
  selectTasks,
  type TaskScore,
} from '../src/eval/index.ts';
import { loadTokenizer, type Tokenizer } from '../src/io/index.ts';
import { type LanguageModel, loadModel } from '../src/models/index.ts';
import { NodeFileSystem } from '../src/platform/node/index.ts';
import { Device } from '../src/tensor/index.ts';

interface HarnessSample {
  arguments: unknown[][];
  target: string;
  answers: (number | [number, boolean])[];
  metrics: Record<string, number | [number, number]>;
}

interface HarnessRun {
  shots: number;
  max_length: number | null;
  results: Record<string, Record<string, number | string>>;
  samples: Record<string, HarnessSample[]>;
}

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const { bootstrap, runs } = JSON.parse(readFileSync(at('fixtures/harness/answers.json'), 'utf8')) as {
  bootstrap: number;
  runs: HarnessRun[];
};
const files = new NodeFileSystem();
const hub = { cacheDir: '/nowhere', endpoint: 'http://127.0.0.1:9', offline: true, token: null };
/** Of log-likelihoods, in nats. */
const TOLERANCE = 1e-3;

const near = (got: unknown, expected: unknown, tolerance: number, what: string) => {
  if (typeof expected !== 'number') return assert.equal(got, expected, what);
  const scale = Math.max(1, Math.abs(expected));
  assert.equal(
    Math.abs((got as number) - expected) <= tolerance * scale,
    true,
    `${what}: ${got}, expected ${expected}`,
  );
};

const partsOf = (request: EvalRequest): unknown[] =>
  request.kind === 'rolling'
    ? [request.text]
    : [request.context, request.kind === 'generate' ? '' : request.continuation];

async function checkSamples(score: TaskScore, expected: readonly HarnessSample[]): Promise<void> {
  assert.equal(score.samples.length, expected.length);
  const targets: unknown[] = [];
  for await (const line of sampleLog(score)) targets.push(line['target']);
  score.samples.forEach(({ requests, answers, metrics }, i) => {
    const sample = expected[i];
    const what = `${score.task.name}, question ${i}`;
    assert.deepEqual(requests.map(partsOf), sample.arguments, what);
    assert.equal(targets[i], sample.target, what);
    answers.forEach((answer, j) => {
      const [logprob, isGreedy] = [sample.answers[j]].flat();
      assert.notEqual(answer.kind, 'generate');
      if (answer.kind === 'generate') return;
      near(answer.logprob, logprob, TOLERANCE / Math.abs(Number(logprob)), what);
      if (answer.kind === 'loglikelihood') assert.equal(answer.isGreedy, isGreedy, what);
    });
    assert.deepEqual(Object.keys(metrics).sort(), Object.keys(sample.metrics).sort(), what);
    for (const [name, value] of Object.entries(metrics)) {
      const expected = [sample.metrics[name]].flat();
      for (const [j, part] of [value].flat().entries()) near(part, expected[j], TOLERANCE, `${what}: ${name}`);
    }
  });
}

describe('what the harness answers', () => {
  let device: Device;
  let model: LanguageModel;
  let tokenizer: Tokenizer;
  before(async () => {
    device = new Device((await openBackend({})).backend);
    model = await loadModel(device, files, at('../models/base'));
    tokenizer = await loadTokenizer(files, at('../models/base'));
  });
  after(() => {
    model.dispose();
    device.close();
  });

  for (const { shots, max_length, samples, results } of runs) {
    const cut = max_length === null ? '' : `, inputs of ${max_length} tokens`;
    it(`${shots}-shot${cut}: prompts, log-likelihoods, metrics and errors of ${Object.keys(samples).length} tasks`, async () => {
      const { tasks } = selectTasks(Object.keys(samples));
      const places = { files, hub, dataDir: at('fixtures/harness/data') };
      const prepared: PreparedTask[] = [];
      for (const task of tasks) prepared.push(await prepareTask(task, places, { shots: [shots] }));
      const [{ scores }] = await evaluate(prepared, [shots], {
        bootstrapIterations: bootstrap,
        answer: (requests) => answerRequests(model, tokenizer, requests, max_length ? { maxLength: max_length } : {}),
      });
      let truncated = 0;
      for (const score of scores) {
        const { name } = score.task;
        await checkSamples(score, samples[name]);
        for (const [metric, { value, error }] of score.metrics) {
          near(value, results[name][`${metric},none`], TOLERANCE, `${name} ${metric}`);
          near(error ?? 'N/A', results[name][`${metric}_stderr,none`], 2 * TOLERANCE, `${name} error of ${metric}`);
        }
        truncated += score.cost.truncated;
      }
      assert.equal(truncated > 0, max_length !== null);
    });
  }
});
