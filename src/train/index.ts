export * from './checkpoint-store.ts';
export * from './optim/index.ts';
export * from './options.ts';
export * from './run-log.ts';
export type { Best } from './run-state.ts';
export * from './step-queue.ts';
export * from './task.ts';
export * from './train.ts';
