/** Forms of a text: tidied for models to read, normalised for comparing, hashed for splits that never move. */

const encoder = new TextEncoder();

/**
 * SHA-256 of the UTF-8 bytes of `text`, 64 hexadecimal digits: the same on every machine and in every language (in Python:
 * `hashlib.sha256(text.encode()).hexdigest()`).
 */
export async function textHash(text: string): Promise<string> {
  const digest = new Uint8Array(await globalThis.crypto.subtle.digest('SHA-256', encoder.encode(text)));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Letters only, lower case (after NFKC), one blank between words: two texts that differ in layout, digits or marks are equal. */
export function normalizeText(text: string): string {
  const isLatin = /^[\t\n\r -~]*$/.test(text); // the quick way of the same
  const lower = (isLatin ? text : text.normalize('NFKC')).toLowerCase();
  return lower.replace(isLatin ? /[^a-z]+/g : /[^\p{L}]+/gu, ' ').trim();
}

/** Blanks of a line become one, empty lines become at most one, none at the ends; control characters go. */
export function tidyText(text: string): string {
  return text
    .replace(/\r\n?/g, '\n')
    .replace(/[^\P{Cc}\n\t]|[\u200b-\u200f\u2028-\u202e\ufeff]/gu, '')
    .replace(/[^\S\n]+/g, ' ')
    .replace(/ ?\n ?/g, '\n')
    .replace(/\n{3,}/g, '\n\n')
    .trim();
}
