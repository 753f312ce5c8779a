export * from './episodes.ts';
export * from './items.ts';
export { microRows, writeMicroTasks } from './rows.ts';
export * from './tasks.ts';
