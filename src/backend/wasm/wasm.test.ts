import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { DType } from '../../core/index.ts';
import { NODE_FLAGS } from '../../core/testing/module-process.ts';
import { isAll, onlyInAll } from '../../core/testing/only-in-all.ts';
import type { Allocation } from '../allocation.ts';
import type { Backend } from '../backend.ts';
import { command, type TensorArg } from '../command.ts';
import { KERNEL_NAMES } from '../kernels.ts';
import { createReferenceBackend } from '../reference/index.ts';
import { createWasmBackend, type WasmBackend, type WasmOptions, wasmAvailability } from './index.ts';

const { available, reason } = await wasmAvailability();
const isRequired = (process.env.REQUIRE_BACKENDS ?? '').split(',').includes('wasm');
const skip = available || isRequired ? false : reason;

/** Every way in which a queue is run. */
const QUEUES: Record<string, WasmOptions> = {
  'two threads': { threads: 2 },
  'two threads that never block the caller': { threads: 2, mayBlock: false },
  'no threads': { threads: 0 },
};
const MORE: Record<string, WasmOptions> = { 'one thread': { threads: 1 }, 'five threads': { threads: 5 } };
const { 'two threads': two, 'no threads': none } = QUEUES;
const WAYS = isAll ? { ...QUEUES, ...MORE } : { 'two threads': two, 'no threads': none };

/** A kernel that fails: its memory ends where the address space does. One row, so that no address starts again from 0. */
const OUTSIDE = command(
  'fill',
  { y: { block: { address: 2 ** 32 - 64, bytes: 64 }, offset: 0, ld: 16, dtype: 'f32' } },
  { rows: 1, cols: 16 },
  { value: 1 },
);

/** Uniform in [-1, 1). */
function randomFloats(count: number, seed: number): Float32Array {
  let state = seed >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state * 2 ** -31 - 1;
  });
}

const bytesOf = (array: ArrayBufferView): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
const bytes = (...values: number[]): Uint8Array => bytesOf(Float32Array.from(values));
const floats = (raw: Uint8Array): number[] => [...new Float32Array(new Uint8Array(raw).buffer)];

/** A matrix of random floats on a device, `[rows, cols]`. */
class Matrix {
  readonly block: Allocation;
  constructor(
    readonly device: Backend,
    readonly rows: number,
    readonly cols: number,
    seed: number,
    readonly scale = 1,
  ) {
    this.block = device.alloc(rows * cols * 4);
    device.upload(this.block, 0, bytesOf(randomFloats(rows * cols, seed).map((x) => x * scale)));
  }
  get arg(): TensorArg {
    return { block: this.block, offset: 0, ld: this.cols, dtype: 'f32' };
  }
  read(): Promise<Uint8Array> {
    return this.device.download(this.block, 0, this.rows * this.cols * 4);
  }
}

function matmul(device: Backend, m: number, n: number, k: number) {
  const [a, b, c] = [new Matrix(device, m, k, 1), new Matrix(device, n, k, 2), new Matrix(device, m, n, 3)];
  const dims = { batch: 1, m, n, k, transA: 0, transB: 1, strideA: 0, strideB: 0, strideC: 0 };
  const launch = command('matmul', { a: a.arg, b: b.arg, c: c.arg }, dims, { alpha: 1, beta: 0 });
  return { a, b, c, launch };
}

/** Small work of every kind that splits in its own way; the bytes that it leaves. */
async function manyKernels(device: Backend): Promise<Uint8Array[]> {
  const outputs: Matrix[] = [];
  const out = (rows: number, cols: number): TensorArg => {
    const matrix = new Matrix(device, rows, cols, 9);
    outputs.push(matrix);
    return matrix.arg;
  };
  const input = (rows: number, cols: number, seed: number, scale = 1) =>
    new Matrix(device, rows, cols, seed, scale).arg;

  for (const [m, n, k] of [
    [150, 530, 300],
    [1, 900, 700],
    [33, 5, 900],
  ]) {
    const product = matmul(device, m, n, k);
    device.launch(product.launch);
    outputs.push(product.c);
  }
  const x = input(130, 333, 4, 3);
  const dims = { rows: 130, cols: 333 };
  device.launch(command('unary', { x, y: out(130, 333) }, { ...dims, op: 9 }, { param: 0 }));
  device.launch(command('softmax', { x, y: out(130, 333) }, { ...dims, log: 0 }));
  device.launch(command('reduce', { x, y: out(1, 333) }, { outer: 1, n: 130, inner: 333, op: 0 }));
  device.launch(command('random_uniform', { y: out(130, 333) }, { ...dims, seed: 7, stream: 3 }, { low: -1, high: 2 }));
  const rstd = out(130, 1);
  const norm = { x, weight: input(1, 333, 5), y: out(130, 333), rstd };
  device.launch(command('rms_norm', norm, dims, { eps: 1e-5 }));
  const weights = { s: x, weight: input(1, 333, 5), rstd, dy: input(130, 333, 6) };
  device.launch(command('rms_norm_bwd', { ...weights, dx: out(130, 333), dweight: out(1, 333) }, dims));

  const [b, l, d, n] = [2, 65, 70, 16];
  const negative = new Matrix(device, n, d, 11);
  device.launch(command('unary', { x: negative.arg, y: negative.arg }, { rows: n, cols: d, op: 1 }, { param: 0 }));
  device.launch(command('unary', { x: negative.arg, y: negative.arg }, { rows: n, cols: d, op: 0 }, { param: 0 }));
  const series = { u: input(b * l, d, 12), dt: input(b * l, d, 13), z: input(b * l, d, 16) };
  const states = { b: input(b * l, n, 14), c: input(b * l, n, 15), d: input(1, d, 17) };
  const results = { y: out(b * l, d), stateOut: out(b * n, d), checkpoints: out(b * Math.ceil(l / 16) * n, d) };
  const scan = { ...series, a: negative.arg, ...states, ...results };
  device.launch(command('selective_scan', scan, { b, l, d, n, chunk: 16, softplus: 1 }));
  return Promise.all(outputs.map((matrix) => matrix.read()));
}

function closeTo(got: number[], expected: number[], what: string): void {
  const largest = Math.max(...expected.map(Math.abs));
  for (let i = 0; i < expected.length; i++) {
    if (Math.abs(got[i] - expected[i]) <= 2e-5 * (1 + largest)) continue;
    assert.fail(`${what}[${i}]: expected ${expected[i]}, got ${got[i]}`);
  }
}

describe('wasm kernels', { skip }, () => {
  it('are all there', async () => {
    const device = await createWasmBackend({ threads: 0 });
    assert.deepEqual(
      KERNEL_NAMES.filter((name) => !device.kernels.includes(name)),
      [],
    );
    device.close();
  });

  it('give the same bits however the queue is run, and the numbers of the reference', async () => {
    const reference = createReferenceBackend();
    const expected = await manyKernels(reference);
    reference.close();
    let first: Uint8Array[] | undefined;
    for (const [way, options] of Object.entries(WAYS)) {
      const device = await createWasmBackend(options);
      const results = await manyKernels(device);
      device.close();
      first ??= results;
      for (let i = 0; i < results.length; i++) {
        assert.deepEqual(results[i], first[i], `output ${i} with ${way}`);
        if (results === first) closeTo(floats(results[i]), floats(expected[i]), `output ${i}`);
      }
    }
  });
});

for (const [way, options] of Object.entries(QUEUES)) {
  const isRare =
    options.mayBlock === false && onlyInAll('only waiting is done in another way than by two threads').skip;
  describe(`wasm queue, ${way}`, { skip: skip || isRare }, () => {
    const devices: WasmBackend[] = [];
    const open = async (extra: WasmOptions = {}) => {
      const device = await createWasmBackend({ ...options, ...extra });
      devices.push(device);
      return device;
    };
    after(() => {
      for (const device of devices) device.close();
    });

    it('takes uploads, launches and downloads in the order of the calls', async () => {
      const device = await open();
      const size = 96; // a product takes long enough that later calls find the queue busy
      const { a, b, c, launch } = matmul(device, size, size, size);
      const reads: Promise<Uint8Array>[] = [];
      const values = new Float32Array(size * size);
      device.upload(b.block, 0, bytesOf(values.fill(0.5)));
      for (let i = 1; i <= 60; i++) {
        device.upload(a.block, 0, bytesOf(values.fill(i)));
        values.fill(Number.NaN); // what was uploaded is not looked at again
        device.launch(launch);
        reads.push(device.download(c.block, 4 * (size * size - 2), 8));
      }
      const results = (await Promise.all(reads)).map(floats);
      for (let i = 1; i <= 60; i++) assert.deepEqual(results[i - 1], [i * size * 0.5, i * size * 0.5]);
    });

    it('takes uploads larger than its staging memory while it is busy', async () => {
      const device = await open();
      const { launch } = matmul(device, 256, 256, 256);
      const big = device.alloc(2 ** 24 + 12);
      const data = randomFloats(2 ** 22 + 3, 5);
      const copy = bytesOf(data).slice();
      for (let i = 0; i < 20; i++) device.launch(launch);
      device.upload(big, 0, bytesOf(data));
      data.fill(0);
      const early = device.download(big, 0, copy.byteLength);
      device.upload(big, 4, bytesOf(data).subarray(0, 2 ** 23 + 4));
      const late = device.download(big, 0, copy.byteLength);
      assert.ok(Buffer.from(await early).equals(copy));
      copy.fill(0, 4, 2 ** 23 + 8);
      assert.ok(Buffer.from(await late).equals(copy));
    });

    it('takes more launches than its ring holds', async () => {
      const device = await open();
      const block = device.alloc(8);
      device.upload(block, 0, bytes(0, 0));
      const y: TensorArg = { block, offset: 0, ld: 2, dtype: 'f32' };
      const add = command('unary', { x: y, y }, { rows: 1, cols: 2, op: 15 }, { param: 1 });
      for (let i = 0; i < 12_000; i++) device.launch(add);
      assert.deepEqual(floats(await device.download(block, 0, 8)), [12_000, 12_000]);
    });

    it('lets timers tick while it runs', async () => {
      const device = await open();
      const { launch } = matmul(device, 512, 512, 512);
      for (let i = 0; i < 12; i++) device.launch(launch);
      let ticks = 0;
      const timer = setInterval(() => ticks++, 1);
      await device.sync();
      clearInterval(timer);
      assert.ok(ticks >= 5, `${ticks} ticks`);
    });

    it('reads memory that was added while it runs', async () => {
      const device = await open();
      const { launch } = matmul(device, 200, 200, 200);
      for (let i = 0; i < 10; i++) device.launch(launch);
      const blocks = Array.from({ length: 4 }, () => device.alloc(2 ** 25));
      const reads = blocks.map((block, i) => {
        device.upload(block, 2 ** 25 - 8, bytes(i, i + 0.5));
        return device.download(block, 2 ** 25 - 8, 8);
      });
      const results = (await Promise.all(reads)).map(floats);
      assert.deepEqual(
        results,
        blocks.map((_, i) => [i, i + 0.5]),
      );
    });

    it('gives freed memory out again, scratch memory too', async () => {
      const device = await open();
      const round = async () => {
        const { a, b, c, launch } = matmul(device, 100, 90, 300);
        device.launch(launch);
        await c.read();
        for (const matrix of [a, b, c]) device.free(matrix.block);
      };
      await round();
      const before = device.memory();
      for (let i = 0; i < 30; i++) await round();
      assert.deepEqual({ ...device.memory(), peakBytes: 0 }, { ...before, peakBytes: 0 });
      assert.equal(device.memory().blocks, 0);
      assert.equal(device.memory().bytesInUse, 0);
      const block = device.alloc(0);
      assert.equal(block.address % 64, 0);
      assert.equal((await device.download(block, 0, 0)).byteLength, 0);
      device.free(block);
      assert.throws(() => device.free(block), /freed twice/);
      device.resetPeak();
      assert.equal(device.memory().peakBytes, 0);
    });

    it('says what was asked and held when memory runs out, and goes on', async () => {
      const device = await open({ maxBytes: 2 ** 26 });
      const kept = device.alloc(2 ** 25);
      assert.throws(
        () => device.alloc(2 ** 25 + 1),
        /^EnvironmentError: out of memory: 36 MiB were asked for while wasm holds \d+ MiB of 64 MiB; use a smaller/,
      );
      assert.throws(() => device.alloc(2 ** 31), /2048 MiB is too large for the wasm device/);
      device.upload(kept, 0, bytes(1, 2));
      assert.deepEqual(floats(await device.download(kept, 0, 8)), [1, 2]);
    });

    it('refuses sizes, ranges and types that cannot be', async () => {
      const device = await open();
      const block = device.alloc(64);
      const t = (dtype: DType, offset = 0): TensorArg => ({ block, offset, ld: 2, dtype });
      const launch = (m: number, a = t('f32')) => {
        const dims = { batch: 1, m, n: 2, k: 2, transA: 0, transB: 0, strideA: 0, strideB: 0, strideC: 0 };
        device.launch(command('matmul', { a, b: t('f32'), c: t('f32') }, dims, { alpha: 1, beta: 0 }));
      };
      assert.throws(() => launch(-1), /\[matmul\] m: expected a whole number from 0, got -1/);
      assert.throws(() => launch(Number.NaN), /got NaN/);
      assert.throws(() => launch(2, t('f32', -1)), /\[matmul\] a: expected offset and ld from 0/);
      assert.throws(() => launch(2, t('i32')), /\[matmul\] a of i32 is not supported on wasm simd128/);
      assert.throws(() => launch(2, t('f64')), /\[matmul\] a of f64 is not supported/);
      assert.throws(() => device.alloc(-1), /got -1/);
      assert.throws(() => device.alloc(Number.NaN), /got NaN/);
      assert.throws(() => device.upload(block, 1e6, bytes(1)), /\[upload\] range: expected within 64 bytes/);
      await assert.rejects(device.download(block, 0, 1e6), /\[download\] range/);
      assert.equal(device.supports('f64'), false);
      launch(2); // nothing of the above has broken it
      await device.sync();
    });

    it('closes with work in the queue: pending reads end with an error, later calls throw', async () => {
      const device = await open();
      const { c, launch } = matmul(device, 300, 300, 300);
      for (let i = 0; i < 200; i++) device.launch(launch);
      const read = c.read();
      device.close();
      await assert.rejects(read, /closed before/);
      assert.throws(() => device.launch(launch), /closed/);
      assert.throws(() => device.alloc(1), /closed/);
      await assert.rejects(device.sync(), /closed/);
      device.close();
    });

    it('ends every promise with an error when a kernel fails, and stays failed', async () => {
      const device = await open();
      const { c, launch } = matmul(device, 300, 300, 300);
      for (let i = 0; i < 5; i++) device.launch(launch);
      device.launch(OUTSIDE);
      await assert.rejects(c.read(), /the wasm device has stopped: .*out of bounds.*; create another one/);
      assert.throws(() => device.launch(launch), /has stopped/);
      await assert.rejects(device.sync(), /has stopped/);
    });

    it('does not hang when a kernel fails while the ring is full', async () => {
      const device = await open();
      const y: TensorArg = { block: device.alloc(4e6), offset: 0, ld: 1000, dtype: 'f32' };
      const inside = command('fill', { y }, { rows: 1000, cols: 1000 }, { value: 1 });
      device.launch(inside);
      device.launch(OUTSIDE);
      const flood = async () => {
        for (let i = 0; i < 6000; i++) device.launch(inside);
        await device.sync();
      };
      await assert.rejects(flood(), /the wasm device has stopped/);
    });
  });
}

describe('wasm device', { skip }, () => {
  it('runs several side by side', async () => {
    const devices = await Promise.all(Object.values(WAYS).map((options) => createWasmBackend(options)));
    const results = await Promise.all(devices.map(manyKernels));
    for (const result of results) assert.deepEqual(result, results[0]);
    for (const device of devices) device.close();
  });

  it('refuses thread counts that cannot be', async () => {
    await assert.rejects(createWasmBackend({ threads: -1 }), /threads=-1: expected a whole number from 0 to 128/);
    await assert.rejects(createWasmBackend({ threads: 1.5 }), /threads=1.5/);
    await assert.rejects(createWasmBackend({ threads: 1000 }), /threads=1000/);
  });

  it('takes its binary from the caller', async () => {
    const fileOf = (name: string) =>
      new Uint8Array(readFileSync(new URL(`../../../build/wasm/${name}`, import.meta.url)));
    const asked: string[] = [];
    const wasmModule = (name: string) => {
      asked.push(name);
      return fileOf(name);
    };
    for (const threads of [0, 1]) {
      const device = await createWasmBackend({ threads, wasmModule, relaxed: false });
      assert.equal(device.isThreaded, threads > 0);
      device.close();
    }
    assert.deepEqual(asked, ['krait.wasm', 'krait-threads.wasm']);
    const compiled = await WebAssembly.compile(fileOf('krait.wasm'));
    (await createWasmBackend({ threads: 0, wasmModule: compiled })).close();
    await assert.rejects(
      createWasmBackend({ threads: 1, wasmModule: compiled }),
      /^EnvironmentError: wasm device: .*shared.*; give krait-threads.wasm as wasmModule$/,
    );
    await assert.rejects(
      createWasmBackend({ threads: 0, wasmModule: fileOf('krait.wasm').subarray(0, 5000) }),
      /^EnvironmentError: wasmModule cannot be used: /,
    );
  });
});

/** Runs a module in a fresh process with a device of `threads` and a long product; returns what it printed. */
function inProcess(threads: number, body: string): string {
  const here = JSON.stringify(new URL('./index.ts', import.meta.url).href);
  const launches = JSON.stringify(new URL('../command.ts', import.meta.url).href);
  const code = `
    import { createWasmBackend } from ${here};
    import { command } from ${launches};
    const device = await createWasmBackend({ threads: ${threads} });
    const block = device.alloc(512 * 512 * 4);
    const t = { block, offset: 0, ld: 512, dtype: 'f32' };
    const dims = { batch: 1, m: 512, n: 512, k: 512, transA: 0, transB: 0, strideA: 0, strideB: 0, strideC: 0 };
    const product = command('matmul', { a: t, b: t, c: t }, dims, { alpha: 1, beta: 0 });
    const work = (count) => { for (let i = 0; i < count; i++) device.launch(product); };
    ${body}`;
  return execFileSync(process.execPath, [...NODE_FLAGS, '--input-type=module', '-e', code], {
    cwd: fileURLToPath(new URL('../../..', import.meta.url)),
    encoding: 'utf8',
    timeout: 60_000,
  }).trim();
}

describe('wasm device in a process of its own', { skip }, () => {
  for (const threads of isAll ? [0, 2] : [2]) {
    it(`ends by itself when nothing waits for the queue, with ${threads} threads`, () => {
      assert.equal(inProcess(threads, `work(3000); console.log('queued');`), 'queued');
    });

    it(`ends on process.exit in the middle of the queue, with ${threads} threads`, () => {
      const body = `work(3000); device.sync(); setTimeout(() => { console.log('out'); process.exit(0); }, 50);`;
      assert.equal(inProcess(threads, body), 'out');
    });

    it(`keeps the process alive while a promise is pending, with ${threads} threads`, () => {
      const body = `work(20); device.sync().then(() => console.log('synced')); console.log('queued');`;
      assert.equal(inProcess(threads, body), 'queued\nsynced');
    });
  }
});
