/**
 * Answers that are kept, so that an interrupted evaluation goes on where it was: one JSON object a line, appended as
 * answers come. A line that a crash cut short is dropped and asked again.
 */
import { FileFormatError, textHash } from '../../core/index.ts';
import { describe, type FileSystem, isRecord, oneLine } from '../../io/index.ts';
import type { EvalAnswer, EvalRequest } from '../requests.ts';

export interface AnswerCache {
  /** Under which a request's answer is kept; `limit` is all besides the request that decides it. */
  keyOf(request: EvalRequest, limit: number): Promise<string>;
  get(key: string): EvalAnswer | undefined;
  /** Returns when the answers are on the disk. */
  put(entries: readonly (readonly [key: string, answer: EvalAnswer])[]): Promise<void>;
}

const isText = (value: unknown): value is string => typeof value === 'string';
const isNumber = (value: unknown): value is number => typeof value === 'number';

function answerFrom(value: unknown): EvalAnswer | null {
  if (!isRecord(value)) return null;
  const { kind, logprob, isGreedy, text } = value;
  if (kind === 'loglikelihood' && isNumber(logprob) && typeof isGreedy === 'boolean')
    return { kind, logprob, isGreedy };
  if (kind === 'rolling' && isNumber(logprob)) return { kind, logprob };
  return kind === 'generate' && isText(text) ? { kind, text } : null;
}

/** The answers of a file's complete lines, and how many bytes those take. */
function parseAnswers(path: string, content: string) {
  const whole = content.slice(0, content.lastIndexOf('\n') + 1);
  const answers = new Map<string, EvalAnswer>();
  whole.split('\n').forEach((line, i) => {
    if (line === '') return;
    const fail = (problem: string) =>
      new FileFormatError(`${path}:${i + 1}`, problem, 'remove the file to ask everything again');
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch (error) {
      throw fail(`not a kept answer: ${oneLine(error)}`);
    }
    const answer = isRecord(value) ? answerFrom(value.answer) : null;
    if (!isRecord(value) || !isText(value.key) || !answer) throw fail(`not a kept answer: ${describe(value)}`);
    answers.set(value.key, answer);
  });
  return { answers, bytes: new TextEncoder().encode(whole).length };
}

/**
 * Opens the answers kept in a file, made if absent.
 * @param identity what the answers are of: weights, adapter, precision, tokenizer; others' answers are not given out
 * @throws FileFormatError for a file that holds something else
 */
export async function openAnswerCache(files: FileSystem, path: string, identity: string): Promise<AnswerCache> {
  const content = (await files.exists(path)) ? await files.readText(path) : '';
  const { answers, bytes } = parseAnswers(path, content);
  const file = await files.openWritable(path);
  await file.truncate(bytes);
  await file.close();
  return {
    keyOf: (request, limit) => textHash(JSON.stringify([identity, limit, request])),
    get: (key) => answers.get(key),
    async put(entries) {
      const lines = entries.map(([key, answer]) => `${JSON.stringify({ key, answer })}\n`);
      const open = await files.openWritable(path);
      try {
        await open.write(new TextEncoder().encode(lines.join('')));
        await open.sync();
      } finally {
        await open.close();
      }
      for (const [key, answer] of entries) answers.set(key, answer);
    },
  };
}
