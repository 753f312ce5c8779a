/** CSV as RFC 4180 has it: fields in double quotes may hold commas, line ends and doubled quotes. Read and written by Papa Parse. */
import Papa from 'papaparse';
import { FileFormatError } from '../core/index.ts';

export interface CsvRecord {
  /** Line of the file that it begins on, counted from 1. */
  readonly line: number;
  readonly fields: readonly string[];
}

const linesIn = (text: string): number => text.split('\n').length - 1;

const PROBLEMS: Partial<Record<Papa.ParseError['code'], string>> = {
  MissingQuotes: 'a quoted field has no end',
  InvalidQuotes: 'text goes on after a closing quote',
};

/**
 * Records of a CSV text; blank lines are skipped, and lines end with `\n` or `\r\n`, which is `\n` in fields too.
 * @param where the file, for errors
 * @throws FileFormatError for a quoted field that does not end, or goes on after its closing quote
 */
export function parseCsv(text: string, where: string, delimiter = ','): CsvRecord[] {
  const records: CsvRecord[] = [];
  let line = 1;
  let read = 0;
  const lines = text.replaceAll('\r\n', '\n');
  Papa.parse<string[]>(lines, {
    delimiter,
    newline: '\n',
    step({ data, errors, meta }) {
      const problem = errors.map(({ code, message }) => PROBLEMS[code] ?? message)[0];
      if (problem) throw new FileFormatError(`${where}:${line}`, problem, 'write the CSV again');
      if (data.length > 1 || data[0].trim() !== '') records.push({ line, fields: data });
      line += linesIn(lines.slice(read, meta.cursor));
      read = meta.cursor;
    },
  });
  return records;
}

export type CsvValue = string | number | null | undefined;

/** Formats a number; a value that is not finite gives an empty field. */
const plain = (value: CsvValue): string | number =>
  value === null || value === undefined || (typeof value === 'number' && !Number.isFinite(value)) ? '' : value;

/** Figures for spreadsheets and data frames, lines ended by \n. */
export const formatCsv = (head: readonly string[], rows: readonly (readonly CsvValue[])[]): string =>
  `${Papa.unparse([[...head], ...rows.map((row) => row.map(plain))], { newline: '\n' })}\n`;
