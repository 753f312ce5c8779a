/** Costs of commands against numbers that were counted by hand. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { DType } from '../core/index.ts';
import { command, type TensorArg } from './command.ts';
import { costOf, shapeKey, shapeOf } from './profile-cost.ts';

const of = (dtype: DType): TensorArg => ({ block: { address: 64, bytes: 1e6 }, offset: 0, ld: 100, dtype });
const [f32, bf16, i32, i8] = [of('f32'), of('bf16'), of('i32'), of('i8')];

/** A product of [3, 7] and [7, 5]. */
const product = (tensors: Record<string, TensorArg>, change = {}, beta = 0) => {
  const dims = { batch: 1, m: 3, n: 5, k: 7, transA: 0, transB: 1, strideA: 0, strideB: 0, strideC: 0, ...change };
  return command('matmul', { a: f32, b: f32, c: f32, ...tensors }, dims, { alpha: 1, beta });
};

/** b 2, l 3, d 4, n 5: 24 positions of a channel, 6 of a sequence. */
const scan = (tensors: Record<string, TensorArg>) => {
  const required = { u: f32, dt: f32, a: f32, b: f32, c: f32, y: f32 };
  return command('selective_scan', { ...required, ...tensors }, { b: 2, l: 3, d: 4, n: 5, chunk: 2, softplus: 1 });
};

describe('costs', () => {
  it('of a product: a multiplication and an addition for each term', () => {
    assert.deepEqual(costOf(product({})), { flops: 3 * 5 * (7 + 7), bytes: 4 * (21 + 35 + 15) });
    assert.equal(costOf(product({ b: bf16 })).bytes, 4 * 21 + 2 * 35 + 4 * 15);
    assert.equal(costOf(product({ bias: f32 })).bytes, 4 * (21 + 35 + 5 + 15));
    assert.equal(costOf(product({}, {}, 1)).bytes, 4 * (21 + 35 + 2 * 15), 'c is read too');
  });

  it('of quantised weights: a byte an element, and their scales', () => {
    assert.deepEqual(costOf(product({ b: i8, scale: f32 })), { flops: 210, bytes: 4 * 21 + 35 + 4 * (5 + 15) });
    const lookup = command('embedding', { table: i8, ids: i32, y: f32, scale: f32 }, { n: 3, d: 8, v: 50 });
    assert.equal(costOf(lookup).bytes, 3 * 8 + 4 * (3 + 3 * 8 + 3));
  });

  it('of a batch of products, whose operands may be shared', () => {
    assert.deepEqual(costOf(product({}, { batch: 10, strideA: 21, strideB: 35, strideC: 15 })), {
      flops: 10 * 210,
      bytes: 4 * 10 * (21 + 35 + 15),
    });
    assert.equal(costOf(product({}, { batch: 10, strideA: 21, strideC: 15 })).bytes, 4 * (10 * 21 + 35 + 10 * 15));
  });

  it('of a scan: each position of a channel by itself, and each state of it', () => {
    // A state: delta*a, exp (14), times h, delta*u times b, added; times c, added. A position: dt + bias, softplus (34),
    // delta*u, d*u, added, silu of z (17), times y.
    assert.equal(costOf(scan({})).flops, 24 * (5 * 20 + 5 + 34 + 17));
    const bare = 4 * (24 + 24 + 20 + 30 + 30 + 24); // u, dt, a, b, c, y
    assert.equal(costOf(scan({})).bytes, bare);
    assert.equal(
      costOf(scan({ d: f32, z: bf16, dtBias: f32, flags: i32 })).bytes,
      bare + 4 * 4 + 2 * 24 + 4 * 4 + 4 * 6,
    );
    assert.equal(costOf(scan({ stateIn: f32, stateOut: f32 })).bytes, bare + 2 * 4 * 2 * 20);
    assert.equal(costOf(scan({ checkpoints: f32 })).bytes, bare + 4 * 2 * 2 * 20, 'two chunks of each sequence');
  });

  it('of outputs that are added to: they are read and written', () => {
    const given = { s: f32, rstd: f32, dy: f32, dx: f32 };
    const dims = { rows: 6, cols: 4 };
    const bytes = 4 * (24 + 6 + 24 + 24);
    assert.equal(costOf(command('rms_norm_bwd', given, dims)).bytes, bytes);
    assert.equal(costOf(command('rms_norm_bwd', { ...given, dweight: f32 }, dims)).bytes, bytes + 4 * 2 * 4);
    assert.equal(costOf(command('accumulate', { x: bf16, y: f32 }, dims, { alpha: 1 })).bytes, 2 * 24 + 2 * 4 * 24);
  });

  it('of what is stretched: it is read once', () => {
    const bytes = [0, 1, 2, 3].map(
      (mode) => costOf(command('binary', { a: f32, b: f32, y: f32 }, { rows: 6, cols: 4, op: 0, mode })).bytes,
    );
    assert.deepEqual(
      bytes,
      [24, 4, 6, 1].map((b) => 4 * (24 + b + 24)),
    );
    const strides = { s0: 0, s1: 0, s2: 0, s3: 0, s4: 4, s5: 1 };
    const dims = { n0: 1, n1: 1, n2: 1, n3: 3, n4: 2, n5: 4, ...strides };
    assert.equal(costOf(command('permute', { x: f32, y: f32 }, dims)).bytes, 4 * (8 + 24));
  });
});

describe('shapes of launches', () => {
  it('are told apart by what the cost depends on, and by nothing else', () => {
    const keys = [product({}), product({ b: bf16 }), product({ bias: f32 }), product({}, { m: 4 }), product({}, {}, 1)];
    assert.equal(new Set(keys.map(shapeKey)).size, keys.length);
    const dropout = (stream: number) =>
      command('dropout', { x: f32, y: f32 }, { rows: 2, cols: 3, seed: 1, stream }, { p: 0.1 });
    assert.equal(shapeKey(dropout(1)), shapeKey(dropout(2)));
    assert.deepEqual(shapeOf(dropout(1)).dims, { rows: 2, cols: 3 });
    assert.equal(shapeKey(product({}, {}, 0.5)), shapeKey(product({}, {}, 1)));
  });

  it('name sizes, and types of the tensors that are there', () => {
    const { kernel, dims, dtypes, flops } = shapeOf(product({ b: bf16 }));
    assert.deepEqual(
      { kernel, dtypes, flops },
      { kernel: 'matmul', dtypes: { a: 'f32', b: 'bf16', c: 'f32' }, flops: 210 },
    );
    assert.deepEqual([dims.m, dims.n, dims.k], [3, 5, 7]);
  });
});
