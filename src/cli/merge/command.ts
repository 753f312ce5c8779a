/** `krait merge`: makes a LoRA adapter part of its model's weights. The flags alone; `run.ts` does the work. */
import type { Command } from 'commander';
import { type ModelOptions, withModelOptions } from '../options.ts';
import { outputOf } from '../output.ts';

export interface MergeFlags extends ModelOptions {
  out: string;
  force?: boolean;
}

export function define(command: Command): Command {
  return withModelOptions(command)
    .requiredOption('--out <dir>', 'folder of the merged model')
    .option('--force', 'write over what --out holds')
    .action(async (flags: MergeFlags) => (await import('./run.ts')).run(flags, outputOf(flags)));
}
