/** Configuration objects checked by zod, with errors that fit on a line and name the nearest known key. */
import { z } from 'zod';
import { ConfigError } from '../core/index.ts';
import { describe } from './json.ts';
import { nearest, suggestion } from './nearest.ts';

type Path = readonly PropertyKey[];

const formatPath = (path: Path): string =>
  path.reduce<string>(
    (text, key) => text + (typeof key === 'number' ? `[${key}]` : `${text && '.'}${String(key)}`),
    '',
  );

/** The schema at a path, as far as objects, lists and wrappers lead to it. */
function schemaAt(schema: unknown, path: Path): unknown {
  let at = schema;
  for (const key of [...path, undefined]) {
    while (at instanceof z.ZodOptional || at instanceof z.ZodNullable || at instanceof z.ZodDefault) at = at.unwrap();
    if (key === undefined) return at;
    if (at instanceof z.ZodObject) at = at.shape[key as string];
    else if (at instanceof z.ZodArray) at = at.element;
    else return undefined;
  }
  return at;
}

const valueAt = (value: unknown, path: Path): unknown =>
  path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], value);

/** Text of one issue: `unknown key learning_rte (did you mean learning_rate?)`. */
function describeIssue(schema: z.ZodType, value: unknown, issue: z.core.$ZodIssue): string {
  const where = formatPath(issue.path);
  if (issue.code === 'unrecognized_keys') {
    const object = schemaAt(schema, issue.path);
    const known = object instanceof z.ZodObject ? Object.keys(object.shape) : [];
    const prefix = where && `${where}.`;
    const keys = issue.keys.map((key) => `${prefix}${key}${suggestion(key, known)}`);
    const all = known.length && !issue.keys.some((key) => nearest(key, known)) ? `, known are ${known.join(', ')}` : '';
    return `unknown key${keys.length > 1 ? 's' : ''} ${keys.join(', ')}${all}`;
  }
  const got = valueAt(value, issue.path);
  const isMissing = got === undefined && issue.path.length > 0;
  const what = isMissing ? 'is missing' : `${describe(got)}:`;
  const reason = issue.message
    .replace(/\s+/g, ' ')
    .replace(/, received .*$/, '')
    .replace(/^(Invalid (input|option)|Too (big|small)): /, '');
  return `${where ? `${where} ` : ''}${what} ${isMissing ? `(${reason})` : reason}`;
}

/** Every issue on one line. */
export const describeIssues = (schema: z.ZodType, value: unknown, error: z.ZodError): string =>
  error.issues.map((issue) => describeIssue(schema, value, issue)).join('; ');

/**
 * Parses a configuration object; unknown keys are errors where the schema's objects are strict (`z.strictObject`).
 * @param where the file or flag that the value came from
 * @throws ConfigError: `where: unknown key learning_rte (did you mean learning_rate?)`
 */
export function parseStrict<T extends z.ZodType>(schema: T, value: unknown, where: string): z.output<T> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new ConfigError(`${where}: ${describeIssues(schema, value, result.error)}`);
}
