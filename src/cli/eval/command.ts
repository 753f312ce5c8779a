/**
 * `krait eval run` and `krait eval ls`: how good a model is at the field's tasks, and which there are. The flags alone;
 * `run.ts` and `list.ts` do the work.
 */
import type { Command } from 'commander';
import { FEW_SHOT_SEED } from '../../eval/tasks/few-shot.ts';
import {
  integer,
  integerList,
  type ModelOptions,
  nameList,
  number,
  withJsonOption,
  withModelOptions,
} from '../options.ts';
import { outputOf } from '../output.ts';

export interface EvalFlags extends ModelOptions {
  tasks: string[];
  numFewshot: number[];
  limit?: number;
  seed: number;
  batchSize: number | 'auto';
  maxLength?: number;
  dataDir?: string;
  output: string;
  logSamples?: boolean;
  resume?: boolean;
  force?: boolean;
}

/** Most examples in front of a question. */
const MOST_SHOTS = 1000;

const shotList = integerList(0, MOST_SHOTS, 'whole numbers from 0 with commas between, such as 0,1,5');

const batchSize = (text: string): number | 'auto' => (text === 'auto' ? text : integer(1)(text));

function defineRun(command: Command): Command {
  return withModelOptions(command, { takesInt8: true })
    .summary('scores of a model on tasks, zero- and few-shot')
    .description(
      "Scores of a model on tasks, by lm-evaluation-harness's prompts, examples and metrics. Writes results in its shape, and " +
        'keeps every answer as it comes.',
    )
    .requiredOption(
      '--tasks <names>',
      'tasks, groups, or YAML files of your own, with commas between',
      nameList('piqa,mmlu'),
    )
    .option('--num-fewshot <list>', 'examples in front of a question, such as 0,1,5', shotList, [0])
    .option('--limit <n>', 'questions of each task: a number, or below 1 a share', number(0, undefined, { open: true }))
    .option('--seed <n>', 'seed that examples are drawn by', integer(0), FEW_SHOT_SEED)
    .option(
      '--batch-size <n|auto>',
      'sequences in a batch, padded to one length; auto pads none where the model can',
      batchSize,
      'auto',
    )
    .option(
      '--max-length <n>',
      'tokens of an input, cut on the left; what the model was made for, else 2048',
      integer(1),
    )
    .option('--data-dir <dir>', 'folder with data, TASK/SPLIT.jsonl, .csv or .parquet; the hub unless given')
    .option('--output <dir>', 'where to write results and keep answers', 'evaluation')
    .option('--log-samples', 'write each question with its answers too')
    .option('--resume', 'go on with the answers that are there')
    .option('--force', 'ask everything again, over what is in the folder')
    .action(async (flags: EvalFlags) => (await import('./run.ts')).run(flags, outputOf(flags)));
}

function defineList(command: Command): Command {
  const own = command.summary('the tasks there are').description('Tasks and groups of tasks, with what is measured.');
  return withJsonOption(own).action(async (flags: { json?: boolean }) =>
    (await import('./list.ts')).listTasks(outputOf(flags)),
  );
}

export function define(command: Command): Command {
  defineRun(command.command('run'));
  defineList(command.command('ls'));
  return command;
}
