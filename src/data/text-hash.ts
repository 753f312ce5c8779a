/**
 * Names for texts that are the same on every machine and in every language: SHA-256 of the UTF-8 bytes, in hexadecimal
 * (in Python: `hashlib.sha256(text.encode()).hexdigest()`).
 */

const encoder = new TextEncoder();

/** SHA-256 of the UTF-8 bytes of `text`, 64 hexadecimal digits. */
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
