/**
 * Speed of the native matrix product beside what the vector units can do at most, measured in the same run:
 *
 *   npx tsx bench/matmul.ts [--threads N] [--dtype f32|bf16|f16] [--rounds N]
 *
 * Each figure is the best of the rounds; between rounds all shapes take turns, so that a disturbance does not hit
 * one alone. Thin shapes (decoding) are judged by bytes: `GB/s` counts each operand once.
 */
import { parseArgs } from 'node:util';
import { type Allocation, type Command, command, type TensorArg } from '../src/backend/index.ts';
import { createNativeBackend } from '../src/backend/native/index.ts';
import { type DType, dtypeBytes } from '../src/core/index.ts';

interface Shape {
  m: number;
  n: number;
  k: number;
  transA?: boolean;
  transB?: boolean;
  what: string;
}

const SHAPES: Shape[] = [
  { m: 512, n: 3072, k: 768, transB: true, what: 'projection of the 130M model' },
  { m: 512, n: 768, k: 1536, transB: true, what: 'its output projection' },
  { m: 2048, n: 768, k: 192, transB: true, what: 'small model, projection' },
  { m: 2048, n: 44, k: 384, transB: true, what: 'small model, x_proj' },
  { m: 768, n: 192, k: 2048, transA: true, what: 'small model, weight gradient' },
  { m: 2048, n: 4096, k: 192, transB: true, what: 'small model, logits' },
  { m: 1024, n: 1024, k: 1024, what: 'square' },
  { m: 1, n: 3072, k: 768, transB: true, what: 'decoding' },
  { m: 1, n: 50280, k: 768, transB: true, what: 'decoding, logits' },
  { m: 4, n: 3072, k: 768, transB: true, what: 'decoding, batch 4' },
  { m: 8, n: 3072, k: 768, transB: true, what: 'decoding, batch 8' },
  { m: 32, n: 32, k: 32, what: 'tiny' },
];

const { values } = parseArgs({
  options: { threads: { type: 'string' }, dtype: { type: 'string' }, rounds: { type: 'string' } },
});
const dtype = (values.dtype ?? 'f32') as DType;
const rounds = Number(values.rounds ?? 12);
const device = createNativeBackend({ threads: values.threads ? Number(values.threads) : undefined });

function operand(rows: number, cols: number): TensorArg {
  const block: Allocation = device.alloc(rows * cols * dtypeBytes(dtype));
  // 0x3f003f00 is 0.50 as f32, two halves of 0.5 as bf16, of 1.75 as f16.
  device.upload(
    block,
    0,
    new Uint8Array(new Uint32Array(Math.ceil(block.bytes / 4)).fill(0x3f003f00).buffer, 0, block.bytes),
  );
  return { block, offset: 0, ld: cols, dtype };
}

function launchOf({ m, n, k, transA, transB }: Shape): Command {
  const a = transA ? operand(k, m) : operand(m, k);
  const b = transB ? operand(n, k) : operand(k, n);
  const dims = { batch: 1, m, n, k, transA: +!!transA, transB: +!!transB, strideA: 0, strideB: 0, strideC: 0 };
  return command('matmul', { a, b, c: operand(m, n) }, dims, { alpha: 1, beta: 0 });
}

async function secondsFor(launch: Command, repeats: number): Promise<number> {
  await device.sync();
  const started = performance.now();
  for (let i = 0; i < repeats; i++) device.launch(launch);
  await device.sync();
  return (performance.now() - started) / 1000 / repeats;
}

const work = SHAPES.map((shape) => ({ shape, launch: launchOf(shape), best: Number.POSITIVE_INFINITY }));
let peak = 0;
for (let round = 0; round < rounds; round++) {
  peak = Math.max(peak, await device.measurePeak(3));
  for (const item of work) {
    const { m, n, k } = item.shape;
    const repeats = Math.min(1000, Math.max(1, Math.round(2e8 / (m * n * k))));
    item.best = Math.min(item.best, await secondsFor(item.launch, repeats));
  }
}

console.log(
  `native ${device.variant}, ${device.threads} threads, ${dtype}; FMA peak ${(peak / 1e9).toFixed(1)} GFLOP/s`,
);
for (const { shape, best } of work) {
  const { m, n, k, transA, transB, what } = shape;
  const rate = (2 * m * n * k) / best;
  const bytes = (m * k + k * n + m * n) * dtypeBytes(dtype);
  const name = `[${m}, ${k}]${transA ? ' (transposed)' : ''} x [${transB ? `${n}, ${k}]^T` : `${k}, ${n}]`}`;
  const figures = [
    `${(best * 1e6).toFixed(1).padStart(9)} us`,
    `${(rate / 1e9).toFixed(1).padStart(6)} GFLOP/s`,
    `${((100 * rate) / peak).toFixed(0).padStart(3)}% of peak`,
    `${(bytes / best / 1e9).toFixed(1).padStart(5)} GB/s`,
  ];
  console.log(`${name.padEnd(36)} ${figures.join('  ')}  ${what}`);
}
device.close();
