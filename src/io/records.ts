/**
 * Training records: one JSON object of one of four shapes. Where an object would fit several, the first of these is
 * taken; keys besides are ignored, since data sets carry ids and sources along.
 *
 *   {"messages": [{"role", "content"}]}   a conversation
 *   {"prompt", "completion"}              text to be completed; the loss counts the completion
 *   {"text", "label"}                     text to be classified
 *   {"text"}                              plain text
 */
import { z } from 'zod';
import { FileFormatError } from '../core/index.ts';
import { describeIssues } from './config-keys.ts';
import type { FileSystem } from './files.ts';
import { describe, isRecord } from './json.ts';
import { type LinesOptions, readJsonl } from './jsonl.ts';
import { nearest } from './nearest.ts';

export const ROLES = ['system', 'user', 'assistant', 'tool'] as const;

const messageSchema = z.object({ role: z.enum(ROLES), content: z.string() });
const SHAPES = [
  { kind: 'chat', keys: ['messages'], schema: z.object({ messages: z.array(messageSchema).min(1) }) },
  {
    kind: 'completion',
    keys: ['prompt', 'completion'],
    schema: z.object({ prompt: z.string(), completion: z.string() }),
  },
  {
    kind: 'labelled',
    keys: ['text', 'label'],
    schema: z.object({ text: z.string(), label: z.union([z.string(), z.number(), z.boolean()]).transform(String) }),
  },
  { kind: 'text', keys: ['text'], schema: z.object({ text: z.string() }) },
] as const;

export type Message = z.infer<typeof messageSchema>;

export type TrainingRecord =
  | { readonly kind: 'chat'; readonly messages: readonly Message[] }
  | { readonly kind: 'completion'; readonly prompt: string; readonly completion: string }
  | { readonly kind: 'labelled'; readonly text: string; readonly label: string }
  | { readonly kind: 'text'; readonly text: string };

export const RECORD_SHAPES = '{"text"}, {"text","label"}, {"prompt","completion"} or {"messages":[{"role","content"}]}';

/**
 * One record from a parsed JSON value.
 * @param where `file:line`, for errors
 * @throws FileFormatError saying what was expected and what was found
 */
export function parseRecord(value: unknown, where: string): TrainingRecord {
  const remedy = `each line is one of ${RECORD_SHAPES}`;
  if (!isRecord(value)) throw new FileFormatError(where, `expected an object, got ${describe(value)}`, remedy);
  const shape = SHAPES.find(({ keys }) => keys.every((key) => Object.hasOwn(value, key)));
  if (!shape) throw new FileFormatError(where, unmatched(value), remedy);
  const result = shape.schema.safeParse(value);
  if (!result.success) throw new FileFormatError(where, describeIssues(shape.schema, value, result.error), remedy);
  return { kind: shape.kind, ...result.data } as TrainingRecord;
}

/** Why no shape fits: a key's partner is missing, or a key is misspelt. */
function unmatched(value: Record<string, unknown>): string {
  const keys = Object.keys(value);
  const known = [...new Set(SHAPES.flatMap((shape) => shape.keys as readonly string[]))];
  const half = SHAPES.find((shape) => (shape.keys as readonly string[]).some((key) => Object.hasOwn(value, key)));
  const missing = half?.keys.filter((key) => !Object.hasOwn(value, key)) ?? [];
  const misspelt = keys
    .filter((key) => !known.includes(key))
    .map((key) => ({ key, near: nearest(key, missing.length ? missing : known) }))
    .find(({ near }) => near !== undefined);
  const hint = misspelt ? ` (did you mean ${misspelt.near} by ${describe(misspelt.key)}?)` : '';
  if (half && missing.length) return `${half.keys.filter((k) => !missing.includes(k))} without ${missing}${hint}`;
  return `keys ${keys.map(describe).join(', ') || '(none)'} make no record${hint}`;
}

export interface NumberedRecord {
  /** Line of the file, counted from 1. */
  readonly line: number;
  readonly record: TrainingRecord;
}

/**
 * Records of a JSON Lines file in order, streamed.
 * @throws FileFormatError with file and line for the first that is none, and for a file without any
 */
export async function* readRecords(
  files: FileSystem,
  path: string,
  options?: LinesOptions,
): AsyncGenerator<NumberedRecord> {
  let count = 0;
  for await (const { line, value } of readJsonl(files, path, options)) {
    yield { line, record: parseRecord(value, `${path}:${line}`) };
    count++;
  }
  if (count === 0) throw new FileFormatError(path, 'no records', `each line is one of ${RECORD_SHAPES}`);
}
