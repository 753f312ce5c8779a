/** Bytes to text by the charset names that mail uses. Never throws: an unknown name is read as Latin-1 (windows-1252). */

const decoders = new Map<string, TextDecoder>();
const strictUtf8 = new TextDecoder('utf-8', { fatal: true });

/** Names outside the WHATWG Encoding Standard that mean one inside it. */
const ALIASES: Readonly<Record<string, string>> = {
  cp932: 'shift_jis',
  cp936: 'gbk',
  cp949: 'euc-kr',
  cp950: 'big5',
  'ks_c_5601-1987': 'euc-kr',
  'iso-8859-8-i': 'iso-8859-8',
};

function decoderFor(label: string): TextDecoder {
  let decoder = decoders.get(label);
  if (!decoder) {
    try {
      decoder = new TextDecoder(ALIASES[label] ?? label);
    } catch {
      decoder = new TextDecoder('windows-1252');
    }
    decoders.set(label, decoder);
  }
  return decoder;
}

function isAscii(bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] > 127) return false;
  return true;
}

/**
 * Text of `bytes` in `charset`. Without a charset, or where it says ASCII and the bytes do not keep to it, valid UTF-8 is
 * read as UTF-8 and everything else as Latin-1.
 */
export function decodeBytes(bytes: Uint8Array, charset?: string): string {
  const label = (charset ?? '').trim().toLowerCase();
  const isStateful = label.startsWith('iso-2022') || label.startsWith('utf-16') || label === 'utf-7';
  if (!isStateful && isAscii(bytes)) return latin1String(bytes);
  if (label === '' || label === 'us-ascii' || label === 'ascii') {
    try {
      return strictUtf8.decode(bytes);
    } catch {
      return decoderFor('windows-1252').decode(bytes);
    }
  }
  return decoderFor(label).decode(bytes);
}

const utf16 = new TextDecoder('utf-16le');

/** One character (U+0000 to U+00FF) a byte: text operations on bytes without loss. (The label `latin1` means windows-1252 to a TextDecoder.) */
export const latin1String = (bytes: Uint8Array): string => utf16.decode(Uint16Array.from(bytes));
