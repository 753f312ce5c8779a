/**
 * Tasks of the user's own: rows with `question`, `choices` and `answer` in a file, and a YAML file that says how they
 * are asked. Without choices the model writes its answer, and `answer` is text.
 *
 *   task: capitals
 *   data: capitals.jsonl          beside the YAML file; also .csv, .parquet
 *   fewshot_data: shots.jsonl     examples come from here; from the data, without the row itself, unless given
 *   fewshot_sampler: default      by chance; or first_n
 *   description: ""               before everything else
 *   prompt: "Question: {{question}}\nAnswer:"
 *   target_delimiter: " "
 *   fewshot_delimiter: "\n\n"
 *   metrics: [acc, acc_norm]      also acc_bytes, exact_match, f1; of written answers exact_match
 *   until: ["\n"]                 ends a written answer
 *   max_tokens: 32
 */
import { parse } from 'yaml';
import { z } from 'zod';
import { FileFormatError } from '../../core/index.ts';
import { describe, type FileSystem, joinPath, oneLine, parseStrict, suggestion } from '../../io/index.ts';
import { METRIC_NAMES } from '../metrics/index.ts';
import type { Question, Row, Task } from './task.ts';

const CHOICE_METRICS = ['acc', 'acc_norm', 'acc_bytes', 'exact_match', 'f1'] as const;

const schema = z.strictObject({
  task: z.string().regex(/^[\w-]+$/, { error: 'expected letters, digits, _ and -' }),
  data: z.string().min(1),
  fewshot_data: z.string().min(1).optional(),
  fewshot_sampler: z.enum(['default', 'first_n']).default('default'),
  description: z.string().default(''),
  prompt: z.string().default('Question: {{question}}\nAnswer:'),
  target_delimiter: z.string().default(' '),
  fewshot_delimiter: z.string().default('\n\n'),
  metrics: z.array(z.enum(METRIC_NAMES)).min(1).optional(),
  until: z.array(z.string().min(1)).min(1).optional(),
  max_tokens: z.int().min(1).optional(),
  version: z.number().default(1),
});

type Settings = z.output<typeof schema>;

/** A task, and the files of its two splits. */
export interface CustomTask {
  readonly task: Task;
  /** Path of each split's file. */
  readonly paths: ReadonlyMap<string, string>;
}

const DATA = 'data';
const SHOTS = 'fewshot_data';

/** The prompt with a row's fields in place of `{{field}}`. */
function fill(template: string, row: Row, where: string): string {
  return template.replace(/\{\{\s*([\w.]+)\s*\}\}/g, (_, field: string) => {
    const value = row[field];
    if (typeof value === 'string' || typeof value === 'number') return String(value);
    const hint = suggestion(field, Object.keys(row));
    throw new FileFormatError(
      where,
      `no text in the field ${field} of the prompt${hint}`,
      'mend the row or the prompt',
    );
  });
}

/** Index of the right choice: it itself, or the choice in full. */
function goldOf(answer: unknown, choices: readonly string[], where: string): number {
  const index = typeof answer === 'string' ? choices.indexOf(answer) : answer;
  if (typeof index === 'number' && Number.isInteger(index) && index >= 0 && index < choices.length) return index;
  const remedy = `answer is an index from 0 to ${choices.length - 1}, or one of the choices in full`;
  throw new FileFormatError(
    where,
    `the answer ${describe(answer)} is none of the choices ${describe(choices)}`,
    remedy,
  );
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((item) => typeof item === 'string');

function choiceQuestion(settings: Settings, row: Row, where: string): Question {
  const { choices } = row;
  if (!isTexts(choices) || choices.length < 2) {
    const remedy = 'each row has "question", "choices": ["...", "..."] and "answer"';
    throw new FileFormatError(where, `choices: expected two texts or more, got ${describe(choices)}`, remedy);
  }
  return {
    kind: 'choice',
    prompt: fill(settings.prompt, row, where),
    choices,
    gold: goldOf(row['answer'], choices, where),
  };
}

function openQuestion(settings: Settings, row: Row, where: string): Question {
  const answers = typeof row['answer'] === 'number' ? [String(row['answer'])] : [row['answer']].flat();
  if (!isTexts(answers) || answers.length === 0) {
    const remedy = 'each row has "question" and "answer", a text or several; or "choices" too';
    throw new FileFormatError(where, `answer: expected text, got ${describe(row['answer'])}`, remedy);
  }
  return {
    kind: 'open',
    prompt: fill(settings.prompt, row, where),
    targets: answers,
    until: settings.until ?? [settings.fewshot_delimiter || '\n'],
    maxTokens: settings.max_tokens ?? 256,
  };
}

/**
 * Reads a task's YAML file.
 * @throws FileFormatError for what is no YAML; ConfigError for a key or value that there is not
 */
export async function readCustomTask(files: FileSystem, path: string): Promise<CustomTask> {
  let value: unknown;
  try {
    value = parse(await files.readText(path));
  } catch (error) {
    if (!(error instanceof Error) || error.name !== 'YAMLParseError') throw error;
    throw new FileFormatError(path, `not valid YAML: ${oneLine(error)}`, 'mend it');
  }
  const settings = parseStrict(schema, value, path);
  const isOpen = settings.until !== undefined || settings.max_tokens !== undefined;
  const metrics = settings.metrics ?? (isOpen ? ['exact_match' as const] : ['acc' as const, 'acc_norm' as const]);
  const allowed: readonly string[] = isOpen ? ['exact_match'] : CHOICE_METRICS;
  const wrong = metrics.find((name) => !allowed.includes(name));
  if (wrong) {
    const what = isOpen ? 'written answers (until, max_tokens)' : 'choices';
    throw new FileFormatError(path, `metrics: ${wrong} is not for ${what}`, `give some of ${allowed.join(', ')}`);
  }
  const inFolder = (name: string) => (/^([/\\]|\w:)/.test(name) ? name : joinPath(folderOf(path), name));
  const paths = new Map([[DATA, inFolder(settings.data)]]);
  if (settings.fewshot_data !== undefined) paths.set(SHOTS, inFolder(settings.fewshot_data));
  const hasShots = paths.has(SHOTS);
  const task: Task = {
    name: settings.task,
    alias: settings.task,
    summary: `of ${path}`,
    version: settings.version,
    output: isOpen ? 'generate_until' : 'multiple_choice',
    data: { id: null, config: 'default', folder: settings.task },
    split: DATA,
    fewShot: {
      split: hasShots ? SHOTS : DATA,
      order: settings.fewshot_sampler === 'first_n' ? 'first' : 'random',
      excludesSelf: !hasShots,
    },
    description: settings.description,
    targetDelimiter: settings.target_delimiter,
    fewShotDelimiter: settings.fewshot_delimiter,
    metrics,
    ask: (row, where) => (isOpen ? openQuestion : choiceQuestion)(settings, row, where),
  };
  return { task, paths };
}

const folderOf = (path: string): string => path.replace(/[^/\\]*$/, '').replace(/(?<=.)[/\\]$/, '');
