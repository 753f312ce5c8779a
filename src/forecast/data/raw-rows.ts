/**
 * A CSV as it stands, read piece by piece: the text of a file is never in memory as a whole, its numbers are. Two forms:
 * wide (a date and a column for each variable) and long (`unique_id,ds,y`, a row for each value).
 */
import { FileFormatError } from '../../core/index.ts';
import { type CsvRecord, type FileSystem, parseCsv } from '../../io/index.ts';
import { parseDate } from './dates.ts';

const PIECE_BYTES = 4 << 20;
const NEWLINE = 0x0a;
/** Names that a column of dates usually has, in the order of preference. */
const DATE_NAMES = ['date', 'ds', 'datetime', 'timestamp', 'time'];
/** What stands for a missing value. */
const MISSING = new Set(['', 'na', 'nan', 'null', 'none', '-']);

/** Rows in the order of the file, before dates are compared. */
export interface RawRows {
  readonly source: string;
  /** Whether the file had a row for each value: its dates then come in the order of the ids. */
  readonly isLong: boolean;
  readonly names: string[];
  readonly times: number[];
  /** Line of the file of each row. */
  readonly lines: number[];
  /** NaN where a value is missing. */
  readonly columns: number[][];
}

/** Records of a file, a few thousand at a time; a line end inside of quotes is not for files of numbers. */
async function* readPieces(files: FileSystem, path: string): AsyncGenerator<CsvRecord[]> {
  const file = await files.open(path);
  try {
    const decoder = new TextDecoder('utf-8');
    let line = 1;
    let rest = new Uint8Array(0);
    let delimiter: string | undefined;
    for (let at = 0; at < file.size; at += PIECE_BYTES) {
      const read = await file.read(at, Math.min(PIECE_BYTES, file.size - at));
      const bytes = new Uint8Array(rest.length + read.length);
      bytes.set(rest);
      bytes.set(read, rest.length);
      const isLast = at + PIECE_BYTES >= file.size;
      const end = isLast ? bytes.length : bytes.lastIndexOf(NEWLINE) + 1;
      rest = bytes.slice(end);
      const text = decoder.decode(bytes.subarray(0, end));
      delimiter ??= delimiterOf(text);
      const first = line;
      yield parseCsv(text, path, delimiter).map((record) => ({ ...record, line: record.line + first - 1 }));
      line += text.split('\n').length - 1;
    }
  } finally {
    await file.close();
  }
}

/** The separator of the first line: a comma unless it has none, and semicolons or tabs instead. */
function delimiterOf(text: string): string {
  const head = text.slice(0, text.indexOf('\n') + 1 || text.length);
  return head.includes(',') ? ',' : ([';', '\t'].find((mark) => head.includes(mark)) ?? ',');
}

/** Number of the date column: the one that is asked for, one with a usual name, or the first that holds dates. */
function dateColumn(path: string, head: readonly string[], sample: readonly CsvRecord[], wanted?: string): number {
  if (wanted !== undefined) {
    const found = head.indexOf(wanted);
    if (found >= 0) return found;
    throw new FileFormatError(path, `no column ${JSON.stringify(wanted)}`, `it has ${head.join(', ')}`);
  }
  const lower = head.map((name) => name.toLowerCase());
  const named = DATE_NAMES.map((name) => lower.indexOf(name)).find((at) => at >= 0);
  if (named !== undefined) return named;
  const dated = head.findIndex(
    (_, i) => sample.length > 0 && sample.every(({ fields }) => Number.isFinite(parseDate(fields[i] ?? ''))),
  );
  if (dated >= 0) return dated;
  throw new FileFormatError(
    path,
    `no date column among ${head.slice(0, 8).join(', ')}`,
    'name it with --date, and write dates as 2016-07-01 13:00:00',
  );
}

/** A number of a field, NaN for a missing one. @throws FileFormatError naming line and column of text */
function numberIn(text: string, path: string, line: number, column: string): number {
  const trimmed = text.trim();
  if (MISSING.has(trimmed.toLowerCase())) return Number.NaN;
  const value = Number(trimmed);
  if (Number.isFinite(value)) return value;
  const what = `column ${column}: expected a number, got ${JSON.stringify(trimmed.slice(0, 40))}`;
  throw new FileFormatError(`${path}:${line}`, what, 'correct it, or leave it empty for a missing value');
}

/** @throws FileFormatError naming the line of what is no date */
function timeIn(text: string, path: string, line: number, column: string): number {
  const time = parseDate(text);
  if (Number.isFinite(time)) return time;
  const what = `column ${column}: expected a date, got ${JSON.stringify(text.slice(0, 40))}`;
  throw new FileFormatError(`${path}:${line}`, what, 'write dates as 2016-07-01 13:00:00');
}

export interface ReadOptions {
  /** Name of the date column, where it cannot be told. */
  readonly date?: string;
}

const LONG = ['unique_id', 'ds', 'y'];

/**
 * All rows of a file, wide or long.
 * @throws FileFormatError for no header, no date column, text in a column of numbers, a row of another length
 */
export async function readRawRows(files: FileSystem, path: string, options: ReadOptions = {}): Promise<RawRows> {
  let sink: ((record: CsvRecord) => void) | null = null;
  let rows: RawRows | null = null;
  for await (const records of readPieces(files, path)) {
    if (records.length === 0) continue;
    if (!sink) {
      const { fields } = records.shift()!;
      const head = fields.map((name, i) => name.trim() || `column ${i + 1}`);
      const isLong = LONG.every((name) => head.includes(name));
      rows = { source: path, isLong, names: [], times: [], lines: [], columns: [] };
      sink = isLong
        ? longSink(rows, head)
        : wideSink(rows, head, dateColumn(path, head, records.slice(0, 20), options.date));
    }
    records.forEach(sink);
  }
  if (!rows || rows.times.length === 0) throw new FileFormatError(path, 'has no rows', 'give a CSV with a header line');
  return rows;
}

function checkWidth(path: string, { fields, line }: CsvRecord, head: readonly string[]): void {
  if (fields.length === head.length) return;
  throw new FileFormatError(
    `${path}:${line}`,
    `${fields.length} fields, the header has ${head.length}`,
    'correct the row',
  );
}

function wideSink(rows: RawRows, head: readonly string[], date: number): (record: CsvRecord) => void {
  const path = rows.source;
  const others = head.map((name, at) => ({ name, at })).filter(({ at }) => at !== date);
  if (others.length === 0) throw new FileFormatError(path, 'has no column besides the dates', 'add one to forecast');
  const twice = others.find(({ name }, i) => others.findIndex((o) => o.name === name) < i);
  if (twice) throw new FileFormatError(path, `two columns are named ${twice.name}`, 'rename one of them');
  rows.names.push(...others.map(({ name }) => name));
  rows.columns.push(...others.map(() => []));
  return (record) => {
    checkWidth(path, record, head);
    const { fields, line } = record;
    rows.times.push(timeIn(fields[date], path, line, head[date]));
    rows.lines.push(line);
    others.forEach(({ name, at }, k) => {
      rows.columns[k].push(numberIn(fields[at], path, line, name));
    });
  };
}

/** Values by date: a variable for each id. Dates come in the order of their first row; one id may not repeat a date. */
function longSink(rows: RawRows, head: readonly string[]): (record: CsvRecord) => void {
  const path = rows.source;
  const [id, ds, y] = LONG.map((name) => head.indexOf(name));
  const variables = new Map<string, number>();
  const rowOf = new Map<number, number>();
  const lastTime = new Map<number, number>();
  return (record) => {
    checkWidth(path, record, head);
    const { fields, line } = record;
    const time = timeIn(fields[ds], path, line, 'ds');
    let k = variables.get(fields[id]);
    if (k === undefined) {
      k = variables.size;
      variables.set(fields[id], k);
      rows.names.push(fields[id]);
      rows.columns.push(rows.times.map(() => Number.NaN));
    }
    if (time <= (lastTime.get(k) ?? Number.NEGATIVE_INFINITY)) {
      const what = `${fields[id]}: ${fields[ds]} does not come after the date before it`;
      throw new FileFormatError(`${path}:${line}`, what, 'sort the rows of each unique_id by ds, each date once');
    }
    lastTime.set(k, time);
    let row = rowOf.get(time);
    if (row === undefined) {
      row = rows.times.length;
      rowOf.set(time, row);
      rows.times.push(time);
      rows.lines.push(line);
      for (const column of rows.columns) column.push(Number.NaN);
    }
    rows.columns[k][row] = numberIn(fields[y], path, line, 'y');
  };
}

/** Rows of a long file by time: its series may begin at different dates, and each is sorted. */
export function sortedByTime(rows: RawRows): RawRows {
  const order = rows.times.map((_, i) => i).sort((a, b) => rows.times[a] - rows.times[b]);
  const pick = (values: readonly number[]) => order.map((i) => values[i]);
  return { ...rows, times: pick(rows.times), lines: pick(rows.lines), columns: rows.columns.map(pick) };
}
