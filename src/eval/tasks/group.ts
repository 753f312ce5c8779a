/** Tasks that are asked for and averaged together. */
import type { MetricName } from '../metrics/index.ts';

export interface TaskGroup {
  readonly name: string;
  /** As tables show it. */
  readonly alias: string;
  readonly summary: string;
  /** lm-eval's version of the group. */
  readonly version: number;
  /** Names of its tasks and groups. */
  readonly members: readonly string[];
  /** Metrics averaged over all its tasks, each weighted by its number of questions. */
  readonly metrics: readonly MetricName[];
}
