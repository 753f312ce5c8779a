/**
 * Texts that are almost the same, found by the word 5-grams that they share: the Jaccard index of two sets of 5-grams,
 * estimated on the quarter of them whose hash is divisible by 4 (the same quarter in every text, so equal texts always agree).
 */

const GRAM = 5;
const SAMPLE = 4;
/** A sketch smaller than this says too little: such texts are only compared by whole. */
const MIN_SKETCH = 6;

/** Finalizer of MurmurHash3: every bit of the input reaches every bit of the result. */
function mix(hash: number): number {
  let h = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** FNV-1a over UTF-16 code units. */
function wordHash(word: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < word.length; i++) h = Math.imul(h ^ word.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

/** Sampled hashes of the 5-grams of a normalised text (words parted by one blank). */
export function gramSketch(normalized: string): Set<number> {
  const words = normalized.split(' ').map(wordHash);
  const sketch = new Set<number>();
  for (let i = 0; i + GRAM <= words.length; i++) {
    let h = 0;
    for (let j = i; j < i + GRAM; j++) h = mix(Math.imul(h, 31) ^ words[j]);
    if (h % SAMPLE === 0) sketch.add(h);
  }
  return sketch;
}

/**
 * Which texts to keep so that no two of them are near-duplicates: a text goes if its Jaccard index with one kept before
 * reaches `threshold`.
 * @param texts normalised texts
 * @returns one flag a text, true for those to keep
 */
export function distinctTexts(texts: readonly string[], threshold: number): boolean[] {
  const holders = new Map<number, number[]>();
  const sizes: number[] = [];
  return texts.map((text, index) => {
    const sketch = gramSketch(text);
    sizes.push(sketch.size);
    if (sketch.size < MIN_SKETCH) return true;
    const shared = new Map<number, number>();
    for (const gram of sketch)
      for (const other of holders.get(gram) ?? []) shared.set(other, (shared.get(other) ?? 0) + 1);
    for (const [other, count] of shared) {
      if (count / (sketch.size + sizes[other] - count) >= threshold) return false;
    }
    for (const gram of sketch) {
      const list = holders.get(gram);
      if (list) list.push(index);
      else holders.set(gram, [index]);
    }
    return true;
  });
}
