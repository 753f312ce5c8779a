/**
 * A table made regular: rows in the order of time, one a step, by rules that are named in `notes`.
 *   order       rows that are out of order are sorted
 *   duplicates  of rows with the same date the last one that has a value counts
 *   gaps        steps without a row become rows of missing values
 *   filling     what is missing is filled for the inputs of models; the mask keeps it out of losses and scores
 */
import { FileFormatError } from '../../core/index.ts';
import type { Fill } from '../names.ts';
import { dateAt, describeFrequency, detectFrequency, type Frequency, formatDate, stepsBetween } from './dates.ts';
import type { RawTable } from './read-table.ts';

export interface RegularSeries {
  readonly file: string;
  readonly names: readonly string[];
  /** Of the first row; row r stands at `dateAt(start, frequency, r)`. */
  readonly start: number;
  readonly frequency: Frequency;
  readonly length: number;
  /** Filled values of each variable. */
  readonly values: readonly Float64Array[];
  /** 1 where the file has a value, 0 where it was filled; null for a variable without anything missing. */
  readonly masks: readonly (Uint8Array | null)[];
  /** Changes of the rows, one line each. */
  readonly notes: readonly string[];
}

/** Share of steps that may be missing before a table counts as irregular. */
const MOST_MISSING = 0.5;

const plural = (n: number, one: string, many = `${one}s`): string =>
  `${n.toLocaleString('en')} ${n === 1 ? one : many}`;

/**
 * Puts a table on its grid of dates.
 * @throws FileFormatError for dates that are off the grid (with the row), fewer than two dates, a column without values
 */
export function regularise(table: RawTable, { fill = 'forward' }: { fill?: Fill } = {}): RegularSeries {
  const { file, dates, columns, names } = table;
  const notes: string[] = [];
  if (table.skippedRows > 0)
    notes.push(
      `rows: those of the last ${plural(dates.length, 'date')} are used, ${plural(table.skippedRows, 'earlier one')} left out`,
    );
  if (table.unread.length > 0)
    notes.push(`columns: ${table.unread.join(', ')} of the long form not read: unique_id, ds and y are`);
  const order = sortedOrder(dates, notes);
  const sorted = Float64Array.from(order, (r) => dates[r]);
  const frequency = detectFrequency(sorted);
  if (!frequency) throw new FileFormatError(file, 'has fewer than two dates', 'give a series with a date for each row');
  const start = sorted[0];
  const places = placesOf(table, order, frequency);
  const length = places[places.length - 1] + 1;
  checkDensity(table, order, places, frequency);
  const values = columns.map(() => new Float64Array(length).fill(Number.NaN));
  const isThere = new Uint8Array(length);
  let twice = 0;
  order.forEach((r, i) => {
    const at = places[i];
    twice += isThere[at];
    isThere[at] = 1;
    columns.forEach((column, k) => {
      if (!Number.isNaN(column[r])) values[k][at] = column[r];
    });
  });
  if (twice > 0)
    notes.push(`duplicates: ${plural(twice, 'row')} with a date that was there before; the last value counts`);
  noteGaps(isThere, start, frequency, notes);
  const masks = values.map((column, k) => fillColumn(file, names[k], column, fill, notes));
  return { file, names, start, frequency, length, values, masks, notes };
}

/** Rows in the order of their dates; those of one date stay as they stand. */
function sortedOrder(dates: Float64Array, notes: string[]): number[] {
  const order = Array.from(dates, (_, r) => r);
  let falls = 0;
  for (let r = 1; r < dates.length; r++) falls += Number(dates[r] < dates[r - 1]);
  if (falls === 0) return order;
  notes.push(`order: ${plural(falls, 'row')} earlier than the row before; sorted by date`);
  return order.sort((a, b) => dates[a] - dates[b] || a - b);
}

/** The step of each row. */
function placesOf({ file, dates }: RawTable, order: readonly number[], frequency: Frequency): number[] {
  const start = dates[order[0]];
  return order.map((r) => {
    const steps = stepsBetween(start, dates[r], frequency);
    if (Number.isInteger(steps)) return steps;
    const problem = `the date ${formatDate(dates[r])} (data row ${r + 1}) is not a whole number of steps of ${describeFrequency(frequency)} after ${formatDate(start)}`;
    throw new FileFormatError(file, problem, 'dates must be regular: resample the file');
  });
}

function noteGaps(isThere: Uint8Array, start: number, frequency: Frequency, notes: string[]): void {
  let [missing, gaps, first] = [0, 0, -1];
  isThere.forEach((there, i) => {
    if (there) return;
    missing++;
    gaps += isThere[i - 1];
    if (first < 0) first = i;
  });
  if (missing === 0) return;
  const where = formatDate(dateAt(start, frequency, first));
  notes.push(
    `gaps: ${plural(missing, 'step')} without a row in ${plural(gaps, 'gap')}, the first at ${where}; rows of missing values`,
  );
}

/** Before anything is made that is as long as the grid: one wrong date can make that longer than any memory. */
function checkDensity({ file, dates }: RawTable, order: readonly number[], places: readonly number[], step: Frequency) {
  const length = places[places.length - 1] + 1;
  const there = new Set(places).size;
  if (there >= (1 - MOST_MISSING) * length) return;
  let widest = 1;
  for (let i = 1; i < places.length; i++) {
    if (places[i] - places[i - 1] > places[widest] - places[widest - 1]) widest = i;
  }
  const [from, to] = [formatDate(dates[order[widest - 1]]), formatDate(dates[order[widest]])];
  const problem = `only ${there} of ${length} steps of ${describeFrequency(step)} have a row; the widest gap is from ${from} to ${to}`;
  throw new FileFormatError(file, problem, 'correct the dates, or resample the file to one step');
}

/** Fills in place; the mask of what was there, or null if all was. */
function fillColumn(file: string, name: string, column: Float64Array, fill: Fill, notes: string[]): Uint8Array | null {
  const mask = Uint8Array.from(column, (value) => Number(!Number.isNaN(value)));
  const there = mask.reduce((sum, one) => sum + one, 0);
  if (there === column.length) return null;
  if (there === 0) throw new FileFormatError(file, `column ${name} has no values`, 'leave it out');
  notes.push(
    `missing: ${plural(column.length - there, 'value')} of ${name} filled by the rule ${fill}, and kept out of losses and scores`,
  );
  if (fill === 'zero') column.set(column.map((value) => (Number.isNaN(value) ? 0 : value)));
  else fillBetween(column, mask, fill === 'linear');
  return mask;
}

function fillBetween(column: Float64Array, mask: Uint8Array, isLinear: boolean): void {
  let before = -1;
  for (let i = 0; i < column.length; i++) {
    if (mask[i]) {
      before = i;
      continue;
    }
    const next = mask.indexOf(1, i);
    const end = next < 0 ? column.length : next;
    for (let j = i; j < end; j++) {
      if (before < 0) column[j] = column[next];
      else if (next < 0 || !isLinear) column[j] = column[before];
      else column[j] = column[before] + ((column[next] - column[before]) * (j - before)) / (next - before);
    }
    i = end - 1;
  }
}
