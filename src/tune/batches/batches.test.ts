import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FLAG_PAD, FLAG_RESET } from '../../models/index.ts';
import { countingExamples } from '../testing/tiny-runs.ts';
import { type BatchSource, PackedBatches, StreamBatches, type TokenBatch, type TokenExample } from './index.ts';

const text = (...ids: number[]): TokenExample => ({ ids, targets: [[1, ids.length]], bytes: 0 });

/** The documents of a block: their tokens, read back from the flags. */
function documentsOf({ rows, length, ids, flags }: TokenBatch): number[][] {
  const documents: number[][] = [];
  for (let r = 0; r < rows; r++) {
    let current: number[] = [];
    for (let t = r * length; t < (r + 1) * length; t++) {
      if (flags?.[t] === FLAG_PAD) continue;
      if (t === r * length || flags?.[t] === FLAG_RESET) {
        current = [];
        documents.push(current);
      }
      current.push(ids[t]);
    }
  }
  return documents;
}

const seen = (source: BatchSource, count: number) => Array.from({ length: count }, () => source.next());

test('packing: every example as often as the others, whole, with its own targets, little padded', () => {
  // Told apart by their first token.
  const examples = countingExamples(200, 30).map((example, i) => ({
    ...example,
    ids: [1000 + i, ...example.ids.slice(1)],
  }));
  const source = new PackedBatches(examples, { batchSize: 4, maxLength: 64, isPacked: true, seed: 1 });
  const batches = seen(source, Math.ceil(10 * source.batchesPerEpoch));
  const counts = new Map<string, number>();
  for (const ids of batches.flatMap(documentsOf)) counts.set(ids.join(), (counts.get(ids.join()) ?? 0) + 1);
  assert.deepEqual(new Set(counts.keys()), new Set(examples.map(({ ids }) => ids.join())));
  assert.ok(Math.min(...counts.values()) >= 9 && Math.max(...counts.values()) <= 11, `${[...counts.values()]}`);
  const tokens = batches.reduce((sum, batch) => sum + batch.tokenCount, 0);
  const room = batches.reduce((sum, batch) => sum + batch.rows * batch.length, 0);
  assert.ok(tokens / room > 0.95, `${tokens} of ${room}`);
  for (const batch of batches) {
    let count = 0;
    batch.targets.forEach((target, t) => {
      if (target === -100) return;
      count++;
      assert.equal(target, batch.ids[t + 1]);
      assert.equal(batch.flags?.[t + 1], 0);
    });
    assert.equal(count, batch.targetCount);
  }
});

test('padding: a row each; no flags where all are of a length', () => {
  const source = new PackedBatches([text(1, 2, 3), text(4, 5)], {
    batchSize: 2,
    maxLength: 8,
    isPacked: false,
    seed: 0,
    isShuffled: false,
  });
  const batch = source.next();
  assert.deepEqual([...batch.ids], [1, 2, 3, 4, 5, 0]);
  assert.deepEqual([...batch.targets], [2, 3, -100, 5, -100, -100]);
  assert.deepEqual([...batch.flags!], [FLAG_RESET, 0, 0, FLAG_RESET, 0, FLAG_PAD]);
  assert.equal(source.batchesPerEpoch, 1);
  const even = new PackedBatches([text(1, 2)], { batchSize: 2, maxLength: 8, isPacked: false, seed: 0 });
  assert.equal(even.next().flags, null);
});

test('a stream goes on where it ended: no target is lost at the edge of a block', () => {
  const source = new StreamBatches([text(1, 2, 3, 4, 5), text(6, 7)], {
    batchSize: 1,
    maxLength: 3,
    seed: 0,
    isShuffled: false,
  });
  const [a, b, c] = seen(source, 3);
  assert.deepEqual([...a.ids, ...b.ids, ...c.ids], [1, 2, 3, 4, 5, 6, 7, 1, 2]);
  assert.deepEqual([...a.targets, ...b.targets, ...c.targets], [2, 3, 4, 5, -100, 7, -100, 2, 3]);
  assert.deepEqual([...a.flags!, ...b.flags!, ...c.flags!], [1, 0, 0, 0, 0, 1, 0, 1, 0]);
  assert.deepEqual([a.isContinued, b.isContinued], [false, true]);
});

test('rows of a stream read different documents', () => {
  const source = new StreamBatches([text(1, 2, 3, 4), text(5, 6, 7, 8), text(9, 10, 11, 12)], {
    batchSize: 2,
    maxLength: 2,
    seed: 0,
    isShuffled: false,
  });
  assert.deepEqual([...source.next().ids], [1, 2, 5, 6]);
  assert.deepEqual([...source.next().ids], [3, 4, 7, 8]);
  assert.deepEqual([...source.next().ids].slice(0, 2), [9, 10]);
});

test('a source that is restored goes on as if it had not stopped; other data is an error', () => {
  const examples = countingExamples(50, 20);
  const makers: (() => BatchSource)[] = [
    () => new PackedBatches(examples, { batchSize: 3, maxLength: 32, isPacked: true, seed: 5 }),
    () => new PackedBatches(examples, { batchSize: 3, maxLength: 32, isPacked: false, seed: 5 }),
    () => new StreamBatches(examples, { batchSize: 3, maxLength: 8, seed: 5 }),
  ];
  for (const make of makers) {
    const source = make();
    seen(source, 7);
    const state = JSON.parse(JSON.stringify(source.state()));
    const again = make();
    again.restore(state);
    assert.deepEqual(seen(again, 30), seen(source, 30));
    const other = new StreamBatches(examples.slice(1), { batchSize: 3, maxLength: 8, seed: 5 });
    assert.throws(() => other.restore(state), /the data had 50 examples, now 49/);
  }
});

test('no data, or an example longer than a row, is an error', () => {
  const options = { batchSize: 1, maxLength: 4, isPacked: true, seed: 0 };
  assert.throws(() => new PackedBatches([], options), /no examples to train on/);
  assert.throws(() => new StreamBatches([], options), /no examples to train on/);
  assert.throws(() => new PackedBatches([text(1, 2, 3, 4, 5)], options), /5 tokens, a row 4; truncate it/);
});
