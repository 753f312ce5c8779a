/**
 * A mail as a model reads it, and the classification task as prompt and completion.
 * Subject and text come first and the question last, because a recurrent model reads once: at the question its state holds
 * the mail.
 */
import type { SpamRecord } from './spam.ts';

/** `Subject: ...`, an empty line, the body; at most `maxChars` UTF-16 units, never half a character, no blanks at the end. */
export function renderMail(record: Pick<SpamRecord, 'subject' | 'body'>, maxChars = Number.POSITIVE_INFINITY): string {
  const text = `Subject: ${record.subject}\n\n${record.body}`;
  if (text.length <= maxChars) return text.trimEnd();
  const isSplitPair = /[\ud800-\udbff]/.test(text[maxChars - 1] ?? '');
  return text.slice(0, isSplitPair ? maxChars - 1 : maxChars).trimEnd();
}
