/** `krait generate`: continues a prompt and streams the text. The flags alone; `run.ts` does the work. */
import type { Command } from 'commander';
import {
  integer,
  type ModelOptions,
  number,
  type ProfileFlag,
  withModelOptions,
  withProfileOption,
} from '../options.ts';
import { outputOf } from '../output.ts';

export interface GenerateFlags extends ModelOptions {
  prompt: string;
  maxTokens: number;
  temperature: number;
  topK?: number;
  topP?: number;
  repetitionPenalty: number;
  stop?: string[];
  seed: number;
  profile: ProfileFlag;
}

export function define(command: Command): Command {
  return withModelOptions(withProfileOption(command), { takesInt8: true })
    .requiredOption('--prompt <text|->', 'text to continue; - reads standard input')
    .option('--max-tokens <n>', 'most tokens to write', integer(0), 128)
    .option('--temperature <t>', '0 takes the most probable token', number(0), 0)
    .option('--top-k <k>', 'choose among the k most probable', integer(1))
    .option('--top-p <p>', 'choose among the most probable that hold this share', number(0, 1, { open: true }))
    .option(
      '--repetition-penalty <x>',
      'above 1 makes tokens that were there less probable',
      number(0, Number.POSITIVE_INFINITY, { open: true }),
      1,
    )
    .option('--stop <text...>', 'texts that end the completion')
    .option('--seed <s>', 'same seed, same text', integer(0), 0)
    .action(async (flags: GenerateFlags) => (await import('./run.ts')).run(flags, outputOf(flags)));
}
