/** Tokenised training examples, and blocks of them as a model takes them. */

/** One document, prompt with completion, or conversation. */
export interface TokenExample {
  readonly ids: ArrayLike<number>;
  /** Ranges of tokens [from, to) that carry loss. A first token never does: nothing comes before it. */
  readonly targets: readonly (readonly [number, number])[];
  /** Bytes of UTF-8 that the targets stand for, for bits per byte; 0 if unknown. */
  readonly bytes: number;
}

/** A block of rows [rows, length], row-major. */
export interface TokenBatch {
  readonly rows: number;
  readonly length: number;
  readonly ids: Int32Array;
  /** The token that each position is to predict; IGNORE_INDEX where none. */
  readonly targets: Int32Array;
  /** FLAG_RESET and FLAG_PAD; null where neither is needed. */
  readonly flags: Int32Array | null;
  /** Positions with a target. */
  readonly targetCount: number;
  /** Positions that are not padding. */
  readonly tokenCount: number;
  /** Whether the rows go on where those of the batch before ended. */
  readonly isContinued: boolean;
}

/** Batches without end. */
export interface BatchSource {
  next(): TokenBatch;
  /** Batches until every example was seen once; may be a fraction. */
  readonly batchesPerEpoch: number;
  /** Its position, as plain JSON. */
  state(): unknown;
  /** Continues from a `state()` of a source over the same examples. @throws KraitError if it is of others */
  restore(state: unknown): void;
}

/** Tokens of an example that carry loss. */
export const targetCountOf = ({ targets }: TokenExample): number =>
  targets.reduce((sum, [from, to]) => sum + Math.max(0, to - Math.max(1, from)), 0);

/** Whether token `t` of an example carries loss. */
export const isTarget = ({ targets }: TokenExample, t: number): boolean =>
  t > 0 && targets.some(([from, to]) => t >= from && t < to);

/**
 * An example cut to `most` tokens. What comes before the first target is cut first, from the left, so that the question
 * right before an answer stays; what is still too long is cut on the right.
 */
export function truncate(example: TokenExample, most: number): TokenExample {
  const excess = example.ids.length - most;
  if (excess <= 0) return example;
  const before = Math.max(0, (example.targets[0]?.[0] ?? 0) - 1); // one token of context is needed
  const start = Math.min(excess, before);
  const ids = Array.prototype.slice.call(example.ids, start, start + most) as number[];
  const targets = example.targets
    .map(([from, to]) => [from - start, Math.min(most, to - start)] as const)
    .filter(([from, to]) => to > from);
  const share = targetCountOf({ ...example, targets }) / Math.max(1, targetCountOf(example));
  return { ids, targets, bytes: Math.round(example.bytes * share) };
}
