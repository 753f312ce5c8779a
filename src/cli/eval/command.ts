/** `krait eval run` and `krait eval ls`: how good a model is at the field's tasks, and which there are. */
import type { Command } from 'commander';
import { GROUPS, TASKS } from '../../eval/index.ts';
import { table } from '../../report/terminal.ts';
import { Output } from '../output.ts';
import { defineEvalRun } from './run.ts';

/** A group's subjects are not listed one by one for people. */
function listTasks(output: Output): void {
  const groups = GROUPS.map(({ name, summary, members, version }) => ({ name, summary, version, members }));
  const tasks = TASKS.map(({ name, summary, version, metrics, split, data }) => {
    return { name, summary, version, metrics, split, dataset: data.id };
  });
  const inGroups = new Set(groups.flatMap(({ members }) => members));
  const rows = [
    ['name', 'measures', 'what'],
    ...tasks
      .filter(({ name }) => !inGroups.has(name))
      .map(({ name, metrics, summary }) => [name, metrics.join(', '), summary]),
    ...GROUPS.map(({ name, metrics, summary }) => [name, metrics.join(', '), summary]),
    ['mmlu_SUBJECT', 'acc', 'one of the 57, such as mmlu_anatomy'],
    ['FILE.yaml', '', 'a task of your own (docs/evaluation.md)'],
  ];
  output.result({ tasks, groups }, () => table(rows));
}

export function define(command: Command): Command {
  defineEvalRun(command.command('run'));
  command
    .command('ls')
    .summary('the tasks there are')
    .description('Tasks and groups of tasks, with what is measured.')
    .option('--json', 'print one JSON document on stdout')
    .action(({ json }: { json?: boolean }) => listTasks(new Output(json ?? false)));
  return command;
}
