import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import type { DType } from '../../core/index.ts';
import { isAll } from '../../core/testing/only-in-all.ts';
import { command, type TensorArg } from '../command.ts';
import { createNativeBackend, nativeAvailability } from './index.ts';
import { large, type MatmulCase, plain, prepareMatmul, result } from './matmul-check.ts';

const { available, reason } = nativeAvailability();
const skip = available ? false : `native device: ${reason}`;
const HALVES: DType[] = ['f32', 'bf16', 'f16'];

/** Sizes around the edges of tiles and blocks, and small ones. */
const size = (max: number) =>
  fc.oneof(
    fc.integer({ min: 0, max: 20 }),
    fc.integer({ min: 0, max }),
    fc.constantFrom(1, 6, 8, 9, 16, 17, 32, 33, 48),
  );
const dtype = fc.constantFrom(...HALVES);

const cases: fc.Arbitrary<MatmulCase> = fc.record({
  batch: fc.constantFrom(1, 1, 1, 2, 3, 9),
  m: size(70),
  n: size(70),
  k: fc.oneof(size(40), fc.integer({ min: 200, max: 700 })),
  transA: fc.boolean(),
  transB: fc.boolean(),
  pad: fc.tuple(fc.nat(3), fc.nat(3), fc.nat(3)),
  shareA: fc.boolean(),
  shareB: fc.boolean(),
  types: fc.tuple(dtype, dtype, dtype),
  bias: fc.option(dtype),
  alpha: fc.constantFrom(1, 1, -0.5, 0.3),
  beta: fc.constantFrom(0, 0, 1, -0.7),
  seed: fc.nat(1e6),
});

const bytes = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

describe('native matmul', { skip }, () => {
  const device = available ? createNativeBackend({ threads: 2 }) : (undefined as never);
  after(() => device?.close());

  it('is the product for random shapes, layouts and types', async () => {
    const runs = Number(process.env.KRAIT_TEST_RUNS ?? (isAll ? 250 : 60));
    await fc.assert(
      fc.asyncProperty(cases, async (x) => void (await result(device, x))),
      { numRuns: runs, seed: 20 },
    );
    assert.equal(device.memory().blocks, 0);
  });

  it('is the same to the last bit for 1, 2 and 3 threads', async () => {
    const devices = [1, 2, 3].map((threads) => createNativeBackend({ threads }));
    for (const x of isAll ? large : large.filter((_, i) => i % 3 === 0)) {
      const results = await Promise.all(devices.map((d, i) => result(d, x, i === 0)));
      assert.deepEqual(results[1], results[0], `${JSON.stringify(x)} on 2 threads`);
      assert.deepEqual(results[2], results[0], `${JSON.stringify(x)} on 3 threads`);
    }
    for (const d of devices) d.close();
  });

  it('rounds half-precision results once, to nearest even', async () => {
    // 257 and 259 lie between two bf16 numbers: even neighbours are 256 and 260.
    const a = device.alloc(8);
    const b = device.alloc(8);
    const c = device.alloc(8);
    device.upload(a, 0, bytes(257, 259));
    device.upload(b, 0, bytes(1));
    const arg = (block: TensorArg['block'], dtype: DType): TensorArg => ({ block, offset: 0, ld: 1, dtype });
    const dims = { batch: 1, m: 2, n: 1, k: 1, transA: 0, transB: 0, strideA: 0, strideB: 0, strideC: 0 };
    device.launch(
      command('matmul', { a: arg(a, 'f32'), b: arg(b, 'f32'), c: arg(c, 'bf16') }, dims, { alpha: 1, beta: 0 }),
    );
    const raw = await device.download(c, 0, 4);
    assert.deepEqual([...new Uint16Array(raw.buffer)], [0x4380, 0x4382]);
    for (const block of [a, b, c]) device.free(block);
  });

  it('passes infinity and NaN through every type', async () => {
    for (const dtype of HALVES) {
      for (const [m, n] of [
        [1, 3],
        [20, 30],
      ]) {
        // biome-ignore format: a row
        const x: MatmulCase = { ...plain, m, n, k: 20, types: ['f32', 'f32', dtype] };
        const prepared = prepareMatmul(device, x);
        device.upload(prepared.blocks[0], 0, bytes(Number.POSITIVE_INFINITY, 1));
        device.launch(prepared.command);
        const width = dtype === 'f32' ? 4 : 2;
        const raw = await device.download(prepared.c.block, 0, n * width);
        const top =
          dtype === 'f32' ? [...new Uint32Array(raw.buffer)].map((u) => u >>> 16) : [...new Uint16Array(raw.buffer)];
        for (const bits of top) assert.equal(bits & 0x7fff, dtype === 'f16' ? 0x7c00 : 0x7f80);
        for (const block of prepared.blocks) device.free(block);
      }
    }
  });

  // Other variants compute with tiny numbers, as fast as the processor does.
  const isFlushing = nativeAvailability().variant?.startsWith('avx');
  it('takes about as long where products are too small for normal numbers', { skip: !isFlushing }, async () => {
    const n = 192;
    const x = prepareMatmul(device, { ...plain, m: n, n, k: n });
    const fastest = async (scale: number) => {
      const some = Float32Array.from({ length: n * n }, (_, i) => scale * (((i * 7) % 13) - 6));
      for (const block of x.blocks.slice(0, 2)) device.upload(block, 0, new Uint8Array(some.buffer));
      let least = Number.POSITIVE_INFINITY;
      for (let round = 0; round < 20; round++) {
        await device.sync();
        const began = performance.now();
        device.launch(x.command);
        await device.sync();
        least = Math.min(least, performance.now() - began);
      }
      return least;
    };
    const [ordinary, tiny] = [await fastest(1), await fastest(1e-20)];
    for (const block of x.blocks) device.free(block);
    assert.ok(tiny < 8 * ordinary, `${tiny.toFixed(2)} ms against ${ordinary.toFixed(2)} ms`); // 20 to 200 times before
  });

  /** Rows of values by int8 weights, scaled row by row, against sums in f64. */
  async function checkInt8(
    name: string,
    [m, n, k]: number[],
    value: (i: number) => number,
    weight: (i: number) => number,
  ) {
    const weights = Int8Array.from({ length: n * k }, (_, i) => weight(i));
    const scales = Float32Array.from({ length: n }, (_, i) => (i + 1) / 64);
    const x = Float32Array.from({ length: m * k }, (_, i) => value(i % k));
    const blocks = [x, weights, new Float32Array(m * n), scales].map((data) => {
      const block = device.alloc(data.byteLength);
      device.upload(block, 0, new Uint8Array(data.buffer));
      return block;
    });
    const arg = (at: number, ld: number, dtype: DType): TensorArg => ({ block: blocks[at], offset: 0, ld, dtype });
    const tensors = { a: arg(0, k, 'f32'), b: arg(1, k, 'i8'), c: arg(2, n, 'f32'), scale: arg(3, 1, 'f32') };
    const dims = { batch: 1, m, n, k, transA: 0, transB: 1, strideA: 0, strideB: 0, strideC: 0 };
    device.launch(command('matmul', tensors, dims, { alpha: 1, beta: 0 }));
    const got = new Float32Array((await device.download(blocks[2], 0, 4 * m * n)).buffer);
    for (const block of blocks) device.free(block);
    for (let i = 0; i < m * n; i++) {
      const row = i % n;
      let [sum, size] = [0, 0];
      for (let j = 0; j < k; j++) {
        const term = x[j] * weights[row * k + j] * scales[row];
        sum += term;
        size += Math.abs(term);
      }
      if (Number.isFinite(sum)) assert.ok(Math.abs(got[i] - sum) <= 2e-6 * size, `${name}: ${got[i]} for ${sum}`);
      else assert.equal(got[i], sum, `${name}, row ${row}`);
    }
  }

  it('multiplies a few rows by int8 weights as f32 does: large beside small values, tiny ones, infinity and NaN', async () => {
    const [n, k] = [5, 70];
    const weight = (i: number) => (i === k ? 0 : ((i * 37) % 255) - 127); // 0 before a value that is not finite
    const rows: Record<string, (i: number) => number> = {
      ordinary: (i) => Math.sin(i),
      'one large': (i) => (i === 9 ? 1000 : Math.cos(i)),
      tiny: (i) => Math.sin(i) * 1e-35,
      zero: () => 0,
      infinity: (i) => (i === 0 ? Number.POSITIVE_INFINITY : 1),
      NaN: (i) => (i === 3 ? Number.NaN : 1),
    };
    for (const [name, value] of Object.entries(rows)) {
      for (const m of [1, 3]) await checkInt8(name, [m, n, k], value, weight);
    }
  });

  it('sums long rows of the largest int8 weights and values', async () => {
    for (const k of [4_160, 9_000]) {
      for (const m of [1, 2, 4, 7]) {
        await checkInt8(
          `all the largest, k ${k}`,
          [m, 132, k], // so many rows that no one is cut
          () => 1,
          (i) => (i % k === k - 1 ? 127 : -128),
        );
      }
    }
  });
});
