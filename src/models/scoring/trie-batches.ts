/** Plans the order in which a trie is computed: nodes before their children, in levels; each level in batches. */
import { MOST_POSITIONS } from '../prefill.ts';
import { prefixTrie, type TrieNode } from './prefix-trie.ts';

/** Cost of a batch besides its positions, in positions: reading weights, launches, reading results back. */
const BATCH_COST = 32;
/** Cost of a group in a batch, in positions: launches of the kernels that walk along sequences. */
const GROUP_COST = 2;
/** Cost of a node with children, in positions: its state is copied. */
const STATE_COST = 1;
/** Most positions of a batch of several groups: enough to keep a device busy, few enough for its caches. */
const JOINED_POSITIONS = 1024;
/** Least tokens that a shared prefix saves. All are tried; the cheapest trie is taken. */
const LEAST_SAVED = [2, 8, 32];

/** A node, and the row of its parent in the state of all parents. */
export interface Entry {
  readonly node: TrieNode;
  readonly row: number;
}

export interface BatchRules {
  /** Most sequences of a length that are in memory together. */
  readonly most: (length: number) => number;
  /** Batches have as many sequences as fit; otherwise as many as cost the least. */
  readonly isFixed: boolean;
  /** The model reads ragged batches. */
  readonly takesRagged: boolean;
  /** Positions of a sequence that are computed at once; null to derive it from the number of sequences. */
  readonly chunk: number | null;
}

/** Nodes of similar length, sorted by length and padded to the longest. */
export type Group = readonly Entry[];
/** Groups that are computed together. */
export type Batch = readonly Group[];

const byLength = (nodes: readonly Entry[]): Entry[] =>
  [...nodes].sort((a, b) => a.node.tokens.length - b.node.tokens.length);

const lengthOf = (group: Group): number => group.at(-1)!.node.tokens.length;
const positionsOf = (group: Group): number => group.length * lengthOf(group);

/** Cuts sorted nodes into the groups of least total cost: padding, and `own` for each group. */
function cheapestCuts(sorted: readonly Entry[], most: BatchRules['most'], own: number): Group[] {
  // The least cost of the first j nodes, and where their last group begins.
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
  const groups: Group[] = [];
  for (let j = sorted.length; j > 0; j = begins[j]) groups.push(sorted.slice(begins[j], j));
  return groups.reverse();
}

/** Joins groups into batches. A group that is read in chunks stays alone. */
function joined(groups: readonly Group[], { most, chunk }: BatchRules): Batch[] {
  const batches: Group[][] = [];
  let rows = 0;
  let positions = 0;
  for (const group of groups) {
    const { start } = group.at(-1)!.node;
    const length = lengthOf(group);
    rows += group.length;
    positions += positionsOf(group);
    const isWhole = length <= (chunk ?? JOINED_POSITIONS);
    if (batches.length > 0 && isWhole && positions <= JOINED_POSITIONS && rows <= most(start + length)) {
      batches.at(-1)!.push(group);
    } else {
      batches.push([group]);
      [rows, positions] = [group.length, positionsOf(group)];
    }
  }
  return batches;
}

/**
 * Batches of nodes, sorted by length. With `isFixed` each has as many nodes as fit; otherwise the total cost is the least,
 * with padding and the cost of each batch.
 */
export function batchesOf(nodes: readonly Entry[], rules: BatchRules): Batch[] {
  const { most, isFixed, takesRagged } = rules;
  const sorted = byLength(nodes);
  if (isFixed) {
    const size = most(0);
    return Array.from({ length: Math.ceil(sorted.length / size) }, (_, i) => [sorted.slice(i * size, (i + 1) * size)]);
  }
  if (!takesRagged) return cheapestCuts(sorted, most, BATCH_COST).map((group) => [group]);
  return joined(cheapestCuts(sorted, most, GROUP_COST), rules);
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

/** Cost of a trie in positions, with padding and the cost of each batch. */
function costOf(roots: readonly TrieNode[], rules: BatchRules): number {
  let cost = 0;
  for (const open = [asEntries(roots)]; open.length; ) {
    for (const level of levelsOf(open.pop()!, rules)) {
      for (const batch of batchesOf(level, rules)) {
        cost += BATCH_COST;
        for (const group of batch) {
          cost += GROUP_COST + positionsOf(group) + STATE_COST * group.filter(hasChildren).length;
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
