/** Scores a trie of sequences, level by level and in batches of nodes. Each node starts from the state of its parent. */
import { reshape } from '../../tensor/index.ts';
import type { LanguageModel } from '../heads/language-model.ts';
import { chunkFor } from '../prefill.ts';
import type { ModelState } from '../state/kinds.ts';
import { joinRows, selectRows, sizesOf } from '../state/rows.ts';
import type { Pending } from './pending-score.ts';
import type { TrieNode } from './prefix-trie.ts';
import type { ContinuationOptions, ContinuationScore } from './requests.ts';
import { type ScoredRow, scoreTargets } from './target-scores.ts';
import { type Batch, type BatchRules, batchesOf, type Entry, levelsOf } from './trie-batches.ts';
import { type Reading, readingOf } from './trie-reading.ts';

/** Batches that are computed before all of their children. */
interface Level {
  /** Batches that are not computed yet. */
  open: number;
  /** State after the computed batches, with a row for each node with children. */
  parts: { readonly state: ModelState; readonly children: readonly Entry[] }[];
}

/** A batch. The states of its parents are rows of one shared state. The last user disposes of that state. */
interface Step {
  readonly batch: Batch;
  readonly parents: { readonly state: ModelState; users: number } | null;
  readonly level: Level;
}

/** Releases one use of the parents' state. */
function release(parents: Step['parents']): void {
  if (parents && --parents.users === 0) parents.state.dispose();
}

/** Takes rows of the parents' state and releases one use of it. */
function takeRows(parents: Step['parents'], rows: readonly number[]): ModelState | null {
  try {
    return parents && selectRows(parents.state, rows);
  } finally {
    release(parents);
  }
}

/** Rows of a state in its place. */
function keepRows(state: ModelState, rows: readonly number[]): ModelState {
  if (rows.length === state.rows) return state;
  try {
    return selectRows(state, rows);
  } finally {
    state.dispose();
  }
}

/** States joined in their place. */
function merge(states: readonly ModelState[]): ModelState {
  if (states.length === 1) return states[0];
  try {
    return joinRows(states);
  } finally {
    for (const state of states) state.dispose();
  }
}

/** Walks the trie a level at a time, and a level a batch of nodes at a time. */
export class Walk {
  computedTokens = 0;

  private readonly stack: Step[] = [];
  /** Levels that are partly computed. */
  private readonly begun = new Set<Level>();

  constructor(
    private readonly model: LanguageModel,
    private readonly pending: readonly Pending[],
    private readonly rules: BatchRules,
    private readonly options: ContinuationOptions,
  ) {}

  /** Adds nodes that continue from rows of a state, the shortest first. The walk owns the state. */
  push(nodes: readonly Entry[], state: ModelState | null): void {
    const levels = levelsOf(nodes, this.rules).map((level) => batchesOf(level, this.rules));
    const parents = state && { state, users: levels.flat().length };
    for (const batches of levels.reverse()) {
      const level = { open: batches.length, parts: [] };
      for (const batch of batches.reverse()) this.stack.push({ batch, parents, level });
    }
  }

  /** Computes the next batch: the requests that it completed, or null at the end. */
  async step(): Promise<[request: number, score: ContinuationScore][] | null> {
    this.options.signal?.throwIfAborted();
    const next = this.stack.pop();
    if (!next) return null;
    const { batch, level } = next;
    const entries = batch.flat();
    this.begun.add(level);
    const going = entries.flatMap(({ node: { children } }, row) => (children.length ? row : []));
    const { done, state } = await this.run(next, going.length > 0);
    if (state) {
      const children = going.flatMap((from, row) => entries[from].node.children.map((node) => ({ node, row })));
      level.parts.push({ state: keepRows(state, going), children });
    }
    level.open--;
    if (level.open === 0) this.descend(level);
    return done;
  }

  /** Continues with the children of a finished level, for all its batches together if their states can be joined. */
  private descend(level: Level): void {
    // Whatever fails, a state is the level's, or of what took it from there.
    while (level.parts.length > 0) {
      const sizes = sizesOf(level.parts[0].state);
      const parts = level.parts.filter(({ state }) => sizesOf(state) === sizes);
      level.parts = level.parts.filter((part) => !parts.includes(part));
      let before = 0;
      const children: Entry[] = [];
      for (const { state, children: own } of parts) {
        for (const { node, row } of own) children.push({ node, row: before + row });
        before += state.rows;
      }
      const joined = merge(parts.map(({ state }) => state));
      try {
        this.push(children, joined);
      } catch (error) {
        joined.dispose();
        throw error;
      }
    }
    this.begun.delete(level);
  }

  dispose(): void {
    for (const { parents } of this.stack.splice(0)) release(parents);
    for (const { parts } of this.begun) for (const { state } of parts) state.dispose();
    this.begun.clear();
  }

  /** Requested results at the positions of a reading that begins at `at` of each node. */
  private questionsOf(rows: Reading['rows'], at: number) {
    const questions: { row: ScoredRow; askers: Map<number, Pending[]>; position: number }[] = [];
    for (const { node, first, tokens } of rows) {
      const { start, sequences } = node;
      const end = at + tokens;
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
        const row = { row: first + t - at, targets: [...askers.keys()] };
        if (askers.size) questions.push({ row, askers, position: start + t });
      }
    }
    return questions;
  }

  /** Computes one batch. Returns the completed requests, and the state after the batch if `wantState`. */
  private async run({ batch, parents }: Step, wantState: boolean) {
    const { model } = this;
    const { device } = model;
    const entries = batch.flat();
    const length = Math.max(...entries.map(({ node }) => node.tokens.length));
    // Several groups are read at once. A group alone is read in chunks of the size that suits the device.
    const chunk = batch.length > 1 ? length : (this.rules.chunk ?? chunkFor(entries.length));
    const done: [number, ContinuationScore][] = [];
    let state = takeRows(
      parents,
      entries.map(({ row }) => row),
    );
    try {
      for (let at = 0; at < length; at += chunk) {
        const count = Math.min(chunk, length - at);
        const before = state;
        const after = device.noGrad(() =>
          device.scope(() => {
            const { ids, flags, ragged, rows } = readingOf(model, batch, at, count);
            const goesOn = wantState || at + count < length;
            const result = model.forward(ids, { flags, ragged, state: before, wantState: goesOn });
            return { ...result, rows, hidden: reshape(result.hidden, [ids.size, model.hiddenSize]) };
          }),
        );
        before?.dispose();
        state = after.state;
        const questions = this.questionsOf(after.rows, at);
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
      for (const { node } of entries) this.computedTokens += node.tokens.length;
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
