/** `krait study NAME`: the experiments of `src/study`, each a file of its own here. */
import type { Command } from 'commander';
import { defineStability } from './study-stability.ts';

export function define(command: Command): Command {
  defineStability(command.command('stability'));
  return command;
}
