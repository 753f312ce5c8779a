/**
 * Examples as rows of a block. Packing puts several into one row, with a reset of the model's state before each, so
 * that they do not see one another and little is padded; without it each example has a row of its own.
 */
import { KraitError } from '../../core/index.ts';
import { FLAG_PAD, FLAG_RESET } from '../../models/index.ts';
import { IGNORE_INDEX } from '../../tensor/index.ts';
import { type BatchSource, isTarget, type TokenBatch, type TokenExample } from './example.ts';
import { ExampleOrder, type OrderState } from './example-order.ts';

export interface PackedOptions {
  /** Rows of a block. */
  batchSize: number;
  /** Most tokens of a row. Examples must not be longer: see `truncate`. */
  maxLength: number;
  isPacked: boolean;
  seed: number;
  isShuffled?: boolean;
}

/** Examples that did not fit and wait for the next block, at most. */
const MOST_WAITING = 64;

/** Numbers of the examples in each row. */
type Layout = number[][];

/** One block of examples, each row a list of them. */
export function blockOf(examples: readonly TokenExample[], layout: Layout): TokenBatch {
  const used = layout.filter((row) => row.length > 0);
  const sizes = used.map((row) => row.reduce((sum, i) => sum + examples[i].ids.length, 0));
  const length = Math.max(...sizes);
  const rows = used.length;
  const ids = new Int32Array(rows * length);
  const targets = new Int32Array(rows * length).fill(IGNORE_INDEX);
  const flags = new Int32Array(rows * length).fill(FLAG_PAD);
  let targetCount = 0;
  used.forEach((row, r) => {
    let at = r * length;
    for (const i of row) {
      const example = examples[i];
      ids.set(example.ids, at);
      flags.fill(0, at, at + example.ids.length);
      flags[at] = FLAG_RESET;
      for (let t = 1; t < example.ids.length; t++) {
        if (!isTarget(example, t)) continue;
        targets[at + t - 1] = example.ids[t];
        targetCount++;
      }
      at += example.ids.length;
    }
  });
  const tokenCount = sizes.reduce((sum, size) => sum + size, 0);
  const isPlain = rows * length === tokenCount && used.every((row) => row.length === 1);
  return { rows, length, ids, targets, flags: isPlain ? null : flags, targetCount, tokenCount, isContinued: false };
}

interface PackedState {
  readonly order: OrderState;
  readonly waiting: readonly number[];
}

export class PackedBatches implements BatchSource {
  readonly batchesPerEpoch: number;
  private readonly order: ExampleOrder;
  private waiting: number[] = [];

  constructor(
    private readonly examples: readonly TokenExample[],
    private readonly options: PackedOptions,
  ) {
    const longest = examples.reduce((most, { ids }) => Math.max(most, ids.length), 0);
    if (longest > options.maxLength) {
      throw new KraitError(`an example has ${longest} tokens, a row ${options.maxLength}; truncate it`);
    }
    this.order = this.newOrder();
    this.batchesPerEpoch = options.isPacked ? this.countBatches() : examples.length / options.batchSize;
  }

  private newOrder(): ExampleOrder {
    const { seed, isShuffled = true } = this.options;
    return new ExampleOrder(this.examples.length, seed, isShuffled);
  }

  /** Packs one epoch without making its blocks. What still waits at its end counts by its tokens. */
  private countBatches(): number {
    const order = this.newOrder();
    const sizeOf = (i: number) => this.examples[i].ids.length;
    let waiting: number[] = [];
    let blocks = 0;
    let placed = 0;
    for (; blocks === 0 || !order.hasSeenAll; blocks++) {
      const block = this.layout(order, waiting);
      waiting = block.waiting;
      placed += block.layout.flat().reduce((sum, i) => sum + sizeOf(i), 0);
    }
    const all = this.examples.reduce((sum, { ids }) => sum + ids.length, 0);
    return (blocks * all) / placed;
  }

  /** Fills the rows of one block: what waits first, then the order, until what is left does not fit. */
  private layout(order: ExampleOrder, before: readonly number[]): { layout: Layout; waiting: number[] } {
    const { batchSize, maxLength, isPacked } = this.options;
    const layout: Layout = Array.from({ length: batchSize }, () => []);
    const room = new Array<number>(batchSize).fill(maxLength);
    const queue = [...before];
    const waiting: number[] = [];
    while (queue.length > 0 || waiting.length < MOST_WAITING) {
      if (room.every((left) => left === 0)) break;
      const i = queue.length > 0 ? queue.shift()! : order.next();
      const size = this.examples[i].ids.length;
      const row = room.findIndex((left) => left >= size);
      if (row < 0) {
        waiting.push(i);
        continue;
      }
      layout[row].push(i);
      room[row] = isPacked ? room[row] - size : 0;
    }
    return { layout, waiting: [...waiting, ...queue] };
  }

  next(): TokenBatch {
    const { layout, waiting } = this.layout(this.order, this.waiting);
    this.waiting = waiting;
    return blockOf(this.examples, layout);
  }

  state(): PackedState {
    return { order: this.order.state(), waiting: this.waiting };
  }

  restore(state: unknown): void {
    const { order, waiting } = state as PackedState;
    this.order.restore(order);
    this.waiting = [...waiting];
  }
}
