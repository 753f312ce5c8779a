/**
 * A table of series from a CSV file, in either of two forms: wide, a date column and a column for each variable; or long,
 * `unique_id,ds,y`, a row for each value. Missing values (empty, NaN, NA, null) are NaN. What is wrong is told with its
 * row and column; nothing is dropped without being reported.
 */
import { FileFormatError } from '../../core/index.ts';
import { type FileSystem, suggestion } from '../../io/index.ts';
import { type CsvRow, rowsOf, textPieces } from './csv-rows.ts';
import { parseDate } from './dates.ts';

/** Values as they stand in the file: row r of column k is `columns[k][r]`. */
export interface RawTable {
  readonly file: string;
  readonly form: 'wide' | 'long';
  readonly dateColumn: string;
  readonly names: readonly string[];
  /** Milliseconds since 1970, in the order of the file. */
  readonly dates: Float64Array;
  readonly columns: readonly Float64Array[];
  /** Rows of the file that were left out as too old, because more than `maxRows` dates were there. */
  readonly skippedRows: number;
  /** Columns of a long file beside its three, which are not read. */
  readonly unread: readonly string[];
}

export interface ReadOptions {
  /** Name of the date column; found by name and content unless given. */
  readonly dateColumn?: string;
  /** Variables of a wide file that are read, so that others may hold text; all unless given, or where one is not there. */
  readonly columns?: readonly string[];
  /** The last so many rows (dates) are kept: what bounds the memory of a huge file. */
  readonly maxRows?: number;
}

const DATE_NAMES = ['date', 'ds', 'time', 'timestamp', 'datetime'];
const MISSING = /^(?:|nan|na|n\/a|null|none|-)$/i;

/** Numbers that grow at the end, of which the last `most` are kept. */
class Ring {
  private values = new Float64Array(1024);
  private length = 0;
  dropped = 0;

  constructor(private readonly most: number) {}

  push(value: number): void {
    if (this.length === this.values.length) this.makeRoom();
    this.values[this.length++] = value;
  }

  /** Twice the room, or the oldest dropped where twice as many as wanted are there. */
  private makeRoom(): void {
    if (this.length >= 2 * this.most) {
      this.values.copyWithin(0, this.length - this.most, this.length);
      this.dropped += this.length - this.most;
      this.length = this.most;
      return;
    }
    const more = new Float64Array(Math.min(2 * this.values.length, Math.max(1024, 2 * this.most)));
    more.set(this.values);
    this.values = more;
  }

  finish(): Float64Array {
    const start = Math.max(0, this.length - this.most);
    this.dropped += start;
    return this.values.slice(start, this.length);
  }
}

/** Values of each series at each date, of which the newest `most` are kept: no more than twice as many are there at a time. */
class NewestDates {
  private readonly dates = new Map<number, Map<number, number[]>>();
  /** Dates up to this one are not wanted any more. */
  private floor = Number.NEGATIVE_INFINITY;
  /** Values that were left out. */
  dropped = 0;

  constructor(private readonly most: number) {}

  add(date: number, series: number, value: number): void {
    if (!this.dates.has(date) && this.dates.size >= 2 * this.most) this.dropOldest();
    if (date <= this.floor) {
      this.dropped++;
      return;
    }
    const at = this.dates.get(date) ?? new Map<number, number[]>();
    this.dates.set(date, at);
    at.set(series, [...(at.get(series) ?? []), value]);
  }

  private dropOldest(): void {
    const sorted = Float64Array.from(this.dates.keys()).sort();
    for (const date of sorted.subarray(0, Math.max(0, sorted.length - this.most))) {
      for (const values of this.dates.get(date)!.values()) this.dropped += values.length;
      this.dates.delete(date);
      this.floor = date;
    }
  }

  /** The newest, in the order of time. */
  finish(): [number, Map<number, number[]>][] {
    this.dropOldest();
    return [...this.dates].sort(([a], [b]) => a - b);
  }
}

/** @throws FileFormatError naming row and column */
function numberAt(file: string, row: CsvRow, column: number, name: string): number {
  const text = row.fields[column]?.trim() ?? '';
  if (MISSING.test(text)) return Number.NaN;
  const value = Number(text);
  if (Number.isFinite(value)) return value;
  const remedy = 'choose columns of numbers with --columns, or empty the field if the value is missing';
  throw new FileFormatError(file, `row ${row.number}, column ${name}: ${JSON.stringify(text)} is not a number`, remedy);
}

function dateOf(file: string, row: CsvRow, column: number, name: string): number {
  const text = row.fields[column] ?? '';
  const date = parseDate(text);
  if (!Number.isNaN(date)) return date;
  const problem = `row ${row.number}, column ${name}: ${JSON.stringify(text)} is not a date`;
  throw new FileFormatError(file, problem, 'write dates as 2016-07-01 or 2016-07-01 13:00:00');
}

/** A year alone is a date only where its column says so: it may be any number. */
const isDate = (text: string): boolean => !/^\d+$/.test(text.trim()) && !Number.isNaN(parseDate(text));

/** The column of dates: the one that is asked for, one by name, or the first whose first value is a date. */
function findDateColumn(file: string, names: readonly string[], first: CsvRow, wanted?: string): number {
  if (wanted !== undefined) {
    const at = names.indexOf(wanted);
    if (at >= 0) return at;
    const near = suggestion(wanted, names) || `; there are ${names.join(', ')}`;
    throw new FileFormatError(file, `has no column ${JSON.stringify(wanted)}${near}`);
  }
  const named = names.findIndex((name) => DATE_NAMES.includes(name.toLowerCase()));
  if (named >= 0) return named;
  const dated = first.fields.findIndex(isDate);
  if (dated >= 0) return dated;
  const problem = `has no date column: none of ${names.slice(0, 8).join(', ')} is called date or holds dates`;
  throw new FileFormatError(file, problem, 'name it with --date-column, or add one');
}

function checkFields(file: string, row: CsvRow, names: readonly string[]): void {
  if (row.fields.length === names.length) return;
  const problem = `row ${row.number}: ${row.fields.length} fields, but the first row names ${names.length} columns`;
  throw new FileFormatError(file, problem, 'every row needs all fields; leave those empty that are missing');
}

function checkNames(file: string, names: readonly string[]): void {
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined)
    throw new FileFormatError(file, `two columns are called ${JSON.stringify(twice)}`, 'rename one');
  const none = names.indexOf('');
  if (none >= 0) throw new FileFormatError(file, `column ${none + 1} has no name`, 'the first row names the columns');
}

/** @throws FileFormatError for a first row that is data: it would be lost as names */
function checkHead(file: string, names: readonly string[], dateAt: number): void {
  if (!isDate(names[dateAt])) return;
  throw new FileFormatError(file, `its first row holds the date ${names[dateAt]}, not names`, 'add a row of names');
}

interface Start {
  readonly names: string[];
  readonly dateAt: number;
  /** Variables that are asked for, all of which are there; null for all. */
  readonly wanted: readonly string[] | null;
}

async function readWide(file: string, rows: AsyncIterator<CsvRow>, start: Start, first: CsvRow, most: number) {
  const { names, dateAt, wanted } = start;
  const kept = names.map((_, i) => i).filter((i) => i !== dateAt && (!wanted || wanted.includes(names[i])));
  if (kept.length === 0) throw new FileFormatError(file, 'has dates but no values', 'add a column of numbers');
  const dates = new Ring(most);
  const columns = kept.map(() => new Ring(most));
  for (let row: CsvRow | undefined = first; row; row = await next(rows)) {
    checkFields(file, row, names);
    dates.push(dateOf(file, row, dateAt, names[dateAt]));
    for (let k = 0; k < kept.length; k++) columns[k].push(numberAt(file, row, kept[k], names[kept[k]]));
  }
  return {
    names: kept.map((i) => names[i]),
    dates: dates.finish(),
    columns: columns.map((c) => c.finish()),
    skippedRows: dates.dropped,
    unread: [],
  };
}

/** The columns of a long file by their usual names, or null. */
function longColumns(names: readonly string[]): { id: number; y: number } | null {
  const [id, ds, y] = ['unique_id', 'ds', 'y'].map((name) => names.indexOf(name));
  return id >= 0 && ds >= 0 && y >= 0 ? { id, y } : null;
}

/** One row for each date that any series has; a value that is given twice keeps a row of its own, as duplicates do. */
async function readLong(file: string, rows: AsyncIterator<CsvRow>, start: Start, first: CsvRow, most: number) {
  const { names, dateAt } = start;
  const { id, y } = longColumns(names)!;
  const byDate = new NewestDates(most);
  const series = new Map<string, number>();
  for (let row: CsvRow | undefined = first; row; row = await next(rows)) {
    checkFields(file, row, names);
    const name = row.fields[id].trim();
    if (name === '') throw new FileFormatError(file, `row ${row.number}, column unique_id: empty`, 'name the series');
    const k = series.get(name) ?? series.size;
    series.set(name, k);
    const date = dateOf(file, row, dateAt, names[dateAt]);
    byDate.add(date, k, numberAt(file, row, y, 'y'));
  }
  const sorted = byDate.finish();
  const depths = sorted.map(([, at]) => Math.max(...[...at.values()].map((v) => v.length)));
  const total = depths.reduce((sum, n) => sum + n, 0);
  const dates = new Float64Array(total);
  const columns = [...series].map(() => new Float64Array(total).fill(Number.NaN));
  let r = 0;
  sorted.forEach(([date, at], i) => {
    for (let depth = 0; depth < depths[i]; depth++, r++) {
      dates[r] = date;
      for (const [k, values] of at) columns[k][r] = values[Math.min(depth, values.length - 1)];
    }
  });
  const unread = names.filter((_, i) => ![id, dateAt, y].includes(i));
  return { names: [...series.keys()], dates, columns, skippedRows: byDate.dropped, unread };
}

async function next(rows: AsyncIterator<CsvRow>): Promise<CsvRow | undefined> {
  const { value, done } = await rows.next();
  return done ? undefined : value;
}

/**
 * Reads a table from text in pieces; `file` is what errors call it.
 * @throws FileFormatError for no date column, text in a number column, rows of another length, no rows
 */
export async function parseTable(
  file: string,
  pieces: Iterable<string> | AsyncIterable<string>,
  { dateColumn, columns, maxRows = Number.POSITIVE_INFINITY }: ReadOptions = {},
): Promise<RawTable> {
  const rows = rowsOf(file, pieces);
  try {
    const head = await next(rows);
    if (!head) throw new FileFormatError(file, 'is empty', 'give a CSV file whose first row names the columns');
    const names = head.fields.map((name) => name.trim());
    checkNames(file, names);
    const first = await next(rows);
    if (!first) throw new FileFormatError(file, 'has a first row with names but no data', 'give a row for each date');
    checkFields(file, first, names);
    const long = (dateColumn ?? 'ds') === 'ds' && longColumns(names) !== null;
    const dateAt = long ? names.indexOf('ds') : findDateColumn(file, names, first, dateColumn);
    checkHead(file, names, dateAt);
    const wanted = columns?.length && columns.every((name) => names.includes(name)) ? columns : null;
    const read = await (long ? readLong : readWide)(file, rows, { names, dateAt, wanted }, first, maxRows);
    return { file, form: long ? 'long' : 'wide', dateColumn: names[dateAt], ...read };
  } finally {
    await rows.return(undefined); // closes the file where reading ended early
  }
}

/** Reads a CSV file. @throws as `parseTable`; FileFormatError for a file that is not there or not UTF-8 */
export const readTable = (files: FileSystem, path: string, options: ReadOptions = {}): Promise<RawTable> =>
  parseTable(path, textPieces(files, path), options);
