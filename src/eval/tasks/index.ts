export * from './custom.ts';
export * from './few-shot.ts';
export type { TaskGroup } from './group.ts';
export * from './registry.ts';
export * from './requests.ts';
export * from './task.ts';
