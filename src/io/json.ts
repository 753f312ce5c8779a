/** JSON files: one-line errors, Python's `Infinity`, and keys that stand twice. */
import { FileFormatError } from '../core/index.ts';

const BARE_INFINITY = /"(?:[^"\\]|\\.)*"|\bInfinity\b/gs;

/**
 * Parses a JSON document. Bare `Infinity` and `-Infinity`, which Python writes into config files, are taken as
 * numbers. Throws FileFormatError naming `file`; it should have been checked that `text` is of reasonable size.
 */
export function parseJson(file: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (/\bInfinity\b/.test(text)) {
      try {
        // 1e999 overflows to infinity when parsed.
        return JSON.parse(text.replace(BARE_INFINITY, (token) => (token === 'Infinity' ? '1e999' : token)));
      } catch {
        // The first error is the one to report.
      }
    }
    throw new FileFormatError(file, `not valid JSON: ${oneLine(error)}`, 'write it again, or fetch it again');
  }
}

/** Parses a JSON document whose top level must be an object. */
export function parseJsonObject(file: string, text: string): Record<string, unknown> {
  const value = parseJson(file, text);
  if (!isRecord(value)) {
    throw new FileFormatError(
      file,
      `expected a JSON object, got ${describe(value)}`,
      'write it again, or fetch it again',
    );
  }
  return value;
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** End of the JSON string that starts at `start`: the index after its closing quote. */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; ; at++) {
    at = text.indexOf('"', at);
    let backslashes = 0;
    while (text[at - 1 - backslashes] === '\\') backslashes++;
    if (backslashes % 2 === 0) return at + 1;
  }
}

/**
 * First key that stands twice in one object of a valid JSON document, or undefined. Takes documents of any size and
 * depth, unlike a regular expression.
 */
export function findDuplicateKey(text: string): string | undefined {
  const scopes: (Set<string> | null)[] = [];
  let pending = '';
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '"') {
      const end = endOfString(text, at);
      pending = text.slice(at, end);
      at = end - 1;
    } else if (char === ':') {
      const key = JSON.parse(pending) as string;
      const scope = scopes[scopes.length - 1]!;
      if (scope.has(key)) return key;
      scope.add(key);
    } else if (char === '{') scopes.push(new Set());
    else if (char === '[') scopes.push(null);
    else if (char === '}' || char === ']') scopes.pop();
  }
  return undefined;
}

/** A value for an error message: short, on one line. */
export function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  let text: string;
  try {
    text = JSON.stringify(typeof value === 'string' ? value.slice(0, 60) : value) ?? String(value);
  } catch {
    return 'something nested too deeply';
  }
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** An error's message on one line, at most 200 characters. */
export function oneLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s+/g, ' ').trim().slice(0, 200);
}
