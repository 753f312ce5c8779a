/** For tests: one matmul on a device against plain loops in f64, with an error bound that follows from the types. */
import assert from 'node:assert/strict';
import { type DType, decode, dtypeBytes, encode } from '../../core/index.ts';
import type { Allocation } from '../allocation.ts';
import type { Backend } from '../backend.ts';
import { type Command, command, type TensorArg } from '../command.ts';

export interface MatmulCase {
  batch: number;
  m: number;
  n: number;
  k: number;
  transA: boolean;
  transB: boolean;
  /** Columns of padding after each row of a, b, c. */
  pad: readonly [number, number, number];
  shareA: boolean;
  shareB: boolean;
  types: readonly [DType, DType, DType];
  bias: DType | null;
  alpha: number;
  beta: number;
  seed: number;
}

interface Matrix {
  values: ArrayLike<number>;
  raw: Uint8Array;
  ld: number;
  stride: number;
  dtype: DType;
}

const bytesOf = (array: ArrayBufferView): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

/** Uniform in [-1, 1), quick: millions are drawn. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state * 2 ** -31 - 1;
  };
}

function randomMatrix(
  random: () => number,
  dtype: DType,
  items: number,
  rows: number,
  cols: number,
  pad: number,
): Matrix {
  const ld = cols + pad;
  const raw = encode(dtype, Float64Array.from({ length: items * rows * ld }, random));
  return { values: decode(dtype, raw), raw: bytesOf(raw), ld, stride: rows * ld, dtype };
}

export interface PreparedMatmul {
  readonly command: Command;
  /** Bytes of c before, and where they are. */
  readonly c: { block: Allocation; before: Uint8Array };
  readonly blocks: Allocation[];
  /** Asserts that `after` holds the product, and padding as it was. */
  check(after: Uint8Array): void;
}

/** Uploads random operands for `x` to `device`. */
export function prepareMatmul(device: Backend, x: MatmulCase): PreparedMatmul {
  const random = generator(x.seed);
  const a = randomMatrix(random, x.types[0], x.shareA ? 1 : x.batch, ...shapeOf(x.transA, x.m, x.k), x.pad[0]);
  const b = randomMatrix(random, x.types[1], x.shareB ? 1 : x.batch, ...shapeOf(x.transB, x.k, x.n), x.pad[1]);
  const c = randomMatrix(random, x.types[2], x.batch, x.m, x.n, x.pad[2]);
  const bias = x.bias ? randomMatrix(random, x.bias, 1, 1, x.n, 0) : null;
  // beta 0 must not read c: NaN in it would show.
  if (x.beta === 0) c.raw.fill(0xff);

  const blocks: Allocation[] = [];
  const upload = (matrix: Matrix): TensorArg => {
    const block = device.alloc(matrix.raw.byteLength);
    blocks.push(block);
    device.upload(block, 0, matrix.raw);
    return { block, offset: 0, ld: matrix.ld, dtype: matrix.dtype };
  };
  const args = { a: upload(a), b: upload(b), bias: bias && upload(bias), c: upload(c) };
  const dims = { batch: x.batch, m: x.m, n: x.n, k: x.k, transA: +x.transA, transB: +x.transB };
  const strides = { strideA: x.shareA ? 0 : a.stride, strideB: x.shareB ? 0 : b.stride, strideC: c.stride };
  const launch = command('matmul', args, { ...dims, ...strides }, { alpha: x.alpha, beta: x.beta });
  return {
    command: launch,
    c: { block: args.c.block, before: c.raw },
    blocks,
    check: (after) => verify(x, a, b, c, bias, after),
  };
}

function shapeOf(transposed: boolean, rows: number, cols: number): [number, number] {
  return transposed ? [cols, rows] : [rows, cols];
}

// Half of the last place of the output type, relative.
const ROUNDING: Partial<Record<DType, number>> = { f32: 2 ** -24, bf16: 2 ** -8, f16: 2 ** -11 };

// Products of more multiplications than this are checked in some elements only.
const MOST_MULTIPLICATIONS = 400_000;

function verify(x: MatmulCase, a: Matrix, b: Matrix, c: Matrix, bias: Matrix | null, after: Uint8Array): void {
  const raw = new Uint8Array(after).buffer;
  const got = decode(c.dtype, c.dtype === 'f32' ? new Float32Array(raw) : new Uint16Array(raw));
  const elements = x.batch * x.m * x.n;
  // A step without a common factor with n walks through all columns and rows.
  let step = Math.max(1, Math.floor((elements * x.k) / MOST_MULTIPLICATIONS));
  while (step > 1 && (x.n % step === 0 || step % 2 === 0)) step++;
  for (let element = 0; element < elements; element += step) {
    const [item, i, j] = [Math.floor(element / (x.m * x.n)), Math.floor(element / x.n) % x.m, element % x.n];
    const [stepA, stepB] = [x.transA ? a.ld : 1, x.transB ? 1 : b.ld];
    const startA = (x.shareA ? 0 : item * a.stride) + (x.transA ? i : i * a.ld);
    const startB = (x.shareB ? 0 : item * b.stride) + (x.transB ? j * b.ld : j);
    let sum = 0;
    let magnitude = 0;
    for (let q = 0; q < x.k; q++) {
      const product = a.values[startA + q * stepA] * b.values[startB + q * stepB];
      sum += product;
      magnitude += Math.abs(product);
    }
    const at = item * c.stride + i * c.ld + j;
    const old = x.beta === 0 ? 0 : x.beta * c.values[at];
    const added = bias ? bias.values[j] : 0;
    const expected = x.alpha * sum + old + added;
    const scale = Math.abs(x.alpha) * magnitude + Math.abs(old) + Math.abs(added);
    const bound = ROUNDING[c.dtype]! * Math.abs(expected) * 1.01 + 2 ** -24 * scale * (4 + Math.sqrt(x.k)) + 2 ** -25;
    if (Math.abs(got[at] - expected) <= bound) continue;
    assert.fail(`c[${item}, ${i}, ${j}]: expected ${expected}, got ${got[at]} (bound ${bound})`);
  }
  checkPadding(x, c, after);
}

function checkPadding(x: MatmulCase, c: Matrix, after: Uint8Array): void {
  if (x.pad[2] === 0) return;
  const width = dtypeBytes(c.dtype);
  for (let row = 0; row < x.batch * x.m; row++) {
    const start = (row * c.ld + x.n) * width;
    const end = start + x.pad[2] * width;
    assert.deepEqual(after.slice(start, end), c.raw.slice(start, end), `padding of row ${row} was written`);
  }
}

/** One product that cases spread from. */
// biome-ignore format: a row
export const plain: MatmulCase = {
  batch: 1, m: 1, n: 1, k: 1, transA: false, transB: true, pad: [0, 0, 0], shareA: false, shareB: false,
  types: ['f32', 'f32', 'f32'], bias: null, alpha: 1, beta: 0, seed: 1,
};

/** Large enough that every way of the product uses several threads and several blocks. */
export const large: MatmulCase[] = [
  { ...plain, m: 150, n: 530, k: 600 },
  { ...plain, m: 530, n: 150, k: 600, transA: true, transB: false, types: ['f32', 'f32', 'bf16'], beta: 0.5 },
  { ...plain, m: 400, n: 300, k: 900, types: ['bf16', 'bf16', 'f16'], bias: 'f32' },
  { ...plain, m: 1, n: 3000, k: 300, types: ['f32', 'bf16', 'f32'], bias: 'bf16' },
  { ...plain, m: 5, n: 700, k: 700, transB: false, types: ['f16', 'f32', 'bf16'] },
  { ...plain, m: 900, n: 3, k: 500, types: ['bf16', 'f16', 'f16'], bias: 'f16', beta: 1 },
  { ...plain, m: 2, n: 3, k: 40000, transA: true },
  { ...plain, m: 3, n: 70, k: 5000, transB: false },
  { ...plain, batch: 40, m: 20, n: 30, k: 50, shareB: true },
  { ...plain, batch: 4, m: 60, n: 130, k: 200, transA: true, bias: 'f32', beta: 0.3 },
  // k in several blocks, for each layout of the operand that is packed block by block
  { ...plain, m: 20, n: 300, k: 2300 },
  { ...plain, m: 30, n: 140, k: 2400, transA: true, transB: false, types: ['f16', 'bf16', 'bf16'] },
  { ...plain, m: 160, n: 20, k: 3100, transB: false, types: ['f32', 'f32', 'f16'] },
  { ...plain, m: 200, n: 40, k: 3301, transA: true, types: ['bf16', 'bf16', 'bf16'], bias: 'f32', beta: 0.5 },
  // more sums than have room while they wait for the next block
  { ...plain, m: 1380, n: 1372, k: 800, transA: true, transB: false },
];

/** Runs `x` on `device` and checks the result, unless disabled. Returns the bytes of c. */
export async function result(device: Backend, x: MatmulCase, checked = true): Promise<Uint8Array> {
  const prepared = prepareMatmul(device, x);
  device.launch(prepared.command);
  const bytes = prepared.c.before.byteLength;
  const after = await device.download(prepared.c.block, 0, bytes);
  for (const block of prepared.blocks) device.free(block);
  if (checked) prepared.check(after);
  return after;
}
