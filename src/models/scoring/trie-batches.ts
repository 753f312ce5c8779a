/** Which nodes of a trie are computed together: levels of nodes before any of their children, levels in batches. */
import { MOST_POSITIONS } from '../prefill.ts';
import { prefixTrie, type TrieNode } from './prefix-trie.ts';

/** What a batch costs besides its positions, in positions: weights that are read, launches, what is read back. */
const BATCH_COST = 32;
/** The same of a piece of a batch: launches of the kernels that walk along sequences. */
const PIECE_COST = 2;
/** What a node that others go on from costs: its state is copied. */
const STATE_COST = 1;
/** Positions of a batch of several pieces: enough to keep a device busy, few enough for its caches. */
const JOINED_POSITIONS = 1024;
/** Tokens that a shared beginning has to save, of which the one is taken with which all costs the least. */
const LEAST_SAVED = [2, 8, 32];

/** A node, and the row of its parent in the state of all parents. */
export interface Entry {
  readonly node: TrieNode;
  readonly row: number;
}

export interface BatchRules {
  /** Most sequences of a length that are in memory together. */
  readonly most: (length: number) => number;
  /** Whether as many as may be are taken, or as few as cost the least. */
  readonly isFixed: boolean;
  /** Whether the model takes sequences of different lengths in one batch without padding. */
  readonly takesRagged: boolean;
  /** Positions of a sequence that are computed at once; null for what the number of sequences makes it. */
  readonly chunk: number | null;
}

/** Nodes of like length, sorted by it, padded to the longest. */
export type Piece = readonly Entry[];
/** Pieces that are computed together. */
export type Batch = readonly Piece[];

const byLength = (nodes: readonly Entry[]): Entry[] =>
  [...nodes].sort((a, b) => a.node.tokens.length - b.node.tokens.length);

const lengthOf = (piece: Piece): number => piece.at(-1)!.node.tokens.length;
const positionsOf = (piece: Piece): number => piece.length * lengthOf(piece);

/** Cuts sorted nodes so that all pieces together cost the least, padding and `own` cost of each included. */
function cheapestCuts(sorted: readonly Entry[], most: BatchRules['most'], own: number): Piece[] {
  // The least cost of the first j nodes, and where their last piece begins.
  const least = new Float64Array(sorted.length + 1);
  const begins = new Int32Array(sorted.length + 1);
  for (let j = 1; j <= sorted.length; j++) {
    const { start, tokens } = sorted[j - 1].node;
    const rows = j > 1 ? Math.min(most(start + tokens.length), Math.floor(MOST_POSITIONS / tokens.length)) : 1;
    least[j] = Number.POSITIVE_INFINITY;
    for (let i = j - 1; i >= Math.max(0, j - Math.max(1, rows)); i--) {
      const cost = least[i] + own + (j - i) * tokens.length;
      if (cost < least[j]) [least[j], begins[j]] = [cost, i];
    }
  }
  const pieces: Piece[] = [];
  for (let j = sorted.length; j > 0; j = begins[j]) pieces.push(sorted.slice(begins[j], j));
  return pieces.reverse();
}

/** Joins pieces of which none is read chunk by chunk. */
function joined(pieces: readonly Piece[], { most, chunk }: BatchRules): Batch[] {
  const batches: Piece[][] = [];
  let rows = 0;
  let positions = 0;
  for (const piece of pieces) {
    const { start } = piece.at(-1)!.node;
    const length = lengthOf(piece);
    rows += piece.length;
    positions += positionsOf(piece);
    const isWhole = length <= (chunk ?? JOINED_POSITIONS);
    if (batches.length > 0 && isWhole && positions <= JOINED_POSITIONS && rows <= most(start + length)) {
      batches.at(-1)!.push(piece);
    } else {
      batches.push([piece]);
      [rows, positions] = [piece.length, positionsOf(piece)];
    }
  }
  return batches;
}

/**
 * Sorted by length and cut into batches: where `isFixed`, of as many as may be; else so that all batches together compute
 * the least, padding and their own costs included.
 */
export function batchesOf(nodes: readonly Entry[], rules: BatchRules): Batch[] {
  const { most, isFixed, takesRagged } = rules;
  const sorted = byLength(nodes);
  if (isFixed) {
    const size = most(0);
    return Array.from({ length: Math.ceil(sorted.length / size) }, (_, i) => [sorted.slice(i * size, (i + 1) * size)]);
  }
  if (!takesRagged) return cheapestCuts(sorted, most, BATCH_COST).map((piece) => [piece]);
  return joined(cheapestCuts(sorted, most, PIECE_COST), rules);
}

const hasChildren = ({ node }: Entry): boolean => node.children.length > 0;

/** Cuts nodes into levels of like length, so that the states that their children go on from are in memory together. */
export function levelsOf(nodes: readonly Entry[], { most }: BatchRules): Entry[][] {
  const levels: Entry[][] = [[]];
  let parents = 0;
  for (const entry of byLength(nodes)) {
    const { start, tokens } = entry.node;
    // Of one node no memory is asked, which may have to be measured.
    if (hasChildren(entry) && ++parents > 1 && parents > most(start + tokens.length)) {
      levels.push([]);
      parents = 1;
    }
    levels.at(-1)!.push(entry);
  }
  return levels.filter((level) => level.length > 0);
}

const asEntries = (nodes: readonly TrieNode[]): Entry[] => nodes.map((node) => ({ node, row: 0 }));

/** What a trie costs, in positions, padding and the batches' own costs included. */
function costOf(roots: readonly TrieNode[], rules: BatchRules): number {
  let cost = 0;
  for (const open = [asEntries(roots)]; open.length; ) {
    for (const level of levelsOf(open.pop()!, rules)) {
      for (const batch of batchesOf(level, rules)) {
        cost += BATCH_COST;
        for (const piece of batch) {
          cost += PIECE_COST + positionsOf(piece) + STATE_COST * piece.filter(hasChildren).length;
        }
      }
      const children = level.flatMap(({ node }) => node.children);
      if (children.length) open.push(asEntries(children));
    }
  }
  return cost;
}

/** The trie of sequences that costs the least to compute. */
export function cheapestTrie(sequences: readonly (readonly number[])[], rules: BatchRules): TrieNode[] {
  const tries = LEAST_SAVED.map((leastSaved) => prefixTrie(sequences, leastSaved));
  const costs = tries.map((roots) => costOf(roots, rules));
  return tries[costs.indexOf(Math.min(...costs))];
}
