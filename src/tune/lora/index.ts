export * from './adapter-files.ts';
export * from './attach.ts';
export type { Factors } from './factors.ts';
export * from './merge.ts';
export type { RowGroups, RowGroupsOf } from './untied.ts';
