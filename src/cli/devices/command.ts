/** `krait devices`: what this machine computes with, and how fast. The flags alone; `run.ts` does the work. */
import type { Command } from 'commander';
import { type CommonOptions, withCommonOptions } from '../options.ts';
import { outputOf } from '../output.ts';

export function define(command: Command): Command {
  return withCommonOptions(command).action(async (flags: CommonOptions) =>
    (await import('./run.ts')).run(flags, outputOf(flags)),
  );
}
