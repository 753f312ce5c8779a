/** `krait forecast`: a forecast from a CSV file; models that are kept; the papers' benchmark. */
import type { Command } from 'commander';
import { defineBench } from './forecast-bench.ts';

export function define(command: Command): Command {
  defineBench(command.command('bench'));
  return command;
}
