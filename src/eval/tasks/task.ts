/**
 * What a task is: a record of pure functions. A row of its data set becomes a question; the rest says where rows come
 * from, how examples are drawn, what stands between the parts of a prompt, and what is measured. Names, prompts,
 * delimiters and versions are those of lm-evaluation-harness 0.4.13.
 */
import { z } from 'zod';
import { FileFormatError } from '../../core/index.ts';
import { describe, describeIssues, isRecord } from '../../io/index.ts';
import type { MetricName } from '../metrics/index.ts';

/** One row of a data set, as its file has it. */
export type Row = Readonly<Record<string, unknown>>;

/** A question with several choices: which of them continues the prompt? */
export interface ChoiceQuestion {
  readonly kind: 'choice';
  readonly prompt: string;
  readonly choices: readonly string[];
  /** Index of the right choice. */
  readonly gold: number;
}

/** Into which of several prompts does a rest fit? The prompts differ, the rest is what is scored. */
export interface FilledQuestion {
  readonly kind: 'filled';
  readonly prompts: readonly string[];
  readonly rest: string;
  /** Index of the right prompt. */
  readonly gold: number;
}

/** How probable is one target after a prompt? */
export interface ContinuationQuestion {
  readonly kind: 'continuation';
  readonly prompt: string;
  /** With the space before it, if it has one. */
  readonly target: string;
}

/** How probable is a text? Words and bytes are those that its perplexities are taken over. */
export interface TextQuestion {
  readonly kind: 'text';
  readonly text: string;
  readonly words: number;
  readonly bytes: number;
}

/** A question that the model answers in its own words. Any of the targets is right. */
export interface OpenQuestion {
  readonly kind: 'open';
  readonly prompt: string;
  readonly targets: readonly string[];
  readonly until: readonly string[];
  readonly maxTokens: number;
}

export type Question = ChoiceQuestion | FilledQuestion | ContinuationQuestion | TextQuestion | OpenQuestion;

/** lm-eval's word for what is asked of the model. */
export type OutputType = 'multiple_choice' | 'loglikelihood' | 'loglikelihood_rolling' | 'generate_until';

/** Source of a task's rows. */
export interface TaskData {
  /** Data set on the hub, `org/name`; null for a task of the user's own. */
  readonly id: string | null;
  /** Its configuration; `default` where it has one alone. */
  readonly config: string;
  /** Name of its folder in `--data-dir`. */
  readonly folder: string;
  /** Whether other tasks' data stand in that folder too. */
  readonly isShared?: boolean;
  /** Paths in that folder, without an ending, where a split may stand besides the usual ones. */
  readonly stems?: (split: string) => readonly string[];
  /** Columns of CSV files that have no header. */
  readonly columns?: readonly string[];
}

export interface FewShot {
  readonly split: string;
  /** `random`: lm-eval's default sampler; `first`: the first rows, the same for all. */
  readonly order: 'random' | 'first';
  /** True to leave out examples that equal the row of the question. */
  readonly excludesSelf: boolean;
}

export interface Task {
  readonly name: string;
  /** As tables show it; the name, unless a group's heading says the rest. */
  readonly alias: string;
  /** One line for `krait eval ls`. */
  readonly summary: string;
  /** lm-eval's version of the task. */
  readonly version: number;
  readonly output: OutputType;
  readonly data: TaskData;
  /** The split whose rows are asked. */
  readonly split: string;
  readonly fewShot: FewShot;
  /** Stands before everything else in a prompt. */
  readonly description: string;
  /** Between a prompt and its answer. */
  readonly targetDelimiter: string;
  /** After each example. */
  readonly fewShotDelimiter: string;
  readonly metrics: readonly MetricName[];
  /**
   * The question that a row asks.
   * @param where the row's place, for errors
   * @throws FileFormatError for a row without what the task needs
   */
  readonly ask: (row: Row, where: string) => Question;
}

/** A task as it is written down: its usual parts may be left out, and its rows have a schema. */
interface Definition<S extends z.ZodType>
  extends Omit<Task, 'alias' | 'description' | 'targetDelimiter' | 'fewShotDelimiter' | 'ask'>,
    Partial<Pick<Task, 'alias' | 'description' | 'targetDelimiter' | 'fewShotDelimiter'>> {
  /** Fields that the task needs in a row. */
  readonly row: S;
  readonly question: (row: z.output<S>) => Question;
}

export function defineTask<S extends z.ZodType>({ row: schema, question, ...task }: Definition<S>): Task {
  return {
    alias: task.name,
    description: '',
    targetDelimiter: ' ',
    fewShotDelimiter: '\n\n',
    ...task,
    ask(row, where) {
      const result = schema.safeParse(row);
      const fail = (problem: string) =>
        new FileFormatError(where, `not a row of ${task.name}: ${problem}`, `${task.name} needs ${fieldsOf(schema)}`);
      if (!result.success) throw fail(describeIssues(schema, row, result.error));
      const asked = question(result.data);
      const problem = goldProblem(asked);
      if (problem) throw fail(problem);
      return asked;
    },
  };
}

const fieldsOf = (schema: z.ZodType): string => {
  const inner = schema instanceof z.ZodPipe ? schema.in : schema;
  return inner instanceof z.ZodObject ? Object.keys(inner.shape).join(', ') : 'its fields';
};

/** Why a question's right answer is none of its choices. */
function goldProblem(question: Question): string | null {
  if (question.kind !== 'choice' && question.kind !== 'filled') return null;
  const { gold } = question;
  const count = question.kind === 'choice' ? question.choices.length : question.prompts.length;
  if (Number.isInteger(gold) && gold >= 0 && gold < count) return null;
  return `its answer is none of its ${count} choices: ${describe(isRecord(question) ? question['gold'] : gold)}`;
}
