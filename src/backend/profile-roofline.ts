/** Measures the roofline of a machine: peak rates of arithmetic and memory. */
import type { Backend } from './backend.ts';
import { type Command, command, type TensorArg } from './command.ts';
import type { KernelName } from './kernels.ts';

export interface Roofline {
  /** Floating-point operations a second: multiply-adds that touch no memory. */
  readonly flopsPerSecond: number;
  /** Bytes that are read a second from memory that no cache holds. */
  readonly bytesPerSecond: number;
}

/** Runs `work` until it has been done `rounds` times; the shortest time in seconds. */
async function bestOf(backend: Backend, rounds: number, work: () => void): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    await backend.sync();
    const startedMs = performance.now();
    work();
    await backend.sync();
    best = Math.min(best, (performance.now() - startedMs) / 1000);
  }
  return best;
}

/**
 * Rate of the kernel `fma_peak`, which does nothing but multiply and add; in floating-point operations a second.
 * It is no row of the kernel table, so the device gives `launch`, which takes it by its number.
 */
export async function measureFma(
  backend: Backend,
  launch: (probe: Command) => void,
  rounds: number,
  iterations = 2_000_000,
): Promise<number> {
  const units = backend.threads;
  const block = backend.alloc(4 * units);
  try {
    const y: TensorArg = { block, offset: 0, ld: 1, dtype: 'f32' };
    const probe = { kernel: 'fma_peak' as KernelName, tensors: [y], dims: [units, iterations], scalars: [] };
    const seconds = await bestOf(backend, rounds, () => launch(probe));
    const flopsPerIteration = new Float32Array((await backend.download(block, 0, 4)).slice().buffer)[0];
    return (flopsPerIteration * units * iterations) / seconds;
  } finally {
    backend.free(block);
  }
}

/** Rate of a product of two n x n matrices in f32, for devices that have no `measurePeak`. */
async function measureProduct(backend: Backend, n: number, rounds: number): Promise<number> {
  const blocks = [0, 1, 2].map(() => backend.alloc(4 * n * n));
  const [a, b, c] = blocks.map((block): TensorArg => ({ block, offset: 0, ld: n, dtype: 'f32' }));
  for (const y of [a, b]) backend.launch(command('fill', { y }, { rows: n, cols: n }, { value: 0.5 }));
  const dims = { batch: 1, m: n, n, k: n, transA: 0, transB: 1, strideA: 0, strideB: 0, strideC: 0 };
  const product = command('matmul', { a, b, c }, dims, { alpha: 1, beta: 0 });
  const seconds = await bestOf(backend, rounds, () => backend.launch(product));
  for (const block of blocks) backend.free(block);
  return (2 * n ** 3) / seconds;
}

/** Best of two kernels that read much and write little: which of them is faster depends on the machine. */
async function measureReading(backend: Backend, rows: number, rounds: number): Promise<number> {
  const [large, vector, column] = [rows * COLS, COLS, rows].map((elements) => backend.alloc(4 * elements));
  const matrix = (block: TensorArg['block'], ld: number): TensorArg => ({ block, offset: 0, ld, dtype: 'f32' });
  const [x, v, y] = [matrix(large, COLS), matrix(vector, COLS), matrix(column, rows)];
  backend.launch(command('fill', { y: x }, { rows, cols: COLS }, { value: 0.5 }));
  backend.launch(command('fill', { y: v }, { rows: 1, cols: COLS }, { value: 0.5 }));
  const dims = { batch: 1, m: 1, n: rows, k: COLS, transA: 0, transB: 1, strideA: 0, strideB: 0, strideC: 0 };
  const readers = [
    command('argmax', { x, y: { ...y, ld: 1, dtype: 'i32' } }, { rows, cols: COLS }),
    command('matmul', { a: v, b: x, c: y }, dims, { alpha: 1, beta: 0 }),
  ];
  let best = Number.POSITIVE_INFINITY;
  for (const reader of readers) best = Math.min(best, await bestOf(backend, rounds, () => backend.launch(reader)));
  for (const block of [large, vector, column]) backend.free(block);
  return (4 * rows * COLS) / best;
}

const COLS = 1024;
const ROWS = 65_536; // 256 MiB with `COLS`: more than any cache holds

/**
 * Measures the roofs of a device that has nothing else to do, on all its threads: about half a second, and 256 MiB of
 * its memory while it lasts. (The reference, which is far from the speed of any memory, takes less of both.)
 */
export async function measureRoofline(backend: Backend, rounds = 6): Promise<Roofline> {
  const isSlow = backend.name === 'reference';
  const flops = await backend.measurePeak?.(rounds);
  return {
    flopsPerSecond: flops ?? (await measureProduct(backend, isSlow ? 64 : 512, rounds)),
    bytesPerSecond: await measureReading(backend, isSlow ? 128 : ROWS, rounds),
  };
}
