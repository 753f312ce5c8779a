/** Nodes of a trie as a model reads them: ids and flags of a batch, and where each node's tokens lie in it. */
import type { RaggedPart, Tensor } from '../../tensor/index.ts';
import type { LanguageModel } from '../heads/language-model.ts';
import { FLAG_PAD } from '../sequence.ts';
import type { TrieNode } from './prefix-trie.ts';
import type { Batch } from './trie-batches.ts';

/** Some positions of a batch as a model reads them: a block of padded rows, or several one after the other. */
export interface Reading {
  readonly ids: Tensor;
  readonly flags: Tensor | null;
  readonly ragged: readonly RaggedPart[] | null;
  /** Node by node the row of its first position among all, and how many of its tokens are read. */
  readonly rows: readonly { readonly node: TrieNode; readonly first: number; readonly tokens: number }[];
}

/** Tokens of a batch from `at` of each node, `count` at most. */
export function readingOf(model: LanguageModel, batch: Batch, at: number, count: number): Reading {
  const rows: Reading['rows'][number][] = [];
  const parts: RaggedPart[] = [];
  let total = 0;
  for (const group of batch) {
    const length = Math.min(count, group.at(-1)!.node.tokens.length - at);
    for (const { node } of group) {
      rows.push({ node, first: total, tokens: Math.max(0, Math.min(length, node.tokens.length - at)) });
      total += length;
    }
    parts.push({ rows: group.length, length });
  }
  const ids = new Int32Array(total);
  const flags = new Int32Array(total).fill(FLAG_PAD);
  for (const { node, first, tokens } of rows) {
    for (let t = 0; t < tokens; t++) ids[first + t] = node.tokens[at + t];
    flags.fill(0, first, first + tokens);
  }
  const [{ rows: b, length: l }] = parts;
  const isOne = parts.length === 1;
  const shape = isOne ? [b, l] : [1, total];
  const { device } = model;
  return {
    ids: device.from(ids, shape, 'i32'),
    flags: flags.includes(FLAG_PAD) ? device.from(flags, shape, 'i32') : null,
    ragged: isOne ? null : parts,
    rows,
  };
}
