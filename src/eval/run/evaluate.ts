/** Scores of a model on tasks, for each number of examples. */
import type { AnswerReport } from '../answers/index.ts';
import {
  type Aggregate,
  type AggregateOptions,
  aggregate,
  choiceMetrics,
  continuationMetrics,
  type MetricName,
  openMetrics,
  type SampleMetrics,
  textMetrics,
} from '../metrics/index.ts';
import type { EvalAnswer, EvalRequest, GenerateAnswer, LoglikelihoodAnswer, RollingAnswer } from '../requests.ts';
import type { Question, Task } from '../tasks/index.ts';
import { type AskedDocument, type PreparedTask, shotsOf } from './prepare.ts';

/** One question with what the model answered and what that is worth. */
export interface Sample extends AskedDocument {
  readonly answers: readonly EvalAnswer[];
  readonly metrics: SampleMetrics;
}

export interface TaskScore {
  readonly task: Task;
  /** Examples in front of each question. */
  readonly shots: number;
  /** Rows of the split, before a limit. */
  readonly size: number;
  readonly samples: readonly Sample[];
  readonly metrics: ReadonlyMap<MetricName, Aggregate>;
  /** Requests, tokens and time; what the cache knew costs none. */
  readonly cost: Omit<AnswerReport, 'answers'> & { readonly requests: number };
}

/** All tasks with one number of examples. */
export interface ShotsRun {
  readonly shots: number;
  readonly scores: readonly TaskScore[];
}

export interface EvaluateOptions extends AggregateOptions {
  /** Asks a model; `onProgress` hears the share that is answered. */
  readonly answer: (requests: readonly EvalRequest[], onProgress: (share: number) => void) => Promise<AnswerReport>;
  /** Hears of requests, of all there are. */
  readonly onProgress?: (done: number, total: number, note: string) => void;
}

/** Contribution of a question to the metrics. */
export function measure(question: Question, answers: readonly EvalAnswer[]): SampleMetrics {
  switch (question.kind) {
    case 'choice':
      return choiceMetrics(answers as LoglikelihoodAnswer[], question.choices, question.gold);
    case 'filled':
      return choiceMetrics(answers as LoglikelihoodAnswer[], question.prompts, question.gold);
    case 'continuation':
      return continuationMetrics(answers[0] as LoglikelihoodAnswer);
    case 'text':
      return textMetrics((answers[0] as RollingAnswer).logprob, question.words, question.bytes);
    case 'open':
      return openMetrics(answers[0] as GenerateAnswer, question.targets);
  }
}

const requestCount = ({ questions }: PreparedTask): number =>
  questions.reduce((sum, question) => {
    if (question.kind === 'choice') return sum + question.choices.length;
    return sum + (question.kind === 'filled' ? question.prompts.length : 1);
  }, 0);

function scoreOf(
  { task, size }: PreparedTask,
  shots: number,
  documents: readonly AskedDocument[],
  { answers, ...cost }: AnswerReport,
  options: AggregateOptions,
): TaskScore {
  let at = 0;
  const samples = documents.map((document): Sample => {
    const own = answers.slice(at, at + document.requests.length);
    at += own.length;
    const all = measure(document.question, own);
    const metrics = Object.fromEntries(task.metrics.map((name) => [name, all[name]]));
    return { ...document, answers: own, metrics };
  });
  const metrics = new Map(
    task.metrics.map((name) => [
      name,
      aggregate(
        name,
        samples.map((sample) => sample.metrics[name]!),
        options,
      ),
    ]),
  );
  return { task, shots, size, samples, metrics, cost: { ...cost, requests: answers.length } };
}

/** Asks all tasks with each number of examples in turn. Tasks are asked one at a time, so that memory holds one. */
export async function evaluate(
  tasks: readonly PreparedTask[],
  shots: readonly number[],
  options: EvaluateOptions,
): Promise<ShotsRun[]> {
  const total = shots.length * tasks.reduce((sum, task) => sum + requestCount(task), 0);
  let done = 0;
  const runs: ShotsRun[] = [];
  for (const count of shots) {
    const scores: TaskScore[] = [];
    for (const prepared of tasks) {
      const own = shotsOf(prepared.task, count);
      const documents = prepared.ask(own);
      const requests = documents.flatMap((document) => document.requests);
      const note = `${prepared.task.name}, ${own}-shot`;
      const report = await options.answer(requests, (share) =>
        options.onProgress?.(done + Math.floor(share * requests.length), total, note),
      );
      done += requests.length;
      options.onProgress?.(done, total, note);
      scores.push(scoreOf(prepared, own, documents, report, options));
    }
    runs.push({ shots: count, scores });
  }
  return runs;
}
