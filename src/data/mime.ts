/**
 * A reader for e-mail as it is stored: header lines (folded, RFC 2047 encoded words), multipart bodies (RFC 2046), base64
 * and quoted-printable, character sets. It returns what a reader of the mail sees: the headers and one text.
 * Synchronous and without dependencies, because the held-out split hashes this text: a parser that changes with its
 * version would move mails between the splits. It never throws: a broken part is read as plain text.
 * Not here: attachments, address lists, signatures, anything needed to send mail.
 */
import { decodeBytes, latin1String } from './charsets.ts';
import { htmlToText } from './html-text.ts';

/** Parts inside parts deeper than this are ignored. */
const MAX_DEPTH = 16;

export interface MailMessage {
  /** Lower-case name to its decoded value; the first occurrence counts. */
  readonly headers: ReadonlyMap<string, string>;
  /** The first text/plain part that is not blank, else the first text/html part without its markup, else ''. */
  readonly text: string;
  /** Media type of the part that `text` was read from. */
  readonly textType: 'text/plain' | 'text/html';
}

interface Part {
  readonly headers: ReadonlyMap<string, string>;
  /** One character a byte. */
  readonly body: string;
}

interface ContentType {
  /** Lower case, such as `text/plain`. */
  readonly type: string;
  readonly params: ReadonlyMap<string, string>;
}

interface Candidates {
  plain?: string;
  html?: string;
}

/** Reads one message from its bytes, with or without an mbox `From ` line before it. */
export function parseMail(bytes: Uint8Array): MailMessage {
  const part = splitPart(
    latin1String(bytes)
      .replace(/\r\n?/g, '\n')
      .replace(/^(>?From [^\n]*\n)+/, ''),
  );
  const found: Candidates = {};
  collectText(part, found, 0);
  const charset = contentTypeOf(part).params.get('charset');
  const headers = new Map([...part.headers].map(([name, raw]) => [name, decodeHeader(raw, charset)]));
  const isPlain = found.plain !== undefined || found.html === undefined;
  return {
    headers,
    text: (isPlain ? found.plain : found.html) ?? '',
    textType: isPlain ? 'text/plain' : 'text/html',
  };
}

/** Header lines up to the first blank line, unfolded; the rest is the body. */
function splitPart(raw: string): Part {
  const isHeaderless = raw.startsWith('\n');
  const end = isHeaderless ? 0 : raw.indexOf('\n\n');
  const head = isHeaderless ? '' : end < 0 ? raw : raw.slice(0, end);
  const body = isHeaderless ? raw.slice(1) : end < 0 ? '' : raw.slice(end + 2);
  const headers = new Map<string, string>();
  for (const line of head.replace(/\n[ \t]+/g, ' ').split('\n')) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).trim().toLowerCase();
    if (colon > 0 && !headers.has(name)) headers.set(name, line.slice(colon + 1).trim());
  }
  return { headers, body };
}

/** `type/subtype; name=value; name="quoted value"`; text/plain where the header is missing or no media type. */
export function parseContentType(value: string | undefined): ContentType {
  const type = /^\s*([\w.+-]+\/[\w.+-]+)/.exec(value ?? '')?.[1].toLowerCase() ?? 'text/plain';
  const params = new Map<string, string>();
  for (const match of (value ?? '').matchAll(/;\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"?|([^;\s]*))/g)) {
    const name = match[1].toLowerCase();
    if (!params.has(name)) params.set(name, match[2]?.replace(/\\(.)/g, '$1') ?? match[3]);
  }
  return { type, params };
}

const contentTypeOf = (part: Part): ContentType => parseContentType(part.headers.get('content-type'));

/** Fills `found` with the first plain and the first HTML text, parts in their order. */
function collectText(part: Part, found: Candidates, depth: number): void {
  if (depth > MAX_DEPTH || found.plain !== undefined) return;
  const { type, params } = contentTypeOf(part);
  const boundary = params.get('boundary');
  if (type.startsWith('multipart/') && boundary) {
    const parts = splitMultipart(part.body, boundary);
    for (const raw of parts) collectText(splitPart(raw), found, depth + 1);
    if (parts.length) return;
  } else if (type === 'message/rfc822') {
    collectText(splitPart(latin1String(decodeTransfer(part))), found, depth + 1);
    return;
  }
  if (/^\s*attachment/i.test(part.headers.get('content-disposition') ?? '')) return;
  if (!type.startsWith('text/') && !type.startsWith('multipart/')) return;
  const text = decodeBytes(decodeTransfer(part), params.get('charset'));
  const isBrokenMultipart = type.startsWith('multipart/') && /<html\b/i.test(text);
  if (type === 'text/html' || isBrokenMultipart || isHtmlInDisguise(text)) found.html ??= notBlank(htmlToText(text));
  else found.plain = notBlank(text);
}

const notBlank = (text: string): string | undefined => (/\S/.test(text) ? text : undefined);

/** Much bulk mail sends a page of HTML without saying so in its headers. */
const isHtmlInDisguise = (text: string): boolean => /^\s*<(!doctype html|html|head|body|table|center)\b/i.test(text);

/** The raw parts between `--boundary` lines; none if the boundary never occurs. A missing end line is forgiven. */
function splitMultipart(body: string, boundary: string): string[] {
  const delimiter = `\n--${boundary.trimEnd()}`;
  const text = `\n${body}`;
  const parts: string[] = [];
  let start = -1;
  for (let at = text.indexOf(delimiter); at >= 0; at = text.indexOf(delimiter, at + 1)) {
    const after = at + delimiter.length;
    const lineEnd = text.indexOf('\n', after);
    const rest = text.slice(after, lineEnd < 0 ? text.length : lineEnd).trim();
    if (rest !== '' && rest !== '--') continue; // a longer boundary that begins with this one
    if (start >= 0) parts.push(text.slice(start, at));
    start = rest === '--' || lineEnd < 0 ? -1 : lineEnd + 1;
    if (rest === '--') break;
  }
  if (start >= 0) parts.push(text.slice(start));
  return parts;
}

function decodeTransfer(part: Part): Uint8Array {
  const encoding = part.headers.get('content-transfer-encoding') ?? '';
  if (/base64/i.test(encoding)) return decodeBase64(part.body);
  if (/quoted-printable/i.test(encoding)) return decodeQuotedPrintable(part.body);
  return bytesOf(part.body);
}

function bytesOf(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const BASE64_VALUE = new Map([...BASE64].map((char, value) => [char.charCodeAt(0), value]));

/** Base64 with line breaks; characters outside the alphabet are skipped, as RFC 2045 6.8 wants; `=` ends a run of data. */
export function decodeBase64(text: string): Uint8Array {
  const out = new Uint8Array(Math.ceil((text.length * 3) / 4));
  let length = 0;
  let bits = 0;
  let held = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 61) {
      bits = 0;
      held = 0;
      continue;
    }
    const value = BASE64_VALUE.get(code);
    if (value === undefined) continue;
    bits = ((bits << 6) | value) & 0xffff;
    held += 6;
    if (held >= 8) {
      held -= 8;
      out[length++] = (bits >> held) & 255;
    }
  }
  return out.subarray(0, length);
}

/** Quoted-printable: `=XX` bytes, soft line breaks, blanks at line ends dropped; a stray `=` stays as it is. */
export function decodeQuotedPrintable(text: string): Uint8Array {
  const joined = text
    .replace(/[ \t]+(?=\n|$)/g, '')
    .replace(/=\n/g, '')
    .replace(/=$/, '');
  return bytesOf(joined.replace(/=([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))));
}

const ENCODED_WORD = /=\?([\w.:-]+)(?:\*[\w-]*)?\?([bq])\?([^?\n]*)\?=/gi;
const ENCODED_RUN = /=\?[\w.:-]+(?:\*[\w-]*)?\?[bq]\?[^?\n]*\?=(?:\s*=\?[\w.:-]+(?:\*[\w-]*)?\?[bq]\?[^?\n]*\?=)*/gi;

/**
 * A header value with its RFC 2047 encoded words decoded; blanks between two encoded words vanish, and characters split
 * over neighbouring words of one charset are joined.
 * @param raw one character a byte, unfolded
 * @param charset what bytes above 127 outside encoded words mean, where the header breaks the rule of ASCII
 */
export function decodeHeader(raw: string, charset?: string): string {
  const text = /[\x80-\xff]/.test(raw) ? decodeBytes(bytesOf(raw), charset) : raw;
  return text.replace(ENCODED_RUN, (run) => {
    let out = '';
    let pending: number[] = [];
    let pendingCharset: string | undefined;
    const flush = () => {
      if (pending.length) out += decodeBytes(Uint8Array.from(pending), pendingCharset);
      pending = [];
    };
    for (const [, wordCharset, encoding, content] of run.matchAll(ENCODED_WORD)) {
      // ISO-2022 words each begin and end in ASCII: joined, their escape sequences would meet and decode to U+FFFD.
      if (wordCharset.toLowerCase() !== pendingCharset || /^iso-2022/i.test(wordCharset)) flush();
      pendingCharset = wordCharset.toLowerCase();
      const isBase64 = encoding.toLowerCase() === 'b';
      pending.push(...(isBase64 ? decodeBase64(content) : decodeQuotedPrintable(content.replace(/_/g, '=20'))));
    }
    flush();
    return out;
  });
}
