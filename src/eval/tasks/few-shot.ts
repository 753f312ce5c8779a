/**
 * Examples in front of a question, drawn as lm-eval draws them (api/samplers.py, api/task.py `fewshot_context`, 0.4.13):
 * one generator per task, from which each document in turn takes its draw.
 */
import { UsageError } from '../../core/index.ts';
import { PythonRandom } from '../python/random.ts';
import type { Question, Row, Task } from './task.ts';

/** lm-eval's seed of examples. */
export const FEW_SHOT_SEED = 1234;

/** Draws the examples of one document after the other. */
export class ShotSampler {
  private readonly random: PythonRandom;
  private readonly keys: ReadonlyMap<Row, string>;

  /** @param pool the rows of the task's few-shot split; may be empty where `count` is 0 */
  constructor(
    private readonly task: Pick<Task, 'name' | 'fewShot'>,
    private readonly pool: readonly Row[],
    private readonly count: number,
    seed = FEW_SHOT_SEED,
  ) {
    this.random = new PythonRandom(seed);
    const isCompared = count > 0 && task.fewShot.excludesSelf;
    this.keys = new Map(isCompared ? pool.map((row) => [row, JSON.stringify(row)]) : []);
    const needed = count + (task.fewShot.excludesSelf && count > 0 ? 1 : 0);
    if (needed > pool.length) {
      const { split } = task.fewShot;
      throw new UsageError(
        `${task.name}: ${count} examples need ${needed} rows of its split ${split}, which has ${pool.length}; ask for fewer with --num-fewshot`,
      );
    }
  }

  /** Examples for the next document. */
  next(row: Row): Row[] {
    const { count, pool } = this;
    const { order, excludesSelf } = this.task.fewShot;
    if (count === 0) return [];
    const key = excludesSelf ? JSON.stringify(row) : '';
    const isOther = (other: Row) => this.keys.get(other) !== key;
    if (order === 'first') return (excludesSelf ? pool.filter(isOther) : pool).slice(0, count);
    if (!excludesSelf) return this.random.sample(pool, count);
    const drawn = this.random
      .sample(pool, count + 1)
      .filter(isOther)
      .slice(0, count);
    // The pool held the document more than once, and more than one of it was drawn.
    return drawn.length === count ? drawn : this.random.sample(pool.filter(isOther), count);
  }
}

/** A question with its answer, as it stands among the examples. */
function exampleOf({ targetDelimiter, fewShotDelimiter }: Task, question: Question): string {
  const [prompt, answer] = solved(question);
  return answer === '' ? prompt : prompt + targetDelimiter + answer + fewShotDelimiter;
}

function solved(question: Question): [prompt: string, answer: string] {
  switch (question.kind) {
    case 'choice':
      return [question.prompt, question.choices[question.gold]];
    case 'filled':
      return [question.prompts[question.gold], question.rest];
    case 'continuation':
      return [question.prompt, question.target];
    case 'text':
      return ['', question.text];
    case 'open':
      return [question.prompt, question.targets[0]];
  }
}

/** Text before a question's own prompt. */
export const preambleOf = (task: Task, examples: readonly Question[]): string =>
  task.description + examples.map((example) => exampleOf(task, example)).join('');
