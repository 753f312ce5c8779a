import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createReferenceBackend } from '../../backend/reference/index.ts';
import { Device, narrow, type Tensor } from '../../tensor/index.ts';
import { append } from './append.ts';

const device = new Device(createReferenceBackend());
after(() => device.close());

const WIDTH = 3;
/** Positions [b, l, width] that hold their own number. */
const positions = (from: number, count: number, b = 1, dtype: 'f32' | 'bf16' = 'f32'): Tensor => {
  const row = Array.from({ length: count * WIDTH }, (_, i) => from + Math.floor(i / WIDTH));
  return device.from(Array(b).fill(row).flat(), [b, count, WIDTH], dtype);
};
const read = async (t: Tensor) => [...(await t.read())].filter((_, i) => i % WIDTH === 0);
const upTo = (n: number) => [...Array(n).keys()];

test('grows a position at a time in blocks with room, earlier states as they were', async () => {
  for (const dtype of ['f32', 'bf16'] as const) {
    const states = [append(null, positions(0, 2, 1, dtype))];
    const storages = new Set();
    for (let p = 2; p < 150; p++) {
      const now = positions(p, 1, 1, dtype);
      states.push(append(states[states.length - 1], now));
      storages.add(states[states.length - 1].storage);
      now.dispose();
    }
    assert.ok(storages.size <= 4, `${storages.size} blocks`);
    for (const [i, state] of states.entries()) {
      assert.deepEqual([state.shape, state.dtype, state.isDense], [[1, i + 2, WIDTH], dtype, true]);
      assert.deepEqual(await read(state), upTo(i + 2));
    }
    for (const state of states) state.dispose();
    assert.equal(device.memory().blocks, 0);
  }
});

test('two that go on from one do not disturb each other', async () => {
  const first = positions(0, 4);
  const trunk = append(first, positions(4, 1));
  const branches = [10, 20, 30].map((from) => append(trunk, positions(from, 2)));
  const longer = append(branches[1], positions(22, 1));
  assert.deepEqual(await read(trunk), upTo(5));
  for (const [i, branch] of branches.entries()) {
    assert.deepEqual(await read(branch), [...upTo(5), 10 * (i + 1), 10 * (i + 1) + 1]);
  }
  assert.deepEqual(await read(longer), [...upTo(5), 20, 21, 22]);
  assert.equal(branches[0].storage, trunk.storage, 'the first of them has the room');
  assert.notEqual(branches[1].storage, trunk.storage);
});

test('copies where there are several sequences, or gradients; takes slices of columns, and nothing', async () => {
  const both = append(positions(0, 3, 2), positions(3, 1, 2));
  assert.deepEqual(await read(both), [...upTo(4), ...upTo(4)]);
  const before = positions(0, 3).trainable();
  assert.ok(append(before, positions(3, 1)).requiresGrad);
  const wide = device.from([9, 3, 3, 3, 9, 4, 4, 4], [1, 2, 4]);
  assert.deepEqual(await read(append(positions(0, 3), narrow(wide, 2, 1, 3))), upTo(5));
  assert.deepEqual(await read(append(positions(0, 3), device.empty([1, 0, WIDTH]))), upTo(3));
  assert.deepEqual(await read(append(device.empty([1, 0, WIDTH]), positions(0, 2))), upTo(2));
});
