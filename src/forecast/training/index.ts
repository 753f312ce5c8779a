export * from './fit.ts';
export * from './score.ts';
export * from './task.ts';
