export * from './load.ts';
export type { PlacedRow } from './read.ts';
