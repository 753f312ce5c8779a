/**
 * Trains a byte-level byte-pair encoding and writes it as a Hugging Face `tokenizer.json`.
 *
 * Text is cut into words as GPT-2 does (a leading blank belongs to its word); words are counted once, so that the work
 * grows with the number of different words. The most frequent pair of neighbours is merged again and again; ties go to
 * the smaller ids, so the result depends on nothing but the counts.
 * Source: Sennrich et al. 2016; Radford et al. 2019 for bytes as the alphabet.
 */
import { UsageError } from '../core/index.ts';

/** How text is cut before pairs are counted; written into tokenizer.json so that encoding cuts the same way. */
export const WORD_PATTERN = String.raw`'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

export const SPECIAL_TOKENS = ['<|endoftext|>', '<|padding|>'] as const;

/** The printable character that stands for each byte in a byte-level vocabulary. */
const BYTE_SPELLING: readonly string[] = (() => {
  const isPlain = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPlain(byte) ? byte : next++));
})();

export interface BpeOptions {
  /** Tokens in all: special ones, 256 bytes, merges. */
  readonly vocabSize: number;
  /** Words that occur less often do not count. */
  readonly minFrequency?: number;
}

export interface TrainedBpe {
  /** Spelling of every token, by id. */
  readonly tokens: readonly string[];
  /** Ids of the two parts of each merge, in order. */
  readonly merges: readonly (readonly [number, number])[];
}

interface Word {
  ids: number[];
  readonly count: number;
}

const PAIR = 2 ** 20;
const keyOf = (a: number, b: number): number => a * PAIR + b;

/** Different words of the texts with their number of occurrences. */
export function countWords(texts: Iterable<string>): Map<string, number> {
  const counts = new Map<string, number>();
  const pattern = new RegExp(WORD_PATTERN, 'gu');
  for (const text of texts) {
    for (const [word] of text.matchAll(pattern)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return counts;
}

/** A heap of pairs by count, largest first; entries whose count has changed since are passed over when they surface. */
class PairHeap {
  private readonly items: { key: number; count: number }[] = [];

  private static isBefore(a: { key: number; count: number }, b: { key: number; count: number }): boolean {
    return a.count > b.count || (a.count === b.count && a.key < b.key);
  }

  push(key: number, count: number): void {
    const { items } = this;
    let at = items.push({ key, count }) - 1;
    for (let up = (at - 1) >> 1; at > 0 && PairHeap.isBefore(items[at], items[up]); up = (at - 1) >> 1) {
      [items[at], items[up]] = [items[up], items[at]];
      at = up;
    }
  }

  pop(): { key: number; count: number } | undefined {
    const { items } = this;
    const top = items[0];
    const last = items.pop();
    if (!top || !last || items.length === 0) return top;
    items[0] = last;
    for (let at = 0; ; ) {
      let first = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < items.length && PairHeap.isBefore(items[child], items[first])) first = child;
      }
      if (first === at) return top;
      [items[at], items[first]] = [items[first], items[at]];
      at = first;
    }
  }
}

/** Counts of neighbouring pairs, and the words that each pair may be in. */
class PairTable {
  readonly counts = new Map<number, number>();
  readonly places = new Map<number, Set<number>>();
  readonly heap = new PairHeap();

  constructor(private readonly words: readonly Word[]) {
    words.forEach((_, i) => {
      this.add(i, 1, new Set());
    });
    for (const [key, count] of this.counts) this.heap.push(key, count);
  }

  /** Counts a word's pairs in (sign 1) or out (sign -1); notes which counts changed. */
  add(index: number, sign: 1 | -1, changed: Set<number>): void {
    const { ids, count } = this.words[index];
    for (let t = 0; t + 1 < ids.length; t++) {
      const key = keyOf(ids[t], ids[t + 1]);
      this.counts.set(key, (this.counts.get(key) ?? 0) + sign * count);
      changed.add(key);
      if (sign < 0) continue;
      const places = this.places.get(key);
      if (places) places.add(index);
      else this.places.set(key, new Set([index]));
    }
  }

  /** The most frequent pair, or undefined if none occurs. */
  best(): number | undefined {
    for (let top = this.heap.pop(); top; top = this.heap.pop()) {
      if (top.count > 0 && this.counts.get(top.key) === top.count) return top.key;
    }
    return undefined;
  }

  /** Replaces a pair by `id` in every word that has it. */
  merge(key: number, id: number): void {
    const [a, b] = [Math.floor(key / PAIR), key % PAIR];
    const changed = new Set<number>();
    for (const index of this.places.get(key) ?? []) {
      const word = this.words[index];
      this.add(index, -1, changed);
      word.ids = mergePair(word.ids, a, b, id);
      this.add(index, 1, changed);
    }
    this.places.delete(key);
    this.counts.delete(key);
    changed.delete(key);
    for (const pair of changed) {
      const count = this.counts.get(pair) ?? 0;
      if (count > 0) this.heap.push(pair, count);
    }
  }
}

function mergePair(ids: readonly number[], a: number, b: number, id: number): number[] {
  const out: number[] = [];
  for (let t = 0; t < ids.length; t++) {
    if (t + 1 < ids.length && ids[t] === a && ids[t + 1] === b) {
      out.push(id);
      t++;
    } else out.push(ids[t]);
  }
  return out;
}

/**
 * Learns merges from texts until the vocabulary is full or no pair occurs twice.
 * @throws UsageError for a vocabulary without room for the special tokens and the 256 bytes
 */
export function trainBpe(texts: Iterable<string>, { vocabSize, minFrequency = 2 }: BpeOptions): TrainedBpe {
  const first = SPECIAL_TOKENS.length;
  const least = first + 256;
  if (!Number.isInteger(vocabSize) || vocabSize < least || vocabSize >= PAIR) {
    throw new UsageError(`vocabulary: expected ${least} to ${PAIR - 1} tokens, got ${vocabSize}`);
  }
  const utf8 = new TextEncoder();
  const words: Word[] = [];
  for (const [text, count] of countWords(texts)) {
    if (count >= minFrequency) words.push({ ids: Array.from(utf8.encode(text), (byte) => first + byte), count });
  }
  const tokens: string[] = [...SPECIAL_TOKENS, ...BYTE_SPELLING];
  const merges: [number, number][] = [];
  const pairs = new PairTable(words);
  while (tokens.length < vocabSize) {
    const key = pairs.best();
    if (key === undefined) break;
    const [a, b] = [Math.floor(key / PAIR), key % PAIR];
    merges.push([a, b]);
    tokens.push(tokens[a] + tokens[b]);
    pairs.merge(key, tokens.length - 1);
  }
  return { tokens, merges };
}

/** The files of a tokenizer folder: name to content. */
export function tokenizerFiles({ tokens, merges }: TrainedBpe): Record<string, string> {
  const special = SPECIAL_TOKENS.map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: special,
    normalizer: null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: WORD_PATTERN }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: merges.map(([a, b]) => `${tokens[a]} ${tokens[b]}`),
    },
  };
  const config = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    bos_token: SPECIAL_TOKENS[0],
    eos_token: SPECIAL_TOKENS[0],
    pad_token: SPECIAL_TOKENS[1],
    clean_up_tokenization_spaces: false,
  };
  return {
    'tokenizer.json': JSON.stringify(tokenizer),
    'tokenizer_config.json': `${JSON.stringify(config, null, 2)}\n`,
  };
}
