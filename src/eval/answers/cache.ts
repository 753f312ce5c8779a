/**
 * Answers that are kept, so that an interrupted evaluation goes on where it was: one JSON object a line, appended as
 * answers come. A line that a crash cut short is dropped and asked again.
 */
import { CellLog, type FileSystem, identityHash, isRecord } from '../../io/index.ts';
import type { EvalAnswer, EvalRequest } from '../requests.ts';

export interface AnswerCache {
  /** Key of a request's result. `limit` is everything else that the result depends on. */
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

/**
 * Opens the answers kept in a file, made if absent.
 * @param identity what the answers are of: weights, adapter, precision, tokenizer; others' answers are not given out
 * @throws FileFormatError for a file that holds something else
 */
export async function openAnswerCache(files: FileSystem, path: string, identity: string): Promise<AnswerCache> {
  const log = await CellLog.open<EvalAnswer>(files, path, {
    noun: 'answer',
    resultOf: answerFrom,
    remedy: 'remove the file to ask everything again',
  });
  return {
    keyOf: (request, limit) => identityHash([identity, limit, request]),
    get: (key) => log.get(key),
    put: (entries) => log.put(entries),
  };
}
