/** `krait forecast`: a forecast from a CSV file; models that are kept; the papers' benchmark. */
import type { Command } from 'commander';
import { defineBench } from './bench.ts';
import { defineFit, definePredict, defineRun } from './run.ts';

export function define(command: Command): Command {
  defineRun(command.command('run', { isDefault: true }));
  defineBench(command.command('bench'));
  defineFit(command.command('fit'));
  definePredict(command.command('predict'));
  return command;
}
