/**
 * Speed of the native matrix product beside what the vector units can do at most, measured in the same run:
 *
 *   npx tsx bench/matmul.ts [--threads N] [--dtype f32|bf16|f16] [--rounds N]
 *
 * Each figure is the best of the rounds; between rounds all shapes take turns, so that a disturbance does not hit
 * one alone. Thin shapes (decoding) are judged by bytes: `GB/s` counts each operand once. Where the processor has dot
 * products of bf16 pairs, the peak in bf16 is theirs: twice that of multiply-adds.
 */
import { parseArgs } from 'node:util';
import { peakFactor } from '../src/backend/index.ts';
import { createNativeBackend } from '../src/backend/native/index.ts';
import { type DType, dtypeBytes } from '../src/core/index.ts';
import { launchSeconds, type ProductShape, productFlops, productLaunch } from './lanes/product.ts';

interface Shape extends ProductShape {
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

const work = SHAPES.map((shape) => ({
  shape,
  launch: productLaunch(device, dtype, shape),
  best: Number.POSITIVE_INFINITY,
}));
const factor = peakFactor(device, dtype, dtype);
let peak = 0;
for (let round = 0; round < rounds; round++) {
  peak = Math.max(peak, factor * (await device.measurePeak(3)));
  for (const item of work) {
    const repeats = Math.min(1000, Math.max(1, Math.round(4e8 / productFlops(item.shape))));
    item.best = Math.min(item.best, await launchSeconds(device, item.launch, repeats));
  }
}

console.log(`native ${device.variant}, ${device.threads} threads, ${dtype}; peak ${(peak / 1e9).toFixed(1)} GFLOP/s`);
for (const { shape, best } of work) {
  const { m, n, k, transA, transB, what } = shape;
  const rate = productFlops(shape) / best;
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
