/** Work of `krait eval ls`: the tasks there are. */
import { GROUPS, TASKS } from '../../eval/index.ts';
import { table } from '../../report/terminal.ts';
import type { Output } from '../output.ts';

/** A group's subjects are not listed one by one for people. */
export function listTasks(output: Output): void {
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
