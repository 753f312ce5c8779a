/** The reference device itself, on examples small enough to work out by hand, and the checks of its memory. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { philoxBlock, toUnit } from '../../core/index.ts';
import { command } from '../command.ts';
import type { KernelName } from '../kernels.ts';
import { type Operand, operand } from '../testing/operands.ts';
import { evaluate } from '../testing/runner.ts';
import { createReferenceBackend } from './index.ts';

const row = (...values: number[]): Operand => operand(1, values.length, values);
const column = (...values: number[]): Operand => operand(values.length, 1, values);
const ints = (rows: number, ...values: number[]): Operand => operand(rows, values.length / rows, values, 'i32');
const room = (rows: number, cols: number): Operand => ({ ...operand(rows, cols, []), values: null });

/** Runs a kernel and compares some of its outputs with worked results. */
async function works(
  kernel: KernelName,
  tensors: Record<string, Operand | null>,
  dims: Record<string, number>,
  scalars: Record<string, number>,
  expected: Record<string, readonly number[]>,
): Promise<void> {
  const outputs = await evaluate({ kernel, tensors, dims, scalars });
  for (const [name, values] of Object.entries(expected)) {
    const got = [...outputs[name]];
    assert.equal(got.length, values.length);
    got.forEach((value, i) => {
      assert.ok(
        Math.abs(value - values[i]) <= 1e-14 * Math.max(1, Math.abs(values[i])),
        `${name}: ${got} for ${values}`,
      );
    });
  }
}

describe('the reference by hand', () => {
  const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

  it('scans two steps, with bias, skip and gate', () => {
    const delta = Math.log(1 + Math.exp(0.1 + 0.2));
    const h1 = Math.exp(-delta) * 4 + delta * 3 * 2;
    const h2 = Math.exp(-delta) * h1 + delta * 5 * -1;
    const y = [(0.5 * h1 + 7 * 3) * (1 * sigmoid(1)), (2 * h2 + 7 * 5) * (-2 * sigmoid(-2))];
    return works(
      'selective_scan',
      {
        u: column(3, 5),
        dt: column(0.1, 0.1),
        a: row(-1),
        b: column(2, -1),
        c: column(0.5, 2),
        d: row(7),
        z: column(1, -2),
        dtBias: row(0.2),
        stateIn: row(4),
        y: room(2, 1),
        stateOut: room(1, 1),
        checkpoints: room(2, 1),
      },
      { b: 1, l: 2, d: 1, n: 1, chunk: 1, softplus: 1 },
      {},
      { y, stateOut: [h2], checkpoints: [4, h1] },
    );
  });

  it('convolves with the oldest input first, over a reset and padding', () =>
    works(
      'causal_conv',
      {
        x: column(1, 2, 100, 3, 4),
        weight: row(10, 1),
        bias: row(0.5),
        flags: ints(1, 0, 0, 2, 0, 1),
        stateIn: row(9),
        y: room(5, 1),
        stateOut: room(1, 1),
      },
      { b: 1, l: 5, d: 1, k: 2, silu: 0 },
      {},
      { y: [90 + 1.5, 10 + 2.5, 0, 20 + 3.5, 4.5], stateOut: [4] },
    ));

  it('normalises', async () => {
    const rstd = 1 / Math.sqrt((16 + 4) / 2 + 0.5);
    await works(
      'rms_norm',
      { x: row(1, -1), residual: row(3, 3), weight: row(2, 10), y: room(1, 2), sum: room(1, 2), rstd: room(1, 1) },
      { rows: 1, cols: 2 },
      { eps: 0.5 },
      { y: [4 * rstd * 2, 2 * rstd * 10], sum: [4, 2], rstd: [rstd] },
    );
    const layerRstd = 1 / Math.sqrt(1 + 0.5);
    await works(
      'layer_norm',
      { x: row(4, 2), weight: row(2, 10), bias: row(1, 1), y: room(1, 2), mean: room(1, 1), rstd: room(1, 1) },
      { rows: 1, cols: 2 },
      { eps: 0.5 },
      { y: [layerRstd * 2 + 1, -layerRstd * 10 + 1], mean: [3], rstd: [layerRstd] },
    );
  });

  it('multiplies matrices stored either way', async () => {
    const scalars = { alpha: 2, beta: 3 };
    const strides = { strideA: 0, strideB: 0, strideC: 0 };
    const tensors = { a: operand(2, 1, [1, 2]), b: operand(2, 2, [1, 2, 3, 4]), bias: row(100, 200), c: row(10, 20) };
    const dims = { batch: 1, m: 1, n: 2, k: 2, transA: 1, ...strides };
    await works('matmul', tensors, { ...dims, transB: 0 }, scalars, { c: [2 * 7 + 30 + 100, 2 * 10 + 60 + 200] });
    await works('matmul', tensors, { ...dims, transB: 1 }, scalars, { c: [2 * 5 + 30 + 100, 2 * 11 + 60 + 200] });
  });

  it('has the loss and its gradient', () =>
    works(
      'cross_entropy',
      {
        logits: operand(2, 2, [Math.log(3), 0, 5, 6]),
        targets: ints(2, 1, -100),
        losses: room(2, 1),
        dlogits: room(2, 2),
      },
      { rows: 2, cols: 2, ignore: -100 },
      { gradScale: 2 },
      { losses: [Math.log(4), 0], dlogits: [1.5, -1.5, 0, 0] },
    ));

  it('takes a first step of AdamW of the size of the learning rate', () =>
    works(
      'adamw',
      { param: row(10, 10), grad: row(4, -4), m: row(0, 0), v: row(0, 0), control: row(0.5, 9, 1, 0) },
      { n: 2 },
      { lr: 0.1, beta1: 0.9, beta2: 0.99, eps: 0, weightDecay: 0.5, step: 1 },
      { param: [10 - 0.5 - 0.1, 10 - 0.5 + 0.1], m: [0.2, -0.2], v: [0.04, 0.04] },
    ));

  it('clips by the norm of what was scaled', () =>
    works(
      'clip_control',
      { acc: row(400), control: room(1, 4) },
      {},
      { maxNorm: 5, inverseScale: 0.5 },
      {
        control: [(0.5 * 5) / (10 + 1e-6), 10, 1, 0],
      },
    ));

  it('drops the elements that the random numbers say', async () => {
    const draws = Array.from({ length: 10 }, (_, i) => toUnit(philoxBlock(9, 4, i >> 2)[i & 3]));
    const dims = { rows: 2, cols: 5, seed: 9, stream: 4 };
    const x = operand(2, 5, new Array(10).fill(3));
    await works('dropout', { x, y: room(2, 5) }, dims, { p: 0.4 }, { y: draws.map((u) => (u >= 0.4 ? 5 : 0)) });
    const scalars = { low: -1, high: 1 };
    await works('random_uniform', { y: room(2, 5) }, dims, scalars, { y: draws.map((u) => 2 * u - 1) });
  });
});

describe('memory of the reference device', () => {
  const fill = (block: { address: number; bytes: number }, cols: number, offset = 0) =>
    command('fill', { y: { block, offset, ld: cols, dtype: 'f32' } }, { rows: 1, cols }, { value: 1 });

  it('counts to the byte', () => {
    const backend = createReferenceBackend();
    const block = backend.alloc(13);
    backend.alloc(0);
    assert.deepEqual(backend.memory(), { bytesInUse: 13, peakBytes: 13, bytesReserved: 13, blocks: 2 });
    backend.free(block);
    assert.deepEqual(backend.memory(), { bytesInUse: 0, peakBytes: 13, bytesReserved: 0, blocks: 1 });
  });

  it('starts as NaN, so that nobody counts on zeros', async () => {
    const backend = createReferenceBackend();
    const bytes = await backend.download(backend.alloc(8), 0, 8);
    assert.ok(new Float32Array(bytes.buffer).every(Number.isNaN));
  });

  it('notices freed memory in every call', async () => {
    const backend = createReferenceBackend();
    const block = backend.alloc(16);
    backend.free(block);
    backend.alloc(16);
    assert.throws(() => backend.free(block), /not in use/);
    assert.throws(() => backend.upload(block, 0, new Uint8Array(1)), /not in use/);
    assert.throws(() => backend.launch(fill(block, 1)), /\[fill\].*not in use/);
    await assert.rejects(() => backend.download(block, 0, 1), /not in use/);
  });

  it('notices a kernel that leaves its block', () => {
    const backend = createReferenceBackend();
    const block = backend.alloc(16);
    backend.launch(fill(block, 4));
    assert.throws(() => backend.launch(fill(block, 5)), /\[fill\] y: row 0, column 4 lies outside its block of 4 f32/);
    assert.throws(() => backend.launch(fill(block, 1, 4)), /outside/);
  });

  it('refuses targets that are no class', async () => {
    const tensors = { logits: row(1, 2), targets: ints(1, 2), losses: room(1, 1), dlogits: null };
    const launch = {
      kernel: 'cross_entropy' as const,
      tensors,
      dims: { rows: 1, cols: 2, ignore: -1 },
      scalars: { gradScale: 1 },
    };
    await assert.rejects(() => evaluate(launch), /targets: expected 0\.\.1 or -1 in row 0, got 2/);
  });
});
