/** Hashes of texts: the same on every machine, so that splits and identities never move. */

const encoder = new TextEncoder();

/**
 * SHA-256 of the UTF-8 bytes of `text`, 64 hexadecimal digits: the same on every machine and in every language (in Python:
 * `hashlib.sha256(text.encode()).hexdigest()`).
 */
export async function textHash(text: string): Promise<string> {
  const digest = new Uint8Array(await globalThis.crypto.subtle.digest('SHA-256', encoder.encode(text)));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
