/** Names of optimisers and schedules. They stand apart from what they name, because the command line lists them before it loads it. */

/** Optimisers; registry.ts has a row for each. */
export const OPTIMIZER_NAMES = ['adamw', 'lion'] as const;
export type OptimizerName = (typeof OPTIMIZER_NAMES)[number];

/** How the learning rate goes on after the warm-up (schedules.ts). */
export const SCHEDULES = ['constant', 'linear', 'cosine'] as const;
export type ScheduleName = (typeof SCHEDULES)[number];
