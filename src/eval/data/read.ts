/** Rows of the files that data sets come in. */
import { FileFormatError } from '../../core/index.ts';
import { describe, type FileSystem, isRecord, parseCsv, parseJson, readJsonl, readParquet } from '../../io/index.ts';
import type { Row } from '../tasks/index.ts';

/** A row, and its place for errors. */
export interface PlacedRow {
  readonly row: Row;
  readonly where: string;
}

const REMEDY = 'write one JSON object per line, a CSV with a header, or parquet';

async function readJsonLines(files: FileSystem, path: string): Promise<PlacedRow[]> {
  const rows: PlacedRow[] = [];
  for await (const { line, value } of readJsonl(files, path)) {
    const where = `${path}:${line}`;
    if (!isRecord(value)) throw new FileFormatError(where, `expected an object, got ${describe(value)}`, REMEDY);
    rows.push({ row: value, where });
  }
  return rows;
}

/** A list of objects, or one object a line. */
async function readJsonFile(files: FileSystem, path: string): Promise<PlacedRow[]> {
  const text = await files.readText(path);
  if (!text.trimStart().startsWith('[')) return readJsonLines(files, path);
  const list = parseJson(path, text) as unknown[];
  return list.map((row, i) => {
    const where = `${path}[${i}]`;
    if (!isRecord(row)) throw new FileFormatError(where, `expected an object, got ${describe(row)}`, REMEDY);
    return { row, where };
  });
}

/** @param columns of a file without a header; a first record that is them is the header all the same */
async function readCsvFile(files: FileSystem, path: string, columns?: readonly string[]): Promise<PlacedRow[]> {
  const records = parseCsv(await files.readText(path), path);
  if (records.length === 0) return [];
  const hasHeader = !columns || columns.every((name, i) => records[0].fields[i] === name);
  const names = hasHeader ? records[0].fields : columns;
  return records.slice(hasHeader ? 1 : 0).map(({ line, fields }) => {
    const where = `${path}:${line}`;
    if (fields.length !== names.length) {
      throw new FileFormatError(where, `${fields.length} fields, expected ${names.join(', ')}`, REMEDY);
    }
    return { row: Object.fromEntries(names.map((name, i) => [name, fields[i]])), where };
  });
}

/** Labels that stand in a file of their own, one a line, as PIQA's do: `valid-labels.lst` beside `valid.jsonl`. */
async function withLabels(files: FileSystem, path: string, rows: readonly PlacedRow[]): Promise<PlacedRow[]> {
  const labels = path.replace(/\.jsonl$/, '-labels.lst');
  if (!path.endsWith('.jsonl') || !(await files.exists(labels))) return [...rows];
  const lines = (await files.readText(labels)).split('\n').map((line) => line.trim());
  while (lines[lines.length - 1] === '') lines.pop();
  if (lines.length !== rows.length) {
    throw new FileFormatError(labels, `${lines.length} labels of ${rows.length} rows`, `fetch both files again`);
  }
  return rows.map(({ row, where }, i) => ({ row: { ...row, label: Number(lines[i]) }, where }));
}

/**
 * Rows of one file, by its ending: .jsonl, .json, .csv or .parquet.
 * @throws FileFormatError for a file that is not what its ending says
 */
export async function readRows(files: FileSystem, path: string, columns?: readonly string[]): Promise<PlacedRow[]> {
  const [, ending = ''] = /\.(\w+)$/.exec(path) ?? [];
  switch (ending) {
    case 'jsonl':
      return withLabels(files, path, await readJsonLines(files, path));
    case 'json':
      return readJsonFile(files, path);
    case 'csv':
      return readCsvFile(files, path, columns);
    case 'parquet':
      return (await readParquet(files, path)).map((row, i) => ({ row, where: `${path}, row ${i + 1}` }));
    default:
      throw new FileFormatError(path, 'data of this kind cannot be read', REMEDY);
  }
}
