/** The order in which examples are taken: a fresh shuffle each time through, endlessly, from a seed. */
import { HostRandom, KraitError } from '../../core/index.ts';

export interface OrderState {
  readonly epoch: number;
  /** Examples of this epoch that were taken. */
  readonly taken: number;
  /** Examples in all, to notice other data. */
  readonly count: number;
}

export class ExampleOrder {
  private epoch = 0;
  private taken = 0;
  private order: number[] = [];

  constructor(
    private readonly count: number,
    private readonly seed: number,
    private readonly isShuffled: boolean,
  ) {
    if (count === 0) throw new KraitError('no examples to train on; give data that is not empty');
    this.startEpoch();
  }

  private startEpoch(): void {
    this.order = Array.from({ length: this.count }, (_, i) => i);
    if (this.isShuffled) new HostRandom(this.seed, this.epoch).shuffle(this.order);
  }

  next(): number {
    if (this.taken === this.count) {
      this.epoch++;
      this.taken = 0;
      this.startEpoch();
    }
    return this.order[this.taken++];
  }

  /** Whether every example was taken at least once. */
  get hasSeenAll(): boolean {
    return this.epoch > 0 || this.taken === this.count;
  }

  state(): OrderState {
    return { epoch: this.epoch, taken: this.taken, count: this.count };
  }

  restore({ epoch, taken, count }: OrderState): void {
    if (count !== this.count) {
      throw new KraitError(`resume: the data had ${count} examples, now ${this.count}; resume with the same data`);
    }
    this.epoch = epoch;
    this.taken = taken;
    this.startEpoch();
  }
}
