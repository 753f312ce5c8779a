/**
 * Python's `random.Random` for those who must draw what it draws: the Mersenne Twister MT19937 (Matsumoto and Nishimura,
 * 1998) seeded from an integer as CPython's `_randommodule.c` does, and `sample` and `choices` of `random.py`.
 */
import { UsageError } from '../../core/index.ts';

const WORDS = 624;
const MIDDLE = 397;

export class PythonRandom {
  private readonly state = new Uint32Array(WORDS);
  private index = WORDS;

  /** @param seed a whole number from 0; a sign would be ignored, as in Python */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed)) throw new UsageError(`seed: expected a whole number, got ${seed}`);
    const magnitude = Math.abs(seed);
    const high = Math.floor(magnitude / 2 ** 32);
    this.initializeBy(high > 0 ? [magnitude >>> 0, high] : [magnitude >>> 0]);
  }

  private initialize(seed: number): void {
    const { state } = this;
    state[0] = seed;
    for (let i = 1; i < WORDS; i++) {
      const before = state[i - 1] ^ (state[i - 1] >>> 30);
      state[i] = Math.imul(1812433253, before) + i;
    }
    this.index = WORDS;
  }

  /** The generator's `init_by_array`. */
  private initializeBy(key: readonly number[]): void {
    const { state } = this;
    this.initialize(19650218);
    let i = 1;
    let j = 0;
    const step = (factor: number, plus: number) => {
      const before = state[i - 1] ^ (state[i - 1] >>> 30);
      state[i] = (state[i] ^ Math.imul(before, factor)) + plus;
      if (++i === WORDS) {
        state[0] = state[WORDS - 1];
        i = 1;
      }
    };
    for (let k = Math.max(WORDS, key.length); k > 0; k--) {
      step(1664525, key[j] + j);
      j = (j + 1) % key.length;
    }
    for (let k = WORDS - 1; k > 0; k--) step(1566083941, -i);
    state[0] = 0x80000000;
  }

  private refill(): void {
    const { state } = this;
    for (let i = 0; i < WORDS; i++) {
      const mixed = (state[i] & 0x80000000) | (state[(i + 1) % WORDS] & 0x7fffffff);
      state[i] = state[(i + MIDDLE) % WORDS] ^ (mixed >>> 1) ^ (mixed & 1 ? 0x9908b0df : 0);
    }
    this.index = 0;
  }

  /** 32 random bits. */
  word(): number {
    if (this.index === WORDS) this.refill();
    let word = this.state[this.index++];
    word ^= word >>> 11;
    word ^= (word << 7) & 0x9d2c5680;
    word ^= (word << 15) & 0xefc60000;
    return (word ^ (word >>> 18)) >>> 0;
  }

  /** Uniform in [0, 1), of 53 bits. */
  random(): number {
    const high = this.word() >>> 5;
    const low = this.word() >>> 6;
    return (high * 67108864 + low) / 9007199254740992;
  }

  /** Uniform among the whole numbers below `n`, which is at least 1. */
  below(n: number): number {
    const shift = Math.clz32(n);
    let drawn = this.word() >>> shift;
    while (drawn >= n) drawn = this.word() >>> shift;
    return drawn;
  }

  /**
   * `k` different items, in the order drawn.
   * @throws UsageError if there are fewer
   */
  sample<T>(items: readonly T[], k: number): T[] {
    const n = items.length;
    if (k > n) throw new UsageError(`${k} of ${n} items cannot be drawn; ask for fewer`);
    // Python keeps a set of indices where that takes less memory than a copy of the items, and draws otherwise then.
    const setSize = 21 + (k > 5 ? 4 ** Math.ceil(Math.log(k * 3) / Math.log(4)) : 0);
    if (n <= setSize) {
      const pool = [...items];
      return Array.from({ length: k }, (_, i) => {
        const j = this.below(n - i);
        const drawn = pool[j];
        pool[j] = pool[n - i - 1];
        return drawn;
      });
    }
    const chosen = new Set<number>();
    while (chosen.size < k) chosen.add(this.below(n));
    return Array.from(chosen, (i) => items[i]);
  }

  /** An index below `n`, as `choices` draws it: by a float. */
  choice(n: number): number {
    return Math.floor(this.random() * n);
  }
}
