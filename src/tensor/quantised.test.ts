/** Operations on i8 weights against the same on the numbers that they stand for. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { createReferenceBackend } from '../backend/reference/index.ts';
import { HostRandom, quantiseRows } from '../core/index.ts';
import { Device, dequantise, embedding, linear, type Tensor } from './index.ts';

const device = new Device(createReferenceBackend());
after(() => device.close());

/** A random matrix [rows, cols] as i8 with scales, and as f64. */
function matrix(rows: number, cols: number, seed: number) {
  const random = new HostRandom(seed);
  const { values, scales } = quantiseRows(
    Array.from({ length: rows * cols }, () => random.normal()),
    cols,
  );
  const plain = Float64Array.from(values, (q, i) => q * scales[Math.floor(i / cols)]);
  return {
    weight: device.from(values, [rows, cols], 'i8'),
    scale: device.from(scales),
    plain: device.from(plain, [rows, cols], 'f64'),
  };
}

async function assertSame(got: Tensor, expected: Tensor, within: number): Promise<void> {
  assert.deepEqual(got.shape, expected.shape);
  const [a, b] = [await got.read(), await expected.read()];
  for (let i = 0; i < b.length; i++) assert.ok(Math.abs(a[i] - b[i]) <= within, `element ${i}: ${a[i]}, not ${b[i]}`);
}

describe('i8 weights', () => {
  const { weight, scale, plain } = matrix(7, 5, 1);
  const x = device.uniform([2, 3, 5], { seed: 1, stream: 0 }, -1, 1);
  const ids = device.from([6, 0, -1, 7, 3, 3], [2, 3], 'i32');

  it('are what their rows stand for', async () => {
    await assertSame(dequantise(weight, scale), plain, 1e-6);
    assert.equal(dequantise(weight, scale).dtype, 'f32');
  });

  it('multiply', async () => {
    const bias = device.from([1, 2, 3, 4, 5, 6, 7]);
    await assertSame(linear(x, weight, bias, { scale }), linear(x, plain, bias), 1e-5);
    const half = linear(x, weight, null, { scale, dtype: 'bf16' });
    assert.equal(half.dtype, 'bf16');
    await assertSame(half, linear(x, plain), 2e-2);
  });

  it('are looked up', async () => {
    await assertSame(embedding(weight, ids, { scale }), embedding(plain, ids), 1e-6);
    assert.equal(embedding(weight, ids, { scale }).dtype, 'f32');
    assert.equal(embedding(weight, ids, { scale, dtype: 'f16' }).dtype, 'f16');
  });

  it('come with scales that fit, and nothing else does', () => {
    const few = device.from([1, 2, 3]);
    const round = device.from([1, 1, 1, 1, 1, 1, 1], [7], 'i32');
    for (const [op, use] of [
      ['linear', (w: Tensor, s: Tensor | null) => linear(x, w, null, { scale: s })],
      ['embedding', (w: Tensor, s: Tensor | null) => embedding(w, ids, { scale: s })],
    ] as const) {
      assert.throws(() => use(weight, null), new RegExp(`\\[${op}\\].*expected a scale with i8, got none`));
      assert.throws(() => use(plain, scale), new RegExp(`\\[${op}\\].*expected i8 where a scale is given, got f64`));
      assert.throws(() => use(weight, few), new RegExp(`\\[${op}\\] scale: expected \\[7\\], got \\[3\\]`));
      assert.throws(() => use(weight, round), new RegExp(`\\[${op}\\] scale: expected f32, got i32`));
    }
  });

  it('have no gradient, and say so where one is wanted', () => {
    const input = device.uniform([2, 5], { seed: 2, stream: 0 }).trainable();
    assert.throws(() => linear(input, weight, null, { scale }), /\[linear\] weight: i8 weights have no gradient; load/);
    device.noGrad(() => linear(input, weight, null, { scale }));
  });
});
