/** Series side by side on one regular grid of times. */
import type { Frequency } from './dates.ts';

export interface SeriesTable {
  /** The file that it came from, for errors. */
  readonly source: string;
  readonly names: readonly string[];
  /** Milliseconds since 1970, UTC; ascending, `frequency` apart. */
  readonly times: Float64Array;
  readonly frequency: Frequency;
  /** Values of each variable; what was missing is filled. */
  readonly columns: readonly Float64Array[];
  /** 1 where a value was measured, 0 where it was filled; null where nothing was missing anywhere. */
  readonly observed: readonly Uint8Array[] | null;
  /** What was done to the file's rows, a line each: nothing is changed without one. */
  readonly notes: readonly string[];
}

export const rowCount = (table: SeriesTable): number => table.times.length;

/** Rows from `start` up to `end`. */
export function sliceRows(table: SeriesTable, start: number, end = rowCount(table)): SeriesTable {
  return {
    ...table,
    times: table.times.subarray(start, end),
    columns: table.columns.map((column) => column.subarray(start, end)),
    observed: table.observed?.map((mask) => mask.subarray(start, end)) ?? null,
  };
}
