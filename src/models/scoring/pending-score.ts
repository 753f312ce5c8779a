/** Scores of one request, as they come in from the nodes that its tokens are spread over. */
import type { ContinuationScore } from './requests.ts';

/** A request whose tokens are being scored. */
export class Pending {
  readonly logprobs: number[];
  private isGreedy = true;
  private missing: number;

  constructor(
    readonly request: number,
    readonly input: readonly number[],
    private readonly contextLength: number,
    private readonly continuation: readonly number[],
  ) {
    this.missing = continuation.length;
    this.logprobs = new Array<number>(this.missing).fill(0);
  }

  /** True if a result is needed at positions below `end`. */
  asksBefore(end: number): boolean {
    return this.contextLength <= end;
  }

  /** Token to score at a position of `input`: the one after it; undefined within the context. */
  targetAt(position: number): number | undefined {
    return this.continuation[position - this.contextLength + 1];
  }

  /** Takes the score of the target at a position; the whole once it is complete. */
  take(position: number, logprob: number, isBest: boolean): ContinuationScore | null {
    this.logprobs[position - this.contextLength + 1] = logprob;
    this.isGreedy &&= isBest;
    this.missing--;
    if (this.missing > 0) return null;
    const { logprobs, isGreedy } = this;
    return { logprob: logprobs.reduce((sum, x) => sum + x, 0), logprobs, isGreedy };
  }
}
