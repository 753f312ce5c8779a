/** Flags of `krait eval run`. */
import { type Command, InvalidArgumentError } from 'commander';
import { FEW_SHOT_SEED } from '../eval/index.ts';
import { integer, type ModelOptions, number, withModelOptions } from './session.ts';

export interface EvalOptions extends ModelOptions {
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

/** Names with commas between, each once. */
function nameList(text: string): string[] {
  const names = text.split(',').map((name) => name.trim());
  if (names.includes('')) throw new InvalidArgumentError('expected names with commas between, such as piqa,mmlu.');
  return [...new Set(names)];
}

/** Numbers of examples with commas between, each once. */
function shotList(text: string): number[] {
  const counts = text.split(',').map((part) => (/^\d+$/.test(part.trim()) ? Number(part) : Number.NaN));
  if (!counts.every((count) => count <= 1000)) {
    throw new InvalidArgumentError('expected whole numbers from 0 with commas between, such as 0,1,5.');
  }
  return [...new Set(counts)];
}

function batchSize(text: string): number | 'auto' {
  return text === 'auto' ? text : integer(1)(text);
}

/** `--model --adapter --revision`, the common options, and those of an evaluation. */
export function withEvalOptions(command: Command): Command {
  return withModelOptions(command, { takesInt8: true })
    .requiredOption('--tasks <names>', 'tasks, groups, or YAML files of your own, with commas between', nameList)
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
    .option('--force', 'ask everything again, over what is in the folder');
}
