/**
 * Which rows teach, choose and test. Windows of the later parts reach back into the part before for their look-back, as
 * in the papers, so that the first row of a part is the first to be forecast.
 */
import { FileFormatError } from '../../core/index.ts';

/** Rows from `start` to before `end`. */
export interface RowRange {
  readonly start: number;
  readonly end: number;
}

export interface Splits {
  readonly train: RowRange;
  readonly validation: RowRange;
  readonly test: RowRange;
}

/** ETT: 12, 4 and 4 months of 30 days; rows after those are not used (`stepsPerHour` 1 for ETTh, 4 for ETTm). */
export function ettSplits(stepsPerHour = 1): Splits {
  const month = 30 * 24 * stepsPerHour;
  return partsOf([12 * month, 4 * month, 4 * month]);
}

/** Shares of all rows; the papers' 70, 10 and 20 % unless given. */
export function shareSplits(length: number, shares: readonly [number, number] = [0.7, 0.2]): Splits {
  const [train, test] = shares.map((share) => Math.floor(length * share));
  return partsOf([train, length - train - test, test]);
}

function partsOf([train, validation, test]: readonly number[]): Splits {
  const borders = [0, train, train + validation, train + validation + test];
  const range = (i: number): RowRange => ({ start: borders[i], end: borders[i + 1] });
  return { train: range(0), validation: range(1), test: range(2) };
}

/** The first rows of the windows of a part: look-back, then horizon. Those of later parts look back before the part. */
export function windowStarts(range: RowRange, { lookback, horizon }: { lookback: number; horizon: number }): RowRange {
  const first = range.start === 0 ? 0 : range.start - lookback;
  return { start: first, end: Math.max(first, range.end - lookback - horizon + 1) };
}

/**
 * Checks that each part has at least one window.
 * @throws FileFormatError telling how many rows are needed
 */
export function checkSplits(
  file: string,
  splits: Splits,
  size: { lookback: number; horizon: number },
  rows: number,
): void {
  const last = Math.max(splits.train.end, splits.validation.end, splits.test.end);
  if (rows < last)
    throw new FileFormatError(file, `has ${rows} rows, but its split takes ${last}`, 'give the whole file');
  for (const [name, range] of Object.entries(splits) as [string, RowRange][]) {
    const { start, end } = windowStarts(range, size);
    if (start >= 0 && end > start) continue;
    const own = range.end - range.start;
    const few = `${rows} rows are too few: the ${name} part`;
    if (range.start > 0 && own < size.horizon) {
      const problem = `${few} has ${own}, less than the horizon of ${size.horizon}`;
      const remedy = `give a longer series${own > 0 ? `, or a --horizon of ${own}` : ''}`;
      throw new FileFormatError(file, problem, remedy);
    }
    const need = `look-back ${size.lookback} plus horizon ${size.horizon} is ${size.lookback + size.horizon}`;
    const problem = `${few} (${own} rows) has no window; ${need}`;
    throw new FileFormatError(file, problem, 'give a longer series, or a smaller --lookback or --horizon');
  }
}
