/** Requests and results of scoring: continuations of contexts. */

export interface ContinuationRequest {
  /** Context; at least one token. */
  readonly context: readonly number[];
  /** Continuation to score; at least one token. */
  readonly continuation: readonly number[];
}

export interface ContinuationScore {
  /** Sum over the continuation's tokens, in nats. */
  readonly logprob: number;
  readonly logprobs: readonly number[];
  /** Whether greedy decoding would have written exactly this. */
  readonly isGreedy: boolean;
}

export interface ContinuationOptions {
  /**
   * Most sequences in a batch, which are padded to one length then; `auto`, unless given, goes by lengths and by the size of the
   * model's state, and pads nothing where the model can read without (`takesRagged`).
   */
  batchSize?: number | 'auto';
  /** Positions of a sequence that are computed at once. */
  chunk?: number;
  /** Read shared prefixes of requests once; true unless given. */
  reusePrefixes?: boolean;
  /** Called after each batch. */
  onProgress?: (share: number) => void;
  /** Called with the requests that a batch completed, as soon as they are; waited for. */
  onScored?: (scored: readonly (readonly [request: number, score: ContinuationScore])[]) => void | Promise<void>;
  signal?: AbortSignal;
}

export interface ContinuationScores {
  /** One a request, in their order. */
  readonly scores: readonly ContinuationScore[];
  /** Positions that were computed, without padding. */
  readonly computedTokens: number;
}
