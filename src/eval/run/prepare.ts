/** A task with its data read and its questions asked of the rows: what can be said to be wrong before a model is loaded. */
import { UsageError } from '../../core/index.ts';
import { type DataPlaces, loadSplit, type PlacedRow } from '../data/index.ts';
import type { EvalRequest } from '../requests.ts';
import {
  FEW_SHOT_SEED,
  preambleOf,
  type Question,
  type Row,
  requestsOf,
  ShotSampler,
  type Task,
} from '../tasks/index.ts';

export interface PrepareOptions {
  /** Numbers of examples that will be asked for. */
  readonly shots: readonly number[];
  /** Questions of each task: a number, or below 1 a share; all unless given. */
  readonly limit?: number;
  readonly seed?: number;
  /** Files of the splits of tasks of the user's own. */
  readonly paths?: ReadonlyMap<string, ReadonlyMap<string, string>>;
}

/** A question of a task, with the requests that it is asked by. */
export interface AskedDocument {
  readonly row: Row;
  readonly question: Question;
  readonly requests: readonly EvalRequest[];
}

export interface PreparedTask {
  readonly task: Task;
  /** Rows of its split, before a limit. */
  readonly size: number;
  readonly questions: readonly Question[];
  /** The requests of one number of examples. */
  readonly ask: (shots: number) => AskedDocument[];
}

/** lm-eval's `--limit`: a number of rows, or below 1 a share of them, rounded up. */
export function limited<T>(rows: readonly T[], limit: number | undefined): readonly T[] {
  if (limit === undefined) return rows;
  return rows.slice(0, limit < 1 ? Math.ceil(rows.length * limit) : Math.floor(limit));
}

/** Texts as wholes have no examples. */
export const shotsOf = (task: Task, shots: number): number => (task.output === 'loglikelihood_rolling' ? 0 : shots);

/**
 * Reads a task's data, and asks its questions of as many rows as the limit lets.
 * @throws EnvironmentError for missing data, FileFormatError for rows that are not the task's, UsageError for more
 *   examples than there are
 */
export async function prepareTask(task: Task, places: DataPlaces, options: PrepareOptions): Promise<PreparedTask> {
  const { limit, seed = FEW_SHOT_SEED } = options;
  const files = options.paths?.get(task.name);
  const all = await loadSplit(task, task.split, places, files?.get(task.split));
  const rows = limited(all, limit);
  if (rows.length === 0) throw new UsageError(`--limit ${limit} leaves no question of ${task.name}; give more`);
  const questions = rows.map(({ row, where }) => task.ask(row, where));
  const most = Math.max(...options.shots.map((shots) => shotsOf(task, shots)));
  const pool = most === 0 ? [] : await poolOf(task, all, places, files?.get(task.fewShot.split));
  const poolRows = pool.map(({ row }) => row);
  const placeOf = new Map(pool.map(({ row, where }) => [row, where]));
  const samplerOf = (shots: number) => new ShotSampler(task, poolRows, shotsOf(task, shots), seed);
  for (const shots of options.shots) samplerOf(shots); // says now if there are too few
  return {
    task,
    size: all.length,
    questions,
    ask(shots) {
      const sampler = samplerOf(shots);
      return rows.map(({ row }, i) => {
        const examples = sampler.next(row).map((example) => task.ask(example, placeOf.get(example)!));
        return { row, question: questions[i], requests: requestsOf(task, questions[i], preambleOf(task, examples)) };
      });
    },
  };
}

/** Rows that examples are drawn from. */
async function poolOf(
  task: Task,
  all: readonly PlacedRow[],
  places: DataPlaces,
  path: string | undefined,
): Promise<readonly PlacedRow[]> {
  return task.fewShot.split === task.split ? all : loadSplit(task, task.fewShot.split, places, path);
}
