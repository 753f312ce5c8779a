/** Scores in the shape of lm-eval's results file (0.4.13), with what Krait knows besides under `krait`. */
import { type Aggregate, isHigherBetter, type MetricName, pool } from '../metrics/index.ts';
import { leavesOf, type Task, type TaskGroup } from '../tasks/index.ts';
import type { ShotsRun, TaskScore } from './evaluate.ts';

type Json = Record<string, unknown>;

/** `acc,none` and `acc_stderr,none`, as lm-eval names a metric that no filter was put before. */
const metricFields = (name: MetricName, { value, error }: Aggregate): Json => ({
  [`${name},none`]: value,
  [`${name}_stderr,none`]: error ?? 'N/A',
});

function taskFields({ task, samples, metrics }: TaskScore): Json {
  const fields = [...metrics].map(([name, value]) => metricFields(name, value));
  return Object.assign({ name: task.name, alias: task.alias, sample_len: samples.length }, ...fields) as Json;
}

/** Metrics of a group over its tasks. */
export interface GroupScore {
  readonly group: TaskGroup;
  /** Questions. */
  readonly size: number;
  readonly metrics: ReadonlyMap<MetricName, Aggregate>;
}

export function scoreGroup(group: TaskGroup, run: ShotsRun): GroupScore {
  const leaves = new Set(leavesOf(group));
  const members = run.scores.filter(({ task }) => leaves.has(task.name));
  const metrics = group.metrics.map((name) => {
    const parts = members.map((score) => ({ ...score.metrics.get(name)!, size: score.samples.length }));
    return [name, pool(parts)] as const;
  });
  return { group, size: members.reduce((sum, { samples }) => sum + samples.length, 0), metrics: new Map(metrics) };
}

function groupFields({ group, size, metrics }: GroupScore): Json {
  const fields = [...metrics].map(([name, value]) => metricFields(name, value));
  const counts = Object.fromEntries([...metrics.keys()].map((name) => [`${name},none`, size]));
  return Object.assign({ alias: group.alias, name: group.name, sample_len: size }, ...fields, { sample_count: counts });
}

const AGGREGATIONS: Partial<Record<MetricName, string>> = {
  f1: 'f1',
  perplexity: 'perplexity',
  word_perplexity: 'weighted_perplexity',
  byte_perplexity: 'weighted_perplexity',
  bits_per_byte: 'bits_per_byte',
};

function configOf(task: Task, shots: number): Json {
  return {
    task: task.name,
    ...(task.alias === task.name ? {} : { task_alias: task.alias }),
    ...(task.data.id === null ? {} : { dataset_path: task.data.id, dataset_name: task.data.config }),
    [task.split === 'validation' ? 'validation_split' : 'test_split']: task.split,
    fewshot_split: task.fewShot.split,
    fewshot_config: { sampler: task.fewShot.order === 'first' ? 'first_n' : 'default' },
    description: task.description,
    target_delimiter: task.targetDelimiter,
    fewshot_delimiter: task.fewShotDelimiter,
    num_fewshot: shots,
    metric_list: task.metrics.map((metric) => ({
      metric,
      aggregation: AGGREGATIONS[metric] ?? 'mean',
      higher_is_better: isHigherBetter(metric),
    })),
    output_type: task.output,
    repeats: 1,
    metadata: { version: task.version },
  };
}

const higherIsBetter = (metrics: readonly MetricName[]): Json =>
  Object.fromEntries(metrics.map((name) => [name, isHigherBetter(name)]));

/** One entry a name. */
const byName = <T>(entries: readonly T[], nameOf: (entry: T) => string, pick: (entry: T) => unknown): Json =>
  Object.fromEntries(entries.map((entry) => [nameOf(entry), pick(entry)]));

/** Cost and truncated contexts of a run, by task. */
function costsOf(scores: readonly TaskScore[]): Json {
  const cost = (part: keyof TaskScore['cost']) => scores.reduce((sum, score) => sum + score.cost[part], 0);
  return {
    truncated: byName(
      scores,
      ({ task }) => task.name,
      (score) => score.cost.truncated,
    ),
    tokens: cost('tokens'),
    computed_tokens: cost('computedTokens'),
    seconds: cost('seconds'),
  };
}

/**
 * The document of a results file.
 * @param config what was run with: lm-eval's `config`
 * @param about written beside the costs, such as the version
 */
export function resultsDocument(run: ShotsRun, groups: readonly TaskGroup[], config: Json, about: Json): Json {
  const { scores } = run;
  const groupScores = groups.map((group) => scoreGroup(group, run));
  const taskName = ({ task }: TaskScore) => task.name;
  const groupName = ({ group }: GroupScore) => group.name;
  const ofGroups = (pick: (score: GroupScore) => unknown) => byName(groupScores, groupName, pick);
  return {
    results: { ...ofGroups(groupFields), ...byName(scores, taskName, taskFields) },
    ...(groups.length > 0 ? { groups: ofGroups(groupFields) } : {}),
    group_subtasks: ofGroups(({ group }) => group.members),
    configs: byName(scores, taskName, ({ task, shots }) => configOf(task, shots)),
    versions: { ...ofGroups(({ group }) => group.version), ...byName(scores, taskName, ({ task }) => task.version) },
    'n-shot': { ...ofGroups(() => run.shots), ...byName(scores, taskName, ({ shots }) => shots) },
    higher_is_better: {
      ...ofGroups(({ group }) => higherIsBetter(group.metrics)),
      ...byName(scores, taskName, ({ task }) => higherIsBetter(task.metrics)),
    },
    'n-samples': byName(scores, taskName, ({ size, samples }) => ({ original: size, effective: samples.length })),
    config,
    krait: { ...about, ...costsOf(scores) },
  };
}
