/** `krait forecast`: forecasting of time series, each command a file of its own here. */
import type { Command } from 'commander';
import { defineBench } from './forecast-bench.ts';

export function define(command: Command): Command {
  defineBench(command.command('bench'));
  return command;
}
