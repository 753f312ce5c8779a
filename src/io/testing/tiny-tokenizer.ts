/** A byte-level BPE tokenizer.json of 256 bytes, a few merges and two special tokens, for tests. */

/** The character by which byte-level vocabularies spell each byte: itself if it prints, else one from 256 on. */
const SPELLING = (() => {
  const prints = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(prints(byte) ? byte : next++));
})();

const spell = (text: string) => [...new TextEncoder().encode(text)].map((byte) => SPELLING[byte]).join('');

/** Tokens made by merging, each of two tokens before it. */
const MERGES: [string, string][] = [
  ['h', 'e'],
  ['l', 'l'],
  ['he', 'll'],
  ['hell', 'o'],
  [' ', 'w'],
];

export const END_ID = 0;
export const PAD_ID = 1;
/** Ids of bytes begin here. */
export const FIRST_BYTE_ID = 2;

/** @param changes parts of tokenizer.json put in place of these */
export function tinyTokenizer(changes: Record<string, unknown> = {}): string {
  const tokens = ['<|end|>', '<|pad|>', ...SPELLING, ...MERGES.map(([a, b]) => spell(a + b))];
  const special = (id: number) => ({
    id,
    content: tokens[id],
    special: true,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
  });
  return JSON.stringify({
    version: '1.0',
    added_tokens: [special(END_ID), special(PAD_ID)],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true },
    post_processor: null,
    decoder: { type: 'ByteLevel' },
    model: {
      type: 'BPE',
      unk_token: null,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: MERGES.map(([a, b]) => `${spell(a)} ${spell(b)}`),
    },
    ...changes,
  });
}
