/** Every task and group there is, by name. */
import { UsageError } from '../../core/index.ts';
import { nearest } from '../../io/index.ts';
import type { TaskGroup } from './group.ts';
import { lambadaOpenai, wikitext } from './language.ts';
import { mmluGroups, mmluTasks } from './mmlu.ts';
import { arcChallenge, arcEasy, boolq, hellaswag, openbookqa, piqa, sciq, winogrande } from './multiple-choice.ts';
import type { Task } from './task.ts';

const MAIN = [hellaswag, piqa, arcEasy, arcChallenge, winogrande, openbookqa, boolq, sciq, lambadaOpenai, wikitext];

export const TASKS: readonly Task[] = [...MAIN, ...mmluTasks];
export const GROUPS: readonly TaskGroup[] = mmluGroups;

export interface Selection {
  /** Each once, in the order asked for. */
  readonly tasks: readonly Task[];
  /** Groups asked for, with the groups in them; outer ones first. */
  readonly groups: readonly TaskGroup[];
}

/** Names that a misspelt one may stand for, the nearest first. */
export function nearTaskNames(name: string, most = 3): string[] {
  const names = new Set([...GROUPS, ...TASKS].map((entry) => entry.name));
  const near: string[] = [];
  for (let best = nearest(name, names); best !== undefined && near.length < most; best = nearest(name, names)) {
    near.push(best);
    names.delete(best);
  }
  return near;
}

function unknown(name: string): UsageError {
  const near = nearTaskNames(name);
  const hint = near.length > 0 ? ` (did you mean ${near.join(', ')}?)` : '';
  return new UsageError(
    `unknown task ${JSON.stringify(name)}${hint}; krait eval ls lists all, a file NAME.yaml is your own`,
  );
}

/**
 * The tasks and groups that names stand for.
 * @param own tasks of the user's, by the name that they are asked for by
 * @throws UsageError naming the nearest names
 */
export function selectTasks(names: readonly string[], own: ReadonlyMap<string, Task> = new Map()): Selection {
  const tasks = new Map<string, Task>();
  const groups = new Map<string, TaskGroup>();
  const add = (name: string): void => {
    const group = GROUPS.find((entry) => entry.name === name);
    const task = own.get(name) ?? TASKS.find((entry) => entry.name === name);
    if (!group && !task) throw unknown(name);
    if (task) tasks.set(task.name, task);
    else if (group && !groups.has(name)) {
      groups.set(name, group);
      group.members.forEach(add);
    }
  };
  names.forEach(add);
  return { tasks: [...tasks.values()], groups: [...groups.values()] };
}

/** Names of the tasks below a group. */
export const leavesOf = (group: TaskGroup): string[] =>
  group.members.flatMap((name) => {
    const inner = GROUPS.find((entry) => entry.name === name);
    return inner ? leavesOf(inner) : [name];
  });
