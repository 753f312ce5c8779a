/** Matrix products on a device, launched as the engine launches them; shared by the suite and `bench/matmul.ts`. */
import { type Allocation, type Backend, type Command, command, type TensorArg } from '../../src/backend/index.ts';
import { type DType, dtypeBytes } from '../../src/core/index.ts';

/** c[m, n] = a[m, k] b[k, n]; a transposed operand is stored the other way round. */
export interface ProductShape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transA?: boolean;
  readonly transB?: boolean;
}

export const productFlops = ({ m, n, k }: ProductShape): number => 2 * m * n * k;

function operand(device: Backend, dtype: DType, rows: number, cols: number): TensorArg {
  const block: Allocation = device.alloc(rows * cols * dtypeBytes(dtype));
  // 0x3f003f00 is 0.50 as f32, two halves of 0.5 as bf16, of 1.75 as f16.
  const words = new Uint32Array(Math.ceil(block.bytes / 4)).fill(0x3f003f00);
  device.upload(block, 0, new Uint8Array(words.buffer, 0, block.bytes));
  return { block, offset: 0, ld: cols, dtype };
}

/** The launch of a product of constant matrices, which stay in memory until the device is closed. */
export function productLaunch(device: Backend, dtype: DType, { m, n, k, transA, transB }: ProductShape): Command {
  const a = transA ? operand(device, dtype, k, m) : operand(device, dtype, m, k);
  const b = transB ? operand(device, dtype, n, k) : operand(device, dtype, k, n);
  const dims = { batch: 1, m, n, k, transA: +!!transA, transB: +!!transB, strideA: 0, strideB: 0, strideC: 0 };
  return command('matmul', { a, b, c: operand(device, dtype, m, n) }, dims, { alpha: 1, beta: 0 });
}

/** Seconds that one of `repeats` launches takes. */
export async function launchSeconds(device: Backend, launch: Command, repeats: number): Promise<number> {
  await device.sync();
  const startedMs = performance.now();
  for (let i = 0; i < repeats; i++) device.launch(launch);
  await device.sync();
  return (performance.now() - startedMs) / 1000 / repeats;
}
