/**
 * A mail as a model reads it, and the classification task as prompt and completion.
 * Subject and text come first and the question last, because a recurrent model reads once: at the question its state holds
 * the mail.
 */
import type { SpamRecord } from './spam.ts';

/** Half of a character pair is never left at the end of a piece. */
const cutBefore = (text: string, end: number): string =>
  text.slice(0, /[\ud800-\udbff]/.test(text[end - 1] ?? '') ? end - 1 : end);

/** `Subject: ...`, an empty line, the body; at most `maxChars` UTF-16 units, never half a character, no blanks at the end. */
export function renderMail(record: Pick<SpamRecord, 'subject' | 'body'>, maxChars = Number.POSITIVE_INFINITY): string {
  const text = `Subject: ${record.subject}\n\n${record.body}`;
  if (text.length <= maxChars) return text.trimEnd();
  return cutBefore(text, maxChars).trimEnd();
}

/** Characters of a sender that are read. */
const SENDER_CHARS = 60;

/**
 * A mail as one takes it in at a glance: the sender, the subject and the beginning of the text, and its end. Of a mail of
 * more than `head + tail` UTF-16 units (the sender aside) the middle is left out, and `...` stands for it.
 */
export function excerptMail(
  record: Omit<SpamRecord, 'id' | 'label'>,
  { head, tail }: { head: number; tail: number },
): string {
  const sender = cutBefore((record.from ?? '').replace(/\s+/g, ' ').trim(), SENDER_CHARS);
  const text = renderMail(record);
  if (text.length <= head + tail) return `From: ${sender}\n${text}`;
  const end = text.slice(text.length - tail).replace(/^[\udc00-\udfff]/, '');
  return `From: ${sender}\n${cutBefore(text, head).trimEnd()}\n...\n${end.trimStart()}`;
}
