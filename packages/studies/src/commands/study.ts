/** `krait study NAME`: the studies of this package, each command a file of its own. */
import type { Command } from 'commander';
import { defineDownstream } from './downstream.ts';
import { defineStability } from './stability.ts';

export function define(command: Command): Command {
  defineDownstream(command.command('downstream'));
  defineStability(command.command('stability'));
  return command;
}
