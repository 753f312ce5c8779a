/** CSV as RFC 4180 has it: fields in double quotes may hold commas, line ends and doubled quotes. */
import { FileFormatError } from '../core/index.ts';

export interface CsvRecord {
  /** Line of the file that it begins on, counted from 1. */
  readonly line: number;
  readonly fields: readonly string[];
}

/**
 * Records of a CSV text; blank lines are skipped. Lines end with `\n` or `\r\n`.
 * @param where the file, for errors
 * @throws FileFormatError for a quoted field that does not end, or goes on after its closing quote
 */
export function parseCsv(text: string, where: string, delimiter = ','): CsvRecord[] {
  const records: CsvRecord[] = [];
  let line = 1;
  let at = 0;
  const fail = (problem: string) => new FileFormatError(`${where}:${line}`, problem, 'write the CSV again');

  /** A field in quotes that begins at `at`, which is left behind it. */
  const quoted = (): string => {
    let value = '';
    for (at++; ; at++) {
      const end = text.indexOf('"', at);
      if (end < 0) throw fail('a quoted field has no end');
      value += text.slice(at, end);
      at = end + 1;
      if (text[at] !== '"') return value;
      value += '"';
    }
  };
  const plain = (): string => {
    const begin = at;
    while (at < text.length && text[at] !== delimiter && text[at] !== '\n') at++;
    return text.slice(begin, text[at - 1] === '\r' && at > begin && text[at] !== delimiter ? at - 1 : at);
  };

  while (at < text.length) {
    const begin = line;
    const fields: string[] = [];
    for (;;) {
      const from = at;
      const isQuoted = text[at] === '"';
      fields.push(isQuoted ? quoted() : plain());
      for (let i = text.indexOf('\n', from); i >= 0 && i < at; i = text.indexOf('\n', i + 1)) line++;
      if (isQuoted && text[at] === '\r') at++;
      if (text[at] !== delimiter) break;
      at++;
    }
    if (at < text.length && text[at] !== '\n')
      throw fail(`text goes on after a closing quote: ${text.slice(at, at + 20)}`);
    at++;
    if (fields.length > 1 || fields[0].trim() !== '') records.push({ line: begin, fields });
    line++;
  }
  return records;
}
