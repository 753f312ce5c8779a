import assert from 'node:assert/strict';
import { it } from 'node:test';
import { randomIds } from '../testing/model-runs.ts';
import { prefixTrie } from './prefix-trie.ts';
import { type BatchRules, batchesOf, cheapestTrie, type Entry, levelsOf } from './trie-batches.ts';

const rules: BatchRules = { most: () => 64, isFixed: false, takesRagged: true, chunk: null };
const padded: BatchRules = { ...rules, takesRagged: false };

/** Leaves of such lengths, or parents of a leaf each. */
const entries = (lengths: readonly number[], isParent = false): Entry[] =>
  lengths.map((length, row) => {
    const leaf = { tokens: [1], start: length, sequences: [row], children: [] };
    return {
      node: { tokens: randomIds(length, 9, row), start: 0, sequences: [row], children: isParent ? [leaf] : [] },
      row,
    };
  });
const lengthsOf = (piece: readonly Entry[]) => piece.map(({ node }) => node.tokens.length);
const positions = (piece: readonly Entry[]) => piece.length * Math.max(...lengthsOf(piece));

it('batches take every node once; without padding where a model takes pieces, else with little', () => {
  const lengths = randomIds(90, 60, 5).map((x) => x + 1);
  for (const some of [rules, padded, { ...rules, most: () => 7 }, { ...padded, isFixed: true, most: () => 7 }]) {
    const batches = batchesOf(entries(lengths), some);
    const rows = batches.flat(2).map(({ row }) => row);
    assert.deepEqual(
      [...rows].sort((a, b) => a - b),
      [...lengths.keys()],
    );
    for (const batch of batches) assert.ok(batch.flat().length <= some.most(0));
    assert.ok(some.takesRagged || batches.every((batch) => batch.length === 1));
  }
  const tokens = lengths.reduce((sum, length) => sum + length, 0);
  const cost = (some: BatchRules) =>
    batchesOf(entries(lengths), some)
      .flat()
      .reduce((sum, piece) => sum + positions(piece), 0);
  assert.ok(cost(rules) < 1.05 * tokens, `${cost(rules)} positions for ${tokens} tokens`);
  assert.ok(cost(padded) > cost(rules) && cost(padded) < 1.4 * tokens, `${cost(padded)} for ${tokens}`);
  const long = batchesOf(entries([5, 700, 800, 3000, 9000]), rules);
  assert.deepEqual(
    long.map((batch) => batch.map(lengthsOf)),
    [[[5], [700]], [[800]], [[3000]], [[9000]]],
  );
});

it('what is read chunk by chunk is joined with nothing', () => {
  const batches = batchesOf(entries([5, 6, 20, 21]), { ...rules, chunk: 8 });
  assert.deepEqual(
    batches.map((batch) => batch.map(lengthsOf)),
    [[[5, 6]], [[20, 21]]],
  );
});

it('levels hold no more states than there is room for; leaves leave none', () => {
  const few = { ...rules, most: (length: number) => (length > 50 ? 2 : 4) };
  const levels = levelsOf(entries([10, 20, 30, 40, 49, 60, 70, 80], true), few);
  assert.deepEqual(
    levels.map((level) => lengthsOf(level)),
    [
      [10, 20, 30, 40],
      [49, 60],
      [70, 80],
    ],
  );
  assert.equal(levelsOf(entries(new Array(100).fill(9)), few).length, 1);
  assert.deepEqual(levelsOf([], few), []);
});

it('short beginnings are shared where there are many of them, and left to each where a level more costs more', () => {
  const pair = (i: number) =>
    [0, 1].map((k) => [...randomIds(12, 99, i), 100 + k, ...randomIds(8, 99, 500 + 2 * i + k)]);
  const tokensOf = (sequences: number[][], some: BatchRules) => {
    let sum = 0;
    for (const open = [...cheapestTrie(sequences, some)]; open.length; ) {
      const { tokens, children } = open.pop()!;
      sum += tokens.length;
      open.push(...children);
    }
    return sum;
  };
  const many = Array.from({ length: 40 }, (_, i) => pair(i)).flat();
  assert.equal(tokensOf(many, rules), 40 * (12 + 2 * 9));
  const one = pair(1);
  assert.equal(tokensOf(one, rules), 2 * 21);
  assert.equal(prefixTrie(one, 2).length, 1);
});
