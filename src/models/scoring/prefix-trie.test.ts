import assert from 'node:assert/strict';
import { it } from 'node:test';
import { randomIds } from '../testing/model-runs.ts';
import { prefixTrie, type TrieNode } from './prefix-trie.ts';

/** The sequences that the paths of a trie spell, by number; every node's sequences and start are checked on the way. */
function spelled(roots: readonly TrieNode[], count: number): number[][] {
  const found: number[][] = Array.from({ length: count }, () => []);
  const visit = (node: TrieNode, depth: number) => {
    assert.equal(node.start, depth);
    assert.notEqual(node.tokens.length, 0, 'a node without tokens');
    for (const sequence of node.sequences) {
      assert.equal(found[sequence].length, depth, `sequence ${sequence} is on two paths`);
      found[sequence].push(...node.tokens);
    }
    for (const child of node.children) visit(child, depth + node.tokens.length);
  };
  for (const root of roots) visit(root, 0);
  return found;
}

const tokensOf = (nodes: readonly TrieNode[]): number =>
  nodes.reduce((sum, { tokens, children }) => sum + tokens.length + tokensOf(children), 0);

it('a trie spells its sequences, whatever they share', () => {
  for (let seed = 0; seed < 40; seed++) {
    const vocabulary = 1 + (seed % 4);
    const sequences = Array.from({ length: 30 }, (_, i) => {
      const { length } = randomIds(60, 60, seed + 7 * i).filter((x) => x < 20 + seed);
      const shared = randomIds(40 * (i % 3), vocabulary, seed);
      return [...shared, ...randomIds(1 + length, vocabulary, seed + 50 * i)];
    });
    const trie = prefixTrie(sequences, 32);
    assert.deepEqual(spelled(trie, sequences.length), sequences);
    assert.deepEqual(spelled(prefixTrie(sequences, null), sequences.length), sequences);
    assert.equal(tokensOf(trie) < tokensOf(prefixTrie(sequences, null)), true, 'nothing is shared');
  }
});

it('what many share stands once, what few share for a token or two is left to each', () => {
  const shots = randomIds(100, 50, 1);
  const question = (id: number) => [...shots, 60 + id, ...randomIds(40, 50, 2 + id)];
  const trie = prefixTrie([question(0), question(1), question(0), [...question(1), 7], shots], 32);
  assert.equal(trie.length, 1);
  assert.deepEqual([...trie[0].tokens], [...shots]);
  assert.deepEqual([...trie[0].sequences].sort(), [0, 1, 2, 3, 4]);
  assert.deepEqual(trie[0].children.map(({ tokens }) => tokens.length).sort(), [41, 41]);
  const few = prefixTrie(
    [
      [1, 2, 3],
      [1, 2, 4],
    ],
    32,
  );
  assert.deepEqual(few.map(({ tokens }) => [...tokens]).sort(), [
    [1, 2, 3],
    [1, 2, 4],
  ]);
});

it('thousands of sequences, each the beginning of the next, do not exhaust the stack', () => {
  const sequences = Array.from({ length: 3000 }, (_, i) => new Array<number>(i + 1).fill(1));
  assert.equal(tokensOf(prefixTrie(sequences, 32)) < 500_000, true, 'the chain is not shared');
  assert.deepEqual(prefixTrie([], 32), []);
});
