/** What `krait eval run` prints and writes of its scores. */
import { readFileSync } from 'node:fs';
import {
  type Aggregate,
  BOOTSTRAP_ITERATIONS,
  resultsDocument,
  type ShotsRun,
  scoreGroup,
  type TaskGroup,
} from '../../eval/index.ts';
import { table } from '../../report/terminal.ts';
import type { EvalFlags } from './command.ts';

const version = (): string =>
  (JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as { version: string }).version;

/** The document of a results file (docs/evaluation.md). */
export function evalDocument(run: ShotsRun, groups: readonly TaskGroup[], options: EvalFlags & { maxLength: number }) {
  const { model, adapter, revision, dtype, device, limit, seed, batchSize, maxLength } = options;
  const config = {
    model: 'krait',
    model_args: { pretrained: model, ...(revision && { revision }), ...(adapter && { peft: adapter }), dtype },
    batch_size: batchSize,
    device,
    limit: limit ?? null,
    bootstrap_iters: BOOTSTRAP_ITERATIONS,
    fewshot_seed: seed,
    max_length: maxLength,
  };
  return resultsDocument(run, groups, config, { version: version() });
}

const scoreText = ({ value, error }: Aggregate): string =>
  `${value.toFixed(4)}${error === null ? '' : ` ± ${error.toFixed(4)}`}`;

/** A row for each task and metric, groups first, a column for each number of examples. */
export function evalTable(runs: readonly ShotsRun[], groups: readonly TaskGroup[]): string {
  const [first] = runs;
  const head = ['task', 'metric', ...runs.map(({ shots }) => `${shots}-shot`)];
  const ofGroups = groups.flatMap((group) => {
    const scores = runs.map((run) => scoreGroup(group, run).metrics);
    return group.metrics.map((name) => [group.name, name, ...scores.map((metrics) => scoreText(metrics.get(name)!))]);
  });
  const ofTasks = first.scores.flatMap(({ task }, i) =>
    task.metrics.map((name) => [task.name, name, ...runs.map(({ scores }) => scoreText(scores[i].metrics.get(name)!))]),
  );
  return table([head, ...ofGroups, ...ofTasks]);
}

/** A line for each number of examples of which contexts were too long. */
export function truncationLines(runs: readonly ShotsRun[], maxLength: number): string[] {
  return runs.flatMap(({ shots, scores }) => {
    const cut = scores.filter(({ cost }) => cost.truncated > 0);
    if (cut.length === 0) return [];
    const count = (part: 'truncated' | 'requests') => cut.reduce((sum, { cost }) => sum + cost[part], 0);
    const names = cut.length > 4 ? `${cut.length} tasks` : cut.map(({ task }) => task.name).join(', ');
    return `${shots}-shot: ${count('truncated')} of ${count('requests')} contexts of ${names} were longer than ${maxLength} tokens and were cut on the left`;
  });
}
