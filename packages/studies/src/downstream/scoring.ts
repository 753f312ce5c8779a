/** Zero- and few-shot scores of a model as it stands: accuracy of each task with each number of examples. */

import { textHash } from 'krait/core';
import {
  answerRequests,
  type DataPlaces,
  evaluate,
  FEW_SHOT_SEED,
  type PreparedTask,
  prepareTask,
  type Question,
  type Task,
} from 'krait/eval';
import type { Tokenizer } from 'krait/io';
import type { LanguageModel } from 'krait/models';
import type { AskedPoint } from './quantities.ts';

export interface TaskPoint extends AskedPoint {
  /** Questions, and the standard error over them. */
  readonly questions: number;
  readonly error: number | null;
}

export interface Scores {
  readonly points: readonly TaskPoint[];
  readonly seconds: number;
  /** Tokens that had to be computed; what questions have in common is read once. */
  readonly tokens: number;
  /** Inputs that were cut on the left. */
  readonly truncated: number;
}

export interface TaskSource {
  readonly tasks: readonly Task[];
  readonly places: DataPlaces;
  readonly shots: readonly number[];
  readonly limit?: number;
}

/** Reads the tasks' data; examples are drawn by the seed. */
export function prepareTasks({ tasks, places, shots, limit }: TaskSource, seed: number): Promise<PreparedTask[]> {
  return Promise.all(tasks.map((task) => prepareTask(task, places, { shots, limit, seed: FEW_SHOT_SEED + seed })));
}

/**
 * Accuracy of a guess: the mean of one over the number of choices. Null where something else than a choice is asked, or
 * nothing.
 */
export function chanceOf(questions: readonly Question[]): number | null {
  let sum = 0;
  for (const question of questions) {
    if (question.kind === 'choice') sum += 1 / question.choices.length;
    else if (question.kind === 'filled') sum += 1 / question.prompts.length;
    else return null;
  }
  return questions.length === 0 ? null : sum / questions.length;
}

/** For each task, the name of the first task with the same questions in the same order. */
export function asksOf(tasks: readonly PreparedTask[]): string[] {
  const first = new Map<string, string>();
  return tasks.map(({ task, questions }) => {
    const asked = JSON.stringify(
      questions.map((question) => (question.kind === 'choice' ? [question.prompt, question.choices] : question)),
    );
    if (!first.has(asked)) first.set(asked, task.name);
    return first.get(asked)!;
  });
}

/** Differs for other questions, answers or examples, with any number of examples. */
export async function askedHash(tasks: readonly PreparedTask[], shots: readonly number[]): Promise<string> {
  const hashes: string[] = [];
  for (const { task, ask } of tasks) {
    for (const count of shots) {
      // A question's first request has the examples in front of it.
      const asked = ask(count).map(({ question, requests }) => [question, requests[0]]);
      hashes.push(await textHash(JSON.stringify([task.name, task.version, count, asked])));
    }
  }
  return textHash(hashes.join());
}

export interface ScoringOptions {
  readonly shots: readonly number[];
  readonly signal?: AbortSignal;
  readonly onProgress?: (share: number, note: string) => void;
}

/** @throws the signal's reason */
export async function scoreModel(
  model: LanguageModel,
  tokenizer: Tokenizer,
  tasks: readonly PreparedTask[],
  { shots, signal, onProgress }: ScoringOptions,
): Promise<Scores> {
  const runs = await evaluate(tasks, shots, {
    bootstrapIterations: 1, // of accuracies, whose error has a formula
    answer: (requests, onShare) => answerRequests(model, tokenizer, requests, { signal, onProgress: onShare }),
    onProgress: (done, total, note) => onProgress?.(done / total, note),
  });
  const all = runs.flatMap(({ scores }) => scores);
  const sum = (pick: (score: (typeof all)[number]) => number) => all.reduce((total, score) => total + pick(score), 0);
  return {
    points: all.map(({ task, shots: count, samples, metrics }) => {
      const { value, error } = metrics.get('acc')!;
      const hits = samples.map(({ metrics: own }) => Number(own.acc === 1)).join('');
      return { task: task.name, shots: count, value, error, questions: samples.length, hits };
    }),
    seconds: sum(({ cost }) => cost.seconds),
    tokens: sum(({ cost }) => cost.computedTokens),
    truncated: sum(({ cost }) => cost.truncated),
  };
}
