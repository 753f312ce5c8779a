/**
 * Rows of a CSV file (RFC 4180: quotes, line breaks inside them), read in pieces: of the text no more than one piece is
 * in memory at a time, so that a file may be larger than it. The delimiter is guessed from the first piece.
 */
import Papa from 'papaparse';
import { FileFormatError } from '../../core/index.ts';
import type { FileSystem } from '../../io/index.ts';

/** Bytes read at once. */
const PIECE = 1 << 20;

/** A row's fields and its number in the file: the first, which names the columns, is 1. */
export interface CsvRow {
  readonly number: number;
  readonly fields: readonly string[];
}

type Parser = { parse(text: string, baseIndex: number, ignoreLastRow: boolean): Papa.ParseResult<string[]> };

class RowReader {
  private parser: Parser | null = null;
  private rest = '';
  private count = 0;

  constructor(private readonly file: string) {}

  /** Rows that are complete with this text; the last call has `isLast` and gives what is left. */
  *add(text: string, isLast: boolean): Generator<CsvRow> {
    this.rest += text;
    if (!this.parser) {
      const delimiter = guessDelimiter(this.rest);
      // The package's own chunk reader does the same; it is exported with its types.
      this.parser = new Papa.Parser({ delimiter, newline: guessNewline(this.rest) }) as unknown as Parser;
    }
    const { data, meta, errors } = this.parser.parse(this.rest, 0, !isLast);
    if (isLast && errors.length > 0) {
      const { row = 0, message } = errors[0];
      throw new FileFormatError(this.file, `row ${this.count + row + 1}: ${message}`, 'close the quotes');
    }
    this.rest = this.rest.slice(meta.cursor);
    for (const fields of data) {
      this.count++;
      if (fields.length > 1 || fields[0]?.trim()) yield { number: this.count, fields };
    }
  }
}

/** The candidate that stands most often in the first line. */
function guessDelimiter(text: string): string {
  const line = text.slice(0, text.search(/\r|\n|$/));
  const counts = [',', ';', '\t', '|'].map((mark) => ({ mark, count: line.split(mark).length }));
  return counts.reduce((best, one) => (one.count > best.count ? one : best)).mark;
}

const guessNewline = (text: string): '\r\n' | '\n' | '\r' => (/\r\n|\n|\r/.exec(text)?.[0] ?? '\n') as '\n';

/**
 * The rows of a text that comes in pieces; empty lines are left out but counted.
 * @throws FileFormatError for quotes that are never closed
 */
export async function* rowsOf(file: string, pieces: Iterable<string> | AsyncIterable<string>): AsyncGenerator<CsvRow> {
  const reader = new RowReader(file);
  for await (const piece of pieces) yield* reader.add(piece, false);
  yield* reader.add('', true);
}

/** A file's text in pieces, without a byte-order mark. @throws FileFormatError if it is not UTF-8 */
export async function* textPieces(files: FileSystem, path: string): AsyncGenerator<string> {
  const file = await files.open(path);
  const decoder = new TextDecoder('utf-8', { fatal: true });
  try {
    for (let at = 0; at < file.size; at += PIECE) {
      const bytes = await file.read(at, Math.min(PIECE, file.size - at));
      yield decode(decoder, path, bytes, at + PIECE < file.size);
    }
  } finally {
    await file.close();
  }
}

function decode(decoder: TextDecoder, path: string, bytes: Uint8Array, stream: boolean): string {
  try {
    return decoder.decode(bytes, { stream });
  } catch (error) {
    throw new FileFormatError(path, 'is not UTF-8 text', `save it as UTF-8 (${(error as Error).message})`);
  }
}
