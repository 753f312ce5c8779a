/**
 * Documents longer than memory, for truncated back-propagation through time: each row reads one document after the
 * other, a block at a time, and the model's state goes on from block to block. Gradients end where a block begins;
 * what is remembered does not. A reset marks where a row starts a new document.
 */
import { FLAG_RESET } from '../../models/index.ts';
import { IGNORE_INDEX } from '../../tensor/index.ts';
import { type BatchSource, isTarget, type TokenBatch, type TokenExample } from './example.ts';
import { ExampleOrder, type OrderState } from './example-order.ts';

export interface StreamOptions {
  /** Rows that read at the same time. */
  batchSize: number;
  /** Positions of a block. */
  maxLength: number;
  seed: number;
  isShuffled?: boolean;
}

/** Position of a row: the next token of an example. */
interface Lane {
  example: number;
  at: number;
}

interface StreamState {
  readonly order: OrderState;
  readonly lanes: readonly Lane[];
  readonly isContinued: boolean;
}

export class StreamBatches implements BatchSource {
  readonly batchesPerEpoch: number;
  private readonly order: ExampleOrder;
  private lanes: Lane[] = [];
  private isContinued = false;

  constructor(
    private readonly examples: readonly TokenExample[],
    private readonly options: StreamOptions,
  ) {
    const { batchSize, maxLength, seed, isShuffled = true } = options;
    this.order = new ExampleOrder(examples.length, seed, isShuffled);
    const tokens = examples.reduce((sum, { ids }) => sum + ids.length, 0);
    this.batchesPerEpoch = tokens / (batchSize * maxLength);
  }

  next(): TokenBatch {
    const { batchSize: rows, maxLength: length } = this.options;
    while (this.lanes.length < rows) this.lanes.push({ example: this.order.next(), at: 0 });
    const ids = new Int32Array(rows * length);
    const targets = new Int32Array(rows * length).fill(IGNORE_INDEX);
    const flags = new Int32Array(rows * length);
    let targetCount = 0;
    this.lanes.forEach((lane, r) => {
      for (let t = r * length; t < (r + 1) * length; t++) {
        const example = this.take(lane);
        if (lane.at === 0) flags[t] = FLAG_RESET;
        ids[t] = example.ids[lane.at++];
        if (lane.at >= example.ids.length || !isTarget(example, lane.at)) continue;
        targets[t] = example.ids[lane.at];
        targetCount++;
      }
    });
    const { isContinued } = this;
    this.isContinued = true;
    return { rows, length, ids, targets, flags, targetCount, tokenCount: rows * length, isContinued };
  }

  /** The example that a lane reads, the next one where it has come to the end. */
  private take(lane: Lane): TokenExample {
    while (lane.at >= this.examples[lane.example].ids.length) {
      lane.example = this.order.next();
      lane.at = 0;
    }
    return this.examples[lane.example];
  }

  state(): StreamState {
    return { order: this.order.state(), lanes: this.lanes.map((lane) => ({ ...lane })), isContinued: this.isContinued };
  }

  restore(state: unknown): void {
    const { order, lanes, isContinued } = state as StreamState;
    this.order.restore(order);
    this.lanes = lanes.map((lane) => ({ ...lane }));
    this.isContinued = isContinued;
  }
}
