/** The contract of lists of commands: what they compute, and how long they live. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Allocation } from '../allocation.ts';
import type { Backend } from '../backend.ts';
import { command } from '../command.ts';
import { adding, f32, filling, floatsOf, row } from './commands.ts';

/** Declares the tests; `get` returns the device once they run. */
export function describeLists(get: () => Backend): void {
  describe('lists of commands', () => describeResults(get));
  describe('lives of lists of commands', () => describeLives(get));
}

function describeResults(get: () => Backend): void {
  it('run in order with everything else, as often as they are queued', async () => {
    const backend = get();
    const [x, y] = [backend.alloc(8), backend.alloc(8)];
    const list = backend.list([adding(x, y, 2), adding(x, y, 2), filling(x, 2, 100)]);
    assert.equal(list.length, 3);
    const reads: Promise<Uint8Array>[] = [];
    for (const value of [1, 2, 3]) {
      backend.upload(x, 0, f32(value, -value));
      backend.launch(filling(y, 2, value * 10));
      list.launch();
      if (value === 2) list.launch();
      reads.push(backend.download(y, 0, 8));
    }
    const [first, second, third] = (await Promise.all(reads)).map(floatsOf);
    assert.deepEqual(first, [12, 8]);
    assert.deepEqual(second, [224, 216]);
    assert.deepEqual(third, [36, 24]);
    list.close();
    for (const block of [x, y]) backend.free(block);
  });

  it('give the bits of single launches, with scratch memory too', async () => {
    const backend = get();
    const n = 150;
    const [a, b, c, d] = [1, 2, 3, 4].map(() => backend.alloc(n * n * 4));
    const sides = { batch: 1, m: n, n, k: n, transA: 0, transB: 1, strideA: 0, strideB: 0, strideC: 0 };
    const square = (to: Allocation) =>
      command('matmul', { a: row(a, n), b: row(b, n), c: row(to, n) }, sides, { alpha: 1, beta: 0 });
    const numbers = Float32Array.from({ length: n * n }, (_, i) => Math.sin(i));
    for (const block of [a, b]) backend.upload(block, 0, new Uint8Array(numbers.buffer));
    backend.launch(square(c));
    const list = backend.list([filling(d, n * n, 7), square(d)]);
    list.launch();
    list.close(); // while it may be running
    const [single, listed] = [await backend.download(c, 0, n * n * 4), await backend.download(d, 0, n * n * 4)];
    assert.deepEqual(listed, single);
    for (const block of [a, b, c, d]) backend.free(block);
  });
}

function describeLives(get: () => Backend): void {
  it('are made and closed without leaking', async () => {
    const backend = get();
    const x = backend.alloc(4);
    const before = backend.memory();
    for (let i = 0; i < 50; i++) {
      const list = backend.list(Array.from({ length: 20 }, () => filling(x, 1, i)));
      for (let j = 0; j < 5; j++) list.launch();
      list.close();
      list.close();
      assert.throws(() => list.launch(), /closed/);
    }
    assert.deepEqual(floatsOf(await backend.download(x, 0, 4)), [49]);
    assert.deepEqual([backend.memory().blocks, backend.memory().bytesInUse], [before.blocks, before.bytesInUse]);
    backend.free(x);
  });

  it('are safe from freed memory that is still being written', async () => {
    const backend = get();
    const y = backend.alloc(4);
    for (let i = 0; i < 30; i++) {
      const blocks = [1, 2, 3, 4].map((n) => backend.alloc(n * 1000));
      blocks.forEach((block, n) => void backend.launch(filling(block, (n + 1) * 250, 3)));
      for (const block of blocks) backend.free(block);
      const list = backend.list([filling(y, 1, i), filling(y, 1, i + 1)]);
      list.launch();
      list.close();
    }
    assert.deepEqual(floatsOf(await backend.download(y, 0, 4)), [30]);
    backend.free(y);
  });

  it('may be empty, and refuse what a launch refuses', async () => {
    const backend = get();
    const empty = backend.list([]);
    empty.launch();
    empty.close();
    const block = backend.alloc(32);
    const double = () => backend.list([filling(block, 1, 1), filling(block, 4, 1.5, 'f64')]);
    if (!backend.supports('f64')) assert.throws(double, { name: 'UnsupportedOpError', message: /fill.*y of f64/ });
    backend.free(block);
  });
}
