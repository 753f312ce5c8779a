/** JSON files: one-line errors, Python's `Infinity`, and keys that stand twice. */
import { FileFormatError } from '../core/index.ts';

const STRING = /"(?:[^"\\]|\\.)*"/.source;
const TOKENS = new RegExp(`${STRING}|[{}[\\],:]`, 'gs');
const BARE_INFINITY = new RegExp(`${STRING}|\\bInfinity\\b`, 'gs');

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

/** First key that stands twice in one object of a valid JSON document, or undefined. */
export function findDuplicateKey(text: string): string | undefined {
  const scopes: (Set<string> | null)[] = [];
  let pending: string | undefined;
  for (const [token] of text.matchAll(TOKENS)) {
    if (token[0] === '"') pending = token;
    else if (token === ':') {
      const key = JSON.parse(pending!) as string;
      const scope = scopes[scopes.length - 1]!;
      if (scope.has(key)) return key;
      scope.add(key);
    } else if (token === '{') scopes.push(new Set());
    else if (token === '[') scopes.push(null);
    else if (token !== ',') scopes.pop();
  }
  return undefined;
}

/** A value for an error message: short, on one line. */
export function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** An error's message on one line, at most 200 characters. */
export function oneLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s+/g, ' ').trim().slice(0, 200);
}
