/**
 * A ring of bytes in device memory where uploads wait for their turn in the queue. It is not a block of the pool,
 * because a block that is freed may be written by the next upload before the queue has read it.
 */
export class Staging {
  private address = 0;
  /** Pieces in use, the oldest first; `entry` is the number of the queue's entry that reads it. */
  private pieces: { at: number; entry: number }[] = [];
  private end = 0;

  /** `reserve` gives memory on first use. */
  constructor(
    readonly capacity: number,
    private readonly reserve: (bytes: number) => number,
  ) {}

  /** Takes its memory, if it has none. @throws what `reserve` throws */
  open(): void {
    if (this.address === 0) this.address = this.reserve(this.capacity);
  }

  /** Gives back the pieces of entries before number `head`; numbers wrap at 32 bits. */
  release(head: number): void {
    let done = 0;
    while (done < this.pieces.length && ((head - this.pieces[done].entry) | 0) > 0) done++;
    if (done > 0) this.pieces.splice(0, done);
  }

  /** Address of `bytes` for entry number `entry`, or undefined while there is no room. */
  take(bytes: number, entry: number): number | undefined {
    if (this.pieces.length === 0) this.end = 0;
    const start = this.pieces.length ? this.pieces[0].at : this.capacity;
    const isWrapped = this.pieces.length === 0 || this.end <= start;
    let at = this.end;
    if (isWrapped) {
      if (start - this.end < bytes) return undefined;
    } else if (this.capacity - this.end < bytes) {
      if (start < bytes) return undefined;
      at = 0;
    }
    this.pieces.push({ at, entry });
    this.end = at + bytes;
    return this.address + at;
  }
}
