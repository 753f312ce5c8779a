/** The contract of memory and queue: what every device must do besides computing. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { dtypeBytes } from '../../core/index.ts';
import type { Backend } from '../backend.ts';
import { adding, copying, f32, filling, floatsOf } from './commands.ts';
import { describeLists } from './lists.ts';

/** Declares the tests; `get` returns the device once they run. */
export function describeQueue(get: () => Backend, create: () => Promise<Backend> | Backend): void {
  describe('memory', () => describeMemory(get));
  describe('memory statistics', () => describeStatistics(get));
  describe('queue', () => describeOrder(get));
  describeLists(get);
  describe('refusals', () => describeRefusals(get));
  describe('closing', () => describeClosing(create));
}

function describeMemory(get: () => Backend): void {
  it('gives aligned blocks that do not overlap, also of no bytes', async () => {
    const backend = get();
    const sizes = [0, 0, 1, 4, 63, 64, 65, 1000, 100_000];
    const blocks = sizes.map((bytes) => backend.alloc(bytes));
    blocks.forEach((block, i) => {
      assert.equal(block.bytes, sizes[i]);
      assert.equal(block.address % 64, 0);
      backend.upload(block, 0, new Uint8Array(sizes[i]).fill(i + 1));
    });
    for (const [i, block] of blocks.entries()) {
      assert.deepEqual(await backend.download(block, 0, sizes[i]), new Uint8Array(sizes[i]).fill(i + 1));
    }
    assert.equal(new Set(blocks.map((block) => block.address)).size, blocks.length);
    for (const block of blocks) backend.free(block);
  });

  it('writes and reads at offsets', async () => {
    const backend = get();
    const block = backend.alloc(16);
    backend.upload(block, 0, f32(1, 2, 3, 4));
    backend.upload(block, 5, new Uint8Array([9, 9, 9]));
    backend.upload(block, 12, f32(-4));
    const expected = new Uint8Array([...f32(1, 2, 3, -4)]);
    expected.set([9, 9, 9], 5);
    assert.deepEqual(await backend.download(block, 0, 16), expected);
    assert.deepEqual(await backend.download(block, 3, 7), expected.slice(3, 10));
    assert.deepEqual(await backend.download(block, 16, 0), new Uint8Array(0));
    backend.free(block);
  });

  it('copies data out before upload returns, and hands out bytes of its own', async () => {
    const backend = get();
    const block = backend.alloc(8);
    const data = f32(1, 2);
    backend.upload(block, 0, data.subarray(0, 8));
    data.fill(0);
    const first = await backend.download(block, 0, 8);
    assert.deepEqual(floatsOf(first), [1, 2]);
    first.fill(7);
    assert.deepEqual(floatsOf(await backend.download(block, 0, 8)), [1, 2]);
    backend.free(block);
  });
}

function describeStatistics(get: () => Backend): void {
  it('counts blocks and bytes, and remembers the peak', () => {
    const backend = get();
    const start = backend.memory();
    const a = backend.alloc(10_000);
    const b = backend.alloc(0);
    const both = backend.memory();
    assert.equal(both.blocks, start.blocks + 2);
    assert.ok(both.bytesInUse >= start.bytesInUse + 10_000);
    assert.ok(both.bytesReserved >= both.bytesInUse);
    backend.resetPeak();
    backend.free(a);
    backend.free(b);
    const end = backend.memory();
    assert.deepEqual([end.blocks, end.bytesInUse], [start.blocks, start.bytesInUse]);
    assert.equal(end.peakBytes, both.bytesInUse);
    backend.resetPeak();
    assert.equal(backend.memory().peakBytes, end.bytesInUse);
  });

  it('stays flat when the same work is done again', () => {
    const backend = get();
    const work = () =>
      [5000, 300, 70_000].map((bytes) => backend.alloc(bytes)).forEach((block) => void backend.free(block));
    work();
    const { bytesReserved } = backend.memory();
    for (let i = 0; i < 100; i++) work();
    assert.equal(backend.memory().bytesReserved, bytesReserved);
  });
}

function describeOrder(get: () => Backend): void {
  it('lets uploads, launches and downloads take effect in the order of the calls', async () => {
    const backend = get();
    const x = backend.alloc(8);
    const y = backend.alloc(8);
    const reads: Promise<Uint8Array>[] = [];
    const expected: number[][] = [];
    for (let i = 1; i <= 50; i++) {
      backend.upload(x, 0, f32(i, -i));
      backend.launch(copying(x, y, 2));
      backend.upload(x, 0, f32(1000, 1000));
      reads.push(backend.download(y, 0, 8));
      backend.launch(filling(y, 2, -1));
      reads.push(backend.download(y, 0, 8));
      expected.push([i, -i], [-1, -1]);
    }
    assert.deepEqual((await Promise.all(reads)).map(floatsOf), expected);
    for (const block of [x, y]) backend.free(block);
  });

  it('reuses freed memory without disturbing what was queued before', async () => {
    const backend = get();
    const cols = 20_000;
    const sum = backend.alloc(cols * 4);
    backend.launch(filling(sum, cols, 0));
    const reads: Promise<Uint8Array>[] = [];
    for (let i = 1; i <= 20; i++) {
      const x = backend.alloc(cols * 4);
      backend.launch(filling(x, cols, i));
      backend.launch(adding(x, sum, cols));
      reads.push(backend.download(x, 0, 4));
      backend.free(x);
    }
    const values = floatsOf(await backend.download(sum, 0, cols * 4));
    assert.ok(values.every((value) => value === 210));
    assert.deepEqual(
      (await Promise.all(reads)).flatMap(floatsOf),
      Array.from({ length: 20 }, (_, i) => i + 1),
    );
    backend.free(sum);
  });

  it('takes more launches than any queue holds', async () => {
    const backend = get();
    const x = backend.alloc(4);
    const y = backend.alloc(4);
    backend.launch(filling(x, 1, 1));
    backend.launch(filling(y, 1, 0));
    for (let i = 0; i < 10_000; i++) backend.launch(adding(x, y, 1));
    assert.deepEqual(floatsOf(await backend.download(y, 0, 4)), [10_000]);
    for (const block of [x, y]) backend.free(block);
  });

  it('syncs after everything queued before', async () => {
    const backend = get();
    const x = backend.alloc(4);
    backend.launch(filling(x, 1, 3));
    await backend.sync();
    await Promise.all([backend.sync(), backend.sync()]);
    assert.deepEqual(floatsOf(await backend.download(x, 0, 4)), [3]);
    backend.free(x);
  });
}

function describeRefusals(get: () => Backend): void {
  it('throws when a block is freed twice', () => {
    const backend = get();
    const block = backend.alloc(4);
    backend.free(block);
    assert.throws(() => backend.free(block), /free/);
  });

  it('takes f64 or says at once that it does not, and goes on', async () => {
    const backend = get();
    const block = backend.alloc(4 * dtypeBytes('f64'));
    const launch = () => backend.launch(filling(block, 4, 1.5, 'f64'));
    if (backend.supports('f64')) launch();
    else assert.throws(launch, { name: 'UnsupportedOpError', message: /fill.*f64/ });
    backend.launch(filling(block, 4, 2));
    assert.deepEqual(floatsOf(await backend.download(block, 0, 16)), [2, 2, 2, 2]);
    backend.free(block);
  });

  it('takes every other dtype', () => {
    for (const dtype of ['f32', 'bf16', 'f16', 'i32', 'i8'] as const) assert.equal(get().supports(dtype), true);
  });

  it('refuses ranges outside a block', async () => {
    const backend = get();
    const block = backend.alloc(16);
    assert.throws(() => backend.upload(block, -1, new Uint8Array(1)));
    assert.throws(() => backend.upload(block, 0, new Uint8Array(100_000)));
    await assert.rejects(async () => backend.download(block, 0, 100_000));
    await assert.rejects(async () => backend.download(block, -4, 4));
    backend.free(block);
  });

  it('refuses sizes that are none', () => {
    for (const bytes of [-1, 1.5, Number.NaN]) assert.throws(() => get().alloc(bytes));
  });
}

function describeClosing(create: () => Promise<Backend> | Backend): void {
  let backend: Backend;
  before(async () => {
    backend = await create();
  });
  after(() => backend.close());

  it('refuses everything afterwards', async () => {
    const block = backend.alloc(4);
    backend.launch(filling(block, 1, 1));
    const list = backend.list([filling(block, 1, 1)]);
    await backend.sync();
    backend.close();
    assert.throws(() => list.launch(), /closed/);
    list.close();
    assert.throws(() => backend.alloc(4), /closed/);
    assert.throws(() => backend.upload(block, 0, f32(1)), /closed/);
    assert.throws(() => backend.launch(filling(block, 1, 1)), /closed/);
    await assert.rejects(async () => backend.download(block, 0, 4), /closed/);
    await assert.rejects(async () => backend.sync(), /closed/);
  });
}
