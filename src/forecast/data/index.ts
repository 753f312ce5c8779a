export * from './calendar.ts';
export { rowsOf, textPieces } from './csv-rows.ts';
export * from './dates.ts';
export * from './read-table.ts';
export * from './regular.ts';
export * from './splits.ts';
export * from './windows.ts';
