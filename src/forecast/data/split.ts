/**
 * Parts of a series in time: train, validation, test. Windows of a later part look back into the one before it, so the
 * first target of a part is its first row.
 */
import { FileFormatError, UsageError } from '../../core/index.ts';
import { rowCount, type SeriesTable } from './table.ts';

/** Rows whose values are targets: from `start` up to `end`. */
export interface Part {
  readonly start: number;
  readonly end: number;
}

export interface Split {
  readonly train: Part;
  readonly validation: Part;
  readonly test: Part;
}

/** 12, 4 and 4 months of 30 days, as the ETT benchmarks are cut; what is left over is not used. */
export function ettSplit(rowsPerHour = 1): Split {
  const month = 30 * 24 * rowsPerHour;
  return {
    train: { start: 0, end: 12 * month },
    validation: { start: 12 * month, end: 16 * month },
    test: { start: 16 * month, end: 20 * month },
  };
}

/** Shares of the rows; `test` may be 0. */
export function shareSplit(rows: number, validation: number, test: number): Split {
  if (!(validation > 0 && test >= 0 && validation + test < 1)) {
    throw new UsageError(`split: expected shares above 0 that leave some for training, got ${validation} and ${test}`);
  }
  const testStart = rows - Math.floor(rows * test);
  const start = testStart - Math.floor(rows * validation);
  return {
    train: { start: 0, end: start },
    validation: { start, end: testStart },
    test: { start: testStart, end: rows },
  };
}

/** @throws FileFormatError if a part has no whole window: look-back and horizon for the first, the horizon for others */
export function checkSplit(table: SeriesTable, split: Split, lookback: number, horizon: number): void {
  const rows = rowCount(table);
  const fail = (what: string): never => {
    throw new FileFormatError(table.source, what, 'give a longer series, or a shorter --lookback or --horizon');
  };
  if (split.test.end > rows) fail(`${rows} rows, the split needs ${split.test.end}`);
  const parts = Object.entries(split).filter(([, part]) => part.end > part.start);
  for (const [name, part] of parts) {
    const needed = horizon + (name === 'train' ? lookback : 0);
    if (part.end - part.start >= needed) continue;
    const has = `the ${name} part has ${part.end - part.start} of ${rows} rows`;
    fail(`too short: ${has}, look-back ${lookback} and horizon ${horizon} need ${needed}`);
  }
  if (split.validation.start < lookback) fail(`too short: look-back ${lookback} reaches before the first row`);
}
