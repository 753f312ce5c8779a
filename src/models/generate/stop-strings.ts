/** Stop strings in a text that comes in pieces: a stop may begin in one piece and end in another. */
export class StopStrings {
  private held = '';

  constructor(private readonly stops: readonly string[]) {}

  /**
   * Takes a piece. Returns the text that can be given out: up to the first stop if one is complete, else all but an
   * end that may still become one.
   */
  push(piece: string): { text: string; isStopped: boolean } {
    this.held += piece;
    const starts = this.stops.map((stop) => this.held.indexOf(stop)).filter((at) => at >= 0);
    if (starts.length > 0) {
      const text = this.held.slice(0, Math.min(...starts));
      this.held = '';
      return { text, isStopped: true };
    }
    const open = this.openLength();
    const text = this.held.slice(0, this.held.length - open);
    this.held = this.held.slice(this.held.length - open);
    return { text, isStopped: false };
  }

  /** Text that was held back, when nothing follows. */
  flush(): string {
    const rest = this.held;
    this.held = '';
    return rest;
  }

  /** Length of the longest end of the held text that a stop begins with. */
  private openLength(): number {
    const longest = this.stops.reduce((most, stop) => Math.max(most, stop.length - 1), 0);
    for (let n = Math.min(longest, this.held.length); n > 0; n--) {
      const end = this.held.slice(-n);
      if (this.stops.some((stop) => stop.length > n && stop.startsWith(end))) return n;
    }
    return 0;
  }
}
