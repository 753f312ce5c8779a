export * from './adapter-files.ts';
export * from './attach.ts';
export type { Factors } from './factors.ts';
export * from './merge.ts';
export type { Pieces, PiecesOf } from './untied.ts';
