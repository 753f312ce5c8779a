/** JSON Lines, streamed: files larger than memory, errors with line numbers. */
import { FileFormatError } from '../core/index.ts';
import type { FileSystem } from './files.ts';
import { describe, oneLine } from './json.ts';

/** No record of text is this long; a longer line is a file of another format. */
export const MOST_LINE_BYTES = 64 << 20;
const CHUNK_BYTES = 1 << 20;
const NEWLINE = 0x0a;

export interface Line {
  /** Counted from 1. */
  readonly line: number;
  readonly text: string;
}

export interface LinesOptions {
  /** A longer line is an error. */
  mostLineBytes?: number;
  /** Bytes read at a time. */
  chunkBytes?: number;
}

/**
 * Lines of a UTF-8 file, without their ends (`\n` or `\r\n`) and without a byte-order mark; blank lines are skipped but
 * counted. Holds one line and one piece of the file at a time.
 * @throws FileFormatError with the line number, for invalid UTF-8 or a line that is too long
 */
export async function* readLines(files: FileSystem, path: string, options: LinesOptions = {}): AsyncGenerator<Line> {
  const { mostLineBytes = MOST_LINE_BYTES, chunkBytes = CHUNK_BYTES } = options;
  const file = await files.open(path);
  try {
    let line = 1;
    let pending: Uint8Array[] = [];
    let pendingBytes = 0;
    for (let offset = 0; offset < file.size; offset += chunkBytes) {
      const chunk = await file.read(offset, Math.min(chunkBytes, file.size - offset));
      let start = 0;
      for (;;) {
        const end = chunk.indexOf(NEWLINE, start);
        const part = chunk.subarray(start, end < 0 ? chunk.length : end);
        if (pendingBytes + part.length > mostLineBytes) throw tooLong(path, line, mostLineBytes);
        if (end < 0) {
          if (part.length) pending.push(part);
          pendingBytes += part.length;
          break;
        }
        const text = decodeLine(path, line, pending.length ? concat([...pending, part]) : part);
        if (text.trim() !== '') yield { line, text };
        pending = [];
        pendingBytes = 0;
        line++;
        start = end + 1;
      }
    }
    const text = decodeLine(path, line, concat(pending));
    if (text.trim() !== '') yield { line, text };
  } finally {
    await file.close();
  }
}

const tooLong = (path: string, line: number, most: number) =>
  new FileFormatError(`${path}:${line}`, `the line is longer than ${most} bytes`, 'write one JSON record per line');

/** Several pieces as one array. */
function concat(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 1) return parts[0];
  const whole = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decodeLine(path: string, line: number, bytes: Uint8Array): string {
  const isMarked = line === 1 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
  const end = bytes[bytes.length - 1] === 0x0d ? bytes.length - 1 : bytes.length;
  try {
    return utf8.decode(bytes.subarray(isMarked ? 3 : 0, end));
  } catch {
    const isUtf16 = line === 1 && (bytes[0] ^ bytes[1]) === 0x01 && (bytes[0] | 1) === 0xff;
    throw new FileFormatError(`${path}:${line}`, isUtf16 ? 'UTF-16 text' : 'not valid UTF-8', 'save the file as UTF-8');
  }
}

/**
 * Values of a JSON Lines file in order.
 * @throws FileFormatError `file:line: ...` for a line that is not JSON
 */
export async function* readJsonl(
  files: FileSystem,
  path: string,
  options?: LinesOptions,
): AsyncGenerator<{ line: number; value: unknown }> {
  for await (const { line, text } of readLines(files, path, options)) {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      const problem = `not valid JSON: ${oneLine(error)} in ${describe(text)}`;
      throw new FileFormatError(`${path}:${line}`, problem, 'write one JSON record per line');
    }
    yield { line, value };
  }
}

/** Values as JSON Lines, as bytes for `writeAtomic`. */
export function* formatJsonl(values: Iterable<unknown>): Generator<Uint8Array> {
  const encoder = new TextEncoder();
  for (const value of values) yield encoder.encode(`${JSON.stringify(value)}\n`);
}
