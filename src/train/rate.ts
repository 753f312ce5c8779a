/** Tokens per second, over a run and over its last few steps; time spent on anything but steps is left out. */

/** Steps of the recent rate: single ones are uneven, because the numbers of two may be read together. */
const RECENT = 8;

interface Sample {
  readonly tokens: number;
  readonly ms: number;
}

export class RateMeter {
  tokens = 0;
  private ms = 0;
  private since = performance.now();
  private recent: Sample[] = [];

  /** Starts the clock again, so that what happened since the last step does not count. */
  resume(): void {
    this.since = performance.now();
  }

  /** A step is done. */
  add(tokens: number): void {
    const now = performance.now();
    const sample = { tokens, ms: now - this.since };
    this.since = now;
    this.tokens += tokens;
    this.ms += sample.ms;
    this.recent = [...this.recent.slice(1 - RECENT), sample];
  }

  /** Over the last steps. */
  get recentRate(): number {
    return rateOf(this.recent);
  }

  /** Over all steps. */
  get rate(): number {
    return rateOf([{ tokens: this.tokens, ms: this.ms }]);
  }
}

function rateOf(samples: readonly Sample[]): number {
  const tokens = samples.reduce((sum, sample) => sum + sample.tokens, 0);
  const ms = samples.reduce((sum, sample) => sum + sample.ms, 0);
  return ms > 0 ? (1000 * tokens) / ms : 0;
}
