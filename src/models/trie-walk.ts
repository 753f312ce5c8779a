/** Scoring over a trie of sequences: depth first, a batch of nodes at a time, each from the state its parent left. */
import { reshape } from '../tensor/index.ts';
import type { ContinuationOptions, ContinuationScore } from './continuations.ts';
import type { CausalLM, ModelState } from './model.ts';
import type { Pending } from './pending-score.ts';
import { chunkFor, MOST_POSITIONS } from './prefill.ts';
import type { TrieNode } from './prefix-trie.ts';
import { FLAG_PAD } from './sequence-flags.ts';
import { selectRows } from './state.ts';
import { type ScoredRow, scoreTargets } from './target-scores.ts';

const MOST_ROWS = 256;
/** Bytes of a batch's states, where the size of a batch is ours to choose. */
const STATE_BYTES = 512 * 2 ** 20;
/** What a batch costs besides its positions, in positions: weights that are read, launches. */
const BATCH_COST = 48;

/** Nodes whose parents' states are rows of one state, which the last user disposes of. */
interface Batch {
  readonly nodes: readonly TrieNode[];
  readonly rows: readonly number[];
  readonly parents: { readonly state: ModelState; users: number } | null;
}

/** One user of the parents' state less. */
function release(parents: Batch['parents']): void {
  if (parents && --parents.users === 0) parents.state.dispose();
}

interface Entry {
  readonly node: TrieNode;
  readonly row: number;
}

/**
 * Nodes and the rows of their parents, sorted by length and cut into batches: where `isFixed`, of as many as may be; else
 * so that all batches together compute the least, padding and their own costs included.
 */
function batchesOf(nodes: readonly Entry[], most: (length: number) => number, isFixed: boolean): Entry[][] {
  const sorted = [...nodes].sort((a, b) => a.node.tokens.length - b.node.tokens.length);
  if (isFixed) {
    const size = most(0);
    return Array.from({ length: Math.ceil(sorted.length / size) }, (_, i) => sorted.slice(i * size, (i + 1) * size));
  }
  // The least cost of the first j nodes, and where their last batch begins.
  const least = new Float64Array(sorted.length + 1);
  const begins = new Int32Array(sorted.length + 1);
  for (let j = 1; j <= sorted.length; j++) {
    const { start, tokens } = sorted[j - 1].node;
    const rows = j > 1 ? Math.min(most(start + tokens.length), Math.floor(MOST_POSITIONS / tokens.length)) : 1;
    least[j] = Number.POSITIVE_INFINITY;
    for (let i = j - 1; i >= Math.max(0, j - Math.max(1, rows)); i--) {
      const cost = least[i] + BATCH_COST + (j - i) * tokens.length;
      if (cost < least[j]) [least[j], begins[j]] = [cost, i];
    }
  }
  const batches: Entry[][] = [];
  for (let j = sorted.length; j > 0; j = begins[j]) batches.push(sorted.slice(begins[j], j));
  return batches.reverse();
}

/** Ids and flags of one piece of the nodes' tokens, padded on the right. */
function pieceOf(model: CausalLM, nodes: readonly TrieNode[], at: number, count: number) {
  const ids = new Int32Array(nodes.length * count);
  const flags = new Int32Array(nodes.length * count).fill(FLAG_PAD);
  nodes.forEach(({ tokens }, i) => {
    const own = Math.max(0, Math.min(count, tokens.length - at));
    for (let t = 0; t < own; t++) ids[i * count + t] = tokens[at + t];
    flags.fill(0, i * count, i * count + own);
  });
  const shape = [nodes.length, count];
  const { device } = model;
  return {
    ids: device.from(ids, shape, 'i32'),
    flags: flags.includes(FLAG_PAD) ? device.from(flags, shape, 'i32') : null,
  };
}

/** Bytes of a sequence's state: at its start, and what a position adds. */
function stateSize(model: CausalLM): { fixed: number; perToken: number } {
  const { device } = model;
  const bytesAt = (length: number) => {
    const state = device.noGrad(() =>
      device.scope(() => {
        const ids = device.from(new Int32Array(length), [1, length], 'i32');
        return model.forward(ids, { wantState: true }).state!;
      }),
    );
    const bytes = state.layers.flatMap((layer) => Object.values(layer)).reduce((sum, t) => sum + 4 * t.size, 0);
    state.dispose();
    return bytes;
  };
  const one = bytesAt(1);
  const perToken = bytesAt(2) - one;
  return { fixed: one - perToken, perToken };
}

/** Most sequences of a length in a batch, so that their states take no more than `STATE_BYTES`. */
function mostRows(model: CausalLM): (length: number) => number {
  let size: ReturnType<typeof stateSize> | null = null; // measured once there are two sequences
  return (length) => {
    size ??= stateSize(model);
    return Math.max(1, Math.min(MOST_ROWS, Math.floor(STATE_BYTES / (size.fixed + size.perToken * length))));
  };
}

/** Walks the trie depth first, a batch of nodes at a time. */
export class Walk {
  computedTokens = 0;

  private readonly stack: Batch[] = [];
  private readonly isFixed: boolean;
  private readonly most: (length: number) => number;

  constructor(
    private readonly model: CausalLM,
    private readonly pending: readonly Pending[],
    private readonly options: ContinuationOptions,
  ) {
    const { batchSize = 'auto' } = options;
    this.isFixed = batchSize !== 'auto';
    this.most = batchSize === 'auto' ? mostRows(model) : () => batchSize;
  }

  /** Adds nodes that go on from rows of a state, which the walk then owns; the shortest are taken first. */
  push(nodes: readonly Entry[], state: ModelState | null): void {
    const batches = batchesOf(nodes, this.most, this.isFixed);
    const parents = state && { state, users: batches.length };
    for (const batch of batches.reverse()) {
      this.stack.push({ nodes: batch.map(({ node }) => node), rows: batch.map(({ row }) => row), parents });
    }
  }

  /** Computes the next batch: the requests that it completed, or null at the end. */
  async step(): Promise<[request: number, score: ContinuationScore][] | null> {
    this.options.signal?.throwIfAborted();
    const batch = this.stack.pop();
    if (!batch) return null;
    const children = batch.nodes.flatMap(({ children: own }, row) => own.map((node) => ({ node, row })));
    const { done, state } = await this.run(batch, children.length > 0);
    if (state) this.push(children, state);
    return done;
  }

  dispose(): void {
    for (const { parents } of this.stack.splice(0)) release(parents);
  }

  /** What is asked at some positions of the nodes, by row of the piece. */
  private questionsOf(nodes: readonly TrieNode[], at: number, count: number) {
    const questions: { row: ScoredRow; askers: Map<number, Pending[]>; position: number }[] = [];
    nodes.forEach(({ tokens, start, sequences }, i) => {
      const end = Math.min(at + count, tokens.length);
      const asking = sequences.map((sequence) => this.pending[sequence]).filter((one) => one.asksBefore(start + end));
      for (let t = asking.length ? at : end; t < end; t++) {
        const askers = new Map<number, Pending[]>();
        for (const asker of asking) {
          const target = asker.targetAt(start + t);
          if (target === undefined) continue;
          const same = askers.get(target);
          if (same) same.push(asker);
          else askers.set(target, [asker]);
        }
        const row = { row: i * count + t - at, targets: [...askers.keys()] };
        if (askers.size) questions.push({ row, askers, position: start + t });
      }
    });
    return questions;
  }

  /** Computes one batch. Returns the requests that it completed, and the state after it if `wantState`. */
  private async run({ nodes, rows, parents }: Batch, wantState: boolean) {
    const { model } = this;
    const { device } = model;
    const length = Math.max(...nodes.map(({ tokens }) => tokens.length));
    const chunk = this.options.chunk ?? chunkFor(nodes.length);
    const done: [number, ContinuationScore][] = [];
    let state = parents && selectRows(parents.state, rows);
    release(parents);
    try {
      for (let at = 0; at < length; at += chunk) {
        const count = Math.min(chunk, length - at);
        const before = state;
        const after = device.noGrad(() =>
          device.scope(() => {
            const piece = pieceOf(model, nodes, at, count);
            const goesOn = wantState || at + count < length;
            const result = model.forward(piece.ids, { flags: piece.flags, state: before, wantState: goesOn });
            return { ...result, hidden: reshape(result.hidden, [nodes.length * count, model.hiddenSize]) };
          }),
        );
        before?.dispose();
        state = after.state;
        const questions = this.questionsOf(nodes, at, count);
        try {
          const scored = await scoreTargets(
            model,
            after.hidden,
            questions.map(({ row }) => row),
          );
          questions.forEach(({ askers, position }, i) => {
            [...askers.values()].forEach((same, k) => {
              for (const asker of same) {
                const score = asker.take(position, scored[i][k].logprob, scored[i][k].isBest);
                if (score) done.push([asker.request, score]);
              }
            });
          });
        } finally {
          after.hidden.dispose();
        }
        if (questions.length === 0) await device.sync();
      }
      for (const { tokens } of nodes) this.computedTokens += tokens.length;
      const kept = state;
      state = null;
      return { done, state: kept };
    } finally {
      state?.dispose();
    }
  }
}

/** Tokens of all nodes. */
export const totalOf = (nodes: readonly TrieNode[]): number => {
  let total = 0;
  for (const stack = [...nodes]; stack.length; ) {
    const { tokens, children } = stack.pop()!;
    total += tokens.length;
    for (const child of children) stack.push(child);
  }
  return total;
};
