/** The texts that are read, as tokens: from documents, each by itself, or from one long text cut into parts. */
import { UsageError } from 'krait/core';
import type { Tokenizer } from 'krait/io';
import type { StabilitySettings } from './settings.ts';

/** Cuts a text into parts of about equal length, each but the first from the beginning of a line or word. */
export function cutText(text: string, parts: number): string[] {
  const starts = Array.from({ length: parts }, (_, i) => {
    const at = Math.floor((i * text.length) / parts);
    if (i === 0) return 0;
    const space = /\s/g;
    space.lastIndex = at;
    const found = space.exec(text);
    return found ? found.index + 1 : text.length;
  });
  return starts.map((start, i) => text.slice(start, starts[i + 1] ?? text.length));
}

/**
 * The beginnings of the first documents that are long enough, in tokens.
 * @param source what the documents are, for the error
 * @throws UsageError if there are too few of them
 */
export function tokensOf(
  tokenizer: Tokenizer,
  documents: readonly string[],
  { texts, warmup, horizon }: StabilitySettings,
  source: string,
): number[][] {
  const length = warmup + horizon;
  const found: number[][] = [];
  let longest = 0;
  for (const text of documents) {
    if (found.length === texts) break;
    const tokens = tokenizer.encode(text);
    longest = Math.max(longest, tokens.length);
    if (tokens.length >= length) found.push(tokens.slice(0, length));
  }
  if (found.length === texts) return found;
  const got = `${found.length} of at least ${length} tokens (the longest has ${longest})`;
  throw new UsageError(
    `${source}: ${texts} texts are wanted, got ${got}; give longer texts, or fewer and shorter ones`,
  );
}
