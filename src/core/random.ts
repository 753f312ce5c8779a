/**
 * Counter-based random numbers: Philox 4x32-10. Value i of a stream depends on (seed, stream, i) alone, so
 * every device, thread count and replay draws the same numbers.
 * Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
 */

const M0 = 0xd2511f53;
const M1 = 0xcd9e8d57;
const W0 = 0x9e3779b9;
const W1 = 0xbb67ae85;

function mulHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carry = (middle & 0xffff) + aLow * bHigh;
  return (aHigh * bHigh + Math.floor(middle / 65536) + Math.floor(carry / 65536)) >>> 0;
}

export type Counter4 = [number, number, number, number];

/** Ten rounds of Philox on a 128-bit counter with a 64-bit key. */
export function philox(counter: Counter4, key0: number, key1: number): Counter4 {
  let [x0, x1, x2, x3] = counter;
  let k0 = key0 >>> 0;
  let k1 = key1 >>> 0;
  for (let round = 0; round < 10; round++) {
    const h0 = mulHigh(M0, x0);
    const l0 = Math.imul(M0, x0) >>> 0;
    const h1 = mulHigh(M1, x2);
    const l1 = Math.imul(M1, x2) >>> 0;
    x0 = (h1 ^ x1 ^ k0) >>> 0;
    x1 = l1;
    x2 = (h0 ^ x3 ^ k1) >>> 0;
    x3 = l0;
    k0 = (k0 + W0) >>> 0;
    k1 = (k1 + W1) >>> 0;
  }
  return [x0, x1, x2, x3];
}

/** Words 4i..4i+3 of the stream: counter (i, 0, stream, 0), key (seed, 0). The kernels use the same layout. */
export const philoxBlock = (seed: number, stream: number, index: number): Counter4 =>
  philox([index >>> 0, Math.floor(index / 2 ** 32) >>> 0, stream >>> 0, 0], seed >>> 0, 0);

/** Top 24 bits of a word as a float in [0, 1): exact in f32. */
export const toUnit = (word: number): number => (word >>> 8) * 2 ** -24;

/**
 * Seed plus the next unused stream number. Each random operation takes one stream; saving `{ seed, stream }`
 * and restoring it repeats everything that was drawn after.
 */
export class RandomSource {
  constructor(
    readonly seed: number,
    public stream = 0,
  ) {}

  /** The key of the next random operation. */
  next(): { seed: number; stream: number } {
    return { seed: this.seed >>> 0, stream: this.stream++ >>> 0 };
  }
}

/** Plain sequential numbers on the host (shuffles, sampling), from one Philox stream. */
export class HostRandom {
  private index = 0;
  private words: Counter4 = [0, 0, 0, 0];
  private used = 4;

  constructor(
    readonly seed: number,
    readonly stream = 0,
  ) {}

  private word(): number {
    if (this.used === 4) {
      this.words = philoxBlock(this.seed, this.stream, this.index++);
      this.used = 0;
    }
    return this.words[this.used++];
  }

  /** Uniform in [0, 1). */
  uniform(): number {
    return toUnit(this.word());
  }

  /** Standard normal (Box-Muller on two words). */
  normal(): number {
    const u = 1 - this.uniform();
    return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Integer in [0, n). */
  integer(n: number): number {
    return Math.floor((this.word() / 2 ** 32) * n);
  }

  /** Fisher-Yates, in place. */
  shuffle<T>(items: T[]): T[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      [items[i], items[j]] = [items[j], items[i]];
    }
    return items;
  }
}
