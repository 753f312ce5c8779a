/** `krait study NAME`: the experiments of `src/study`, each a file of its own here. */
import type { Command } from 'commander';
import { defineDownstream } from './study-downstream.ts';
import { defineStability } from './study-stability.ts';

export function define(command: Command): Command {
  defineDownstream(command.command('downstream'));
  defineStability(command.command('stability'));
  return command;
}
