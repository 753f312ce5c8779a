/**
 * From rows as they stand to a regular grid. The rules, each reported in a line where it was used:
 *   last      of rows with the same date the last is kept
 *   gap       a date that the frequency asks for and the file lacks becomes a row whose values are missing
 *   previous  a missing value is filled with the one before it (the first ones with the one after); it counts as
 *             missing in losses, scores and scaling
 */
import { FileFormatError } from '../../core/index.ts';
import type { FileSystem } from '../../io/index.ts';
import { addSteps, detectFrequency, type Frequency, formatDate, frequencyText, stepsBetween } from './dates.ts';
import { type RawRows, type ReadOptions, readRawRows, sortedByTime } from './raw-rows.ts';
import type { SeriesTable } from './table.ts';

/** More rows than this times those of the file are not put into gaps: the frequency is then mistaken. */
const MOST_GROWTH = 2;

/** Row numbers with distinct dates. @throws FileFormatError where a date comes before the one above it */
function distinctRows({ source, times, lines }: RawRows, notes: string[]): number[] {
  const kept: number[] = [];
  let repeated = 0;
  let firstRepeated = 0;
  for (let i = 0; i < times.length; i++) {
    if (i > 0 && times[i] < times[i - 1]) {
      const what = `${formatDate(times[i])} comes after ${formatDate(times[i - 1])}`;
      throw new FileFormatError(`${source}:${lines[i]}`, `dates are not sorted: ${what}`, 'sort the rows by date');
    }
    if (i > 0 && times[i] === times[i - 1]) {
      if (repeated++ === 0) firstRepeated = times[i];
      kept[kept.length - 1] = i;
    } else kept.push(i);
  }
  if (repeated > 0) {
    notes.push(
      `${count(repeated, 'row')} with a date that was there already (first ${formatDate(firstRepeated)}): rule last, the last row of a date is kept`,
    );
  }
  return kept;
}

const count = (n: number, word: string): string => `${n.toLocaleString('en')} ${word}${n === 1 ? '' : 's'}`;

/** Place of each kept row on the grid. @throws FileFormatError for a date beside the grid */
function placesOf({ source, times, lines }: RawRows, kept: readonly number[], frequency: Frequency): number[] {
  const places = [0];
  for (let i = 1; i < kept.length; i++) {
    const [from, to] = [times[kept[i - 1]], times[kept[i]]];
    const steps = stepsBetween(from, to, frequency);
    if (!Number.isInteger(steps)) {
      const what = `${formatDate(to)} is not a whole number of steps of ${frequencyText(frequency)} after ${formatDate(from)}`;
      throw new FileFormatError(
        `${source}:${lines[kept[i]]}`,
        `dates are irregular: ${what}`,
        'bring the rows to one frequency',
      );
    }
    places.push(places[i - 1] + steps);
  }
  return places;
}

/** Fills NaN in place by the rule `previous`; returns the mask of measured values, or null if none was missing. */
function fillPrevious(values: Float64Array): Uint8Array | null {
  const first = values.findIndex((v) => !Number.isNaN(v));
  if (!values.some((v) => Number.isNaN(v))) return null;
  const observed = new Uint8Array(values.length);
  let last = values[first];
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i])) values[i] = last;
    else {
      observed[i] = 1;
      last = values[i];
    }
  }
  return observed;
}

/**
 * The regular table of raw rows.
 * @throws FileFormatError for unsorted or irregular dates, fewer than 3 rows, a column without any value
 */
export function regularise(raw: RawRows): SeriesTable {
  const notes: string[] = [];
  const { source } = raw;
  const kept = distinctRows(raw, notes);
  if (kept.length < 3)
    throw new FileFormatError(source, `${count(kept.length, 'row')} with distinct dates`, 'give at least 3');
  const frequency = detectFrequency(kept.map((i) => raw.times[i]));
  const places = placesOf(raw, kept, frequency);
  const length = places[places.length - 1] + 1;
  if (length > MOST_GROWTH * kept.length + 1000) {
    const what = `${count(length - kept.length, 'date')} missing at a frequency of ${frequencyText(frequency)}, ${count(kept.length, 'row')} there`;
    throw new FileFormatError(source, `dates are irregular: ${what}`, 'bring the rows to one frequency');
  }
  if (length > kept.length) {
    const at = places.findIndex((place, i) => place !== i);
    const first = addSteps(raw.times[kept[at - 1]], frequency, 1);
    notes.push(
      `${count(length - kept.length, 'date')} missing (first ${formatDate(first)}): rule gap, a row of missing values is put in`,
    );
  }
  const start = raw.times[kept[0]];
  const times = Float64Array.from({ length }, (_, i) => addSteps(start, frequency, i));
  const masks: (Uint8Array | null)[] = [];
  const columns = raw.columns.map((values, k) => {
    const column = new Float64Array(length).fill(Number.NaN);
    kept.forEach((row, i) => {
      column[places[i]] = values[row];
    });
    if (column.every(Number.isNaN)) {
      throw new FileFormatError(source, `column ${raw.names[k]} has no value at all`, 'remove the column');
    }
    const mask = fillPrevious(column);
    masks.push(mask);
    if (mask) {
      const missing = mask.length - mask.reduce((n, m) => n + m, 0);
      notes.push(
        `column ${raw.names[k]}: ${count(missing, 'value')} missing: rule previous, filled with the value before and left out of losses and scores`,
      );
    }
    return column;
  });
  const observed = masks.every((mask) => mask === null) ? null : masks.map((m) => m ?? new Uint8Array(length).fill(1));
  return { source, names: raw.names, times, frequency, columns, observed, notes };
}

/** A CSV, wide or long, as a regular table. @throws as `readRawRows` and `regularise` */
export async function readTable(files: FileSystem, path: string, options: ReadOptions = {}): Promise<SeriesTable> {
  const raw = await readRawRows(files, path, options);
  return regularise(raw.isLong ? sortedByTime(raw) : raw);
}
