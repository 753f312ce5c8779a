/** The caching allocator of the native and WASM devices. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Allocation } from './allocation.ts';
import { BlockPool, sizeClass } from './block-pool.ts';

/** A pool over memory that only counts, and what it has asked for. */
function createPool() {
  const grown: number[] = [];
  let next = 64;
  const pool = new BlockPool((bytes) => {
    grown.push(bytes);
    const address = next;
    next += Math.ceil(bytes / 64) * 64;
    return address;
  });
  return { pool, grown };
}

describe('sizeClass', () => {
  it('holds the request, wastes at most an eighth beyond 256 bytes, and is a fixed point', () => {
    const sizes = fc.oneof(fc.nat(5000), fc.nat(2 ** 31 - 1), fc.maxSafeNat());
    const property = fc.property(sizes, (bytes) => {
      const size = sizeClass(bytes);
      assert.ok(size >= bytes && size >= 256);
      assert.ok(size <= Math.max(512, bytes * 1.125) || size - bytes < 256, `${bytes} takes ${size}`);
      assert.equal(sizeClass(size), size);
    });
    fc.assert(property, { seed: 5, numRuns: 2000 });
  });

  it('never shrinks when the request grows', () => {
    const property = fc.property(fc.nat(10_000_000), fc.nat(100_000), (bytes, more) => {
      assert.ok(sizeClass(bytes + more) >= sizeClass(bytes));
    });
    fc.assert(property, { seed: 6, numRuns: 2000 });
  });
});

describe('BlockPool', () => {
  it('hands out a freed block again instead of growing', () => {
    const { pool, grown } = createPool();
    const first = pool.alloc(5000);
    pool.free(first);
    const second = pool.alloc(5000);
    assert.equal(second.address, first.address);
    assert.equal(grown.length, 1);
  });

  it('asks for nothing after the first of many equal steps', () => {
    const { pool, grown } = createPool();
    const step = () => {
      const blocks = [100, 5000, 5000, 1_000_000, 0].map((bytes) => pool.alloc(bytes));
      for (const block of blocks) pool.free(block);
    };
    step();
    const after = grown.length;
    for (let i = 0; i < 20; i++) step();
    assert.equal(grown.length, after);
  });

  it('takes a slightly larger free block, never a much larger one', () => {
    const { pool, grown } = createPool();
    pool.free(pool.alloc(10_240));
    const near = pool.alloc(9000);
    assert.equal(grown.length, 1);
    pool.free(near);
    pool.alloc(4000);
    assert.equal(grown.length, 2);
  });

  it('refuses to free twice, or what it never gave', () => {
    const { pool } = createPool();
    const block = pool.alloc(10);
    pool.free(block);
    assert.throws(() => pool.free(block), /not in use/);
    assert.throws(() => pool.free({ address: 12345, bytes: 1 }), /12345/);
  });

  it('leaves its statistics alone when memory runs out', () => {
    const pool = new BlockPool(() => {
      throw new Error('no memory');
    });
    assert.throws(() => pool.alloc(100), /no memory/);
    assert.deepEqual(pool.memory(), { bytesInUse: 0, peakBytes: 0, bytesReserved: 0, blocks: 0 });
  });

  it('hands out blocks that never overlap, and counts them, in any order of calls', () => {
    const action = fc.oneof(
      fc.record({ kind: fc.constant('alloc' as const), bytes: fc.nat(20_000) }),
      fc.record({ kind: fc.constant('free' as const), pick: fc.nat() }),
      fc.record({ kind: fc.constant('reset' as const) }),
    );
    const property = fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      const { pool, grown } = createPool();
      const live: Allocation[] = [];
      let peak = 0;
      for (const a of actions) {
        if (a.kind === 'alloc') live.push(pool.alloc(a.bytes));
        if (a.kind === 'free' && live.length > 0) pool.free(live.splice(a.pick % live.length, 1)[0]);
        if (a.kind === 'reset') {
          pool.resetPeak();
          peak = 0;
        }
        const spans = live.map(({ address, bytes }) => [address, address + bytes]).sort((x, y) => x[0] - y[0]);
        for (let i = 1; i < spans.length; i++) assert.ok(spans[i][0] >= spans[i - 1][1], 'blocks overlap');
        const stats = pool.memory();
        peak = Math.max(peak, stats.bytesInUse);
        assert.equal(stats.blocks, live.length);
        assert.ok(stats.bytesInUse >= live.reduce((sum, { bytes }) => sum + bytes, 0));
        assert.equal(stats.peakBytes, peak);
        assert.equal(
          stats.bytesReserved,
          grown.reduce((sum, bytes) => sum + bytes, 0),
        );
      }
      for (const block of live) pool.free(block);
      assert.equal(pool.memory().bytesInUse, 0);
    });
    fc.assert(property, { seed: 7, numRuns: 300 });
  });
});
