/** `krait devices`: what is there, what is missing and why, and how fast each device is here. */
import { cpus, freemem, totalmem } from 'node:os';
import type { Command } from 'commander';
import { type Backend, command as kernelCommand, type TensorArg } from '../../backend/index.ts';
import { DEVICE_NAMES, deviceCandidate } from '../../backend/select.ts';
import { formatBytes, table } from '../../report/terminal.ts';
import { type CommonOptions, Output, withCommonOptions } from '../session.ts';

interface DeviceReport {
  device: string;
  available: boolean;
  variant?: string;
  threads?: number;
  gflops?: number;
  gigabytesPerSecond?: number;
  note: string;
}

async function secondsOf(backend: Backend, work: () => void, leastSeconds: number): Promise<number> {
  work();
  await backend.sync();
  let best = Number.POSITIVE_INFINITY;
  const end = performance.now() + leastSeconds * 1000;
  do {
    const start = performance.now();
    work();
    await backend.sync();
    best = Math.min(best, (performance.now() - start) / 1000);
  } while (performance.now() < end);
  return best;
}

/** Best of several runs: an f32 product of three n x n matrices, and adding a large vector to another. */
async function measure(backend: Backend): Promise<{ gflops: number; gigabytesPerSecond: number }> {
  const n = backend.name === 'reference' ? 96 : 768;
  const long = backend.name === 'reference' ? 2 ** 16 : 2 ** 25;
  const block = (elements: number) => backend.alloc(elements * 4);
  const arg = (b: ReturnType<typeof block>, ld: number): TensorArg => ({ block: b, offset: 0, ld, dtype: 'f32' });
  const square = [block(n * n), block(n * n), block(n * n)];
  const vectors = [block(long), block(long)];
  const fill = (b: ReturnType<typeof block>, size: number) =>
    backend.launch(kernelCommand('fill', { y: arg(b, size) }, { rows: 1, cols: size }, { value: 0.5 }));
  for (const b of square) fill(b, n * n);
  for (const b of vectors) fill(b, long);
  const [a, b, c] = square.map((s) => arg(s, n));
  const dims = { batch: 1, m: n, n, k: n, transA: 0, transB: 1, strideA: 0, strideB: 0, strideC: 0 };
  const product = kernelCommand('matmul', { a, b, c }, dims, { alpha: 1, beta: 0 });
  const [x, y] = vectors.map((v) => arg(v, 2 ** 14));
  const sum = kernelCommand('accumulate', { x, y }, { rows: long / 2 ** 14, cols: 2 ** 14 }, { alpha: 0.5 });
  const gflops = (2 * n ** 3) / (await secondsOf(backend, () => backend.launch(product), 0.3)) / 1e9;
  const gigabytesPerSecond = (3 * 4 * long) / (await secondsOf(backend, () => backend.launch(sum), 0.3)) / 1e9;
  for (const s of [...square, ...vectors]) backend.free(s);
  return { gflops, gigabytesPerSecond };
}

async function report(name: (typeof DEVICE_NAMES)[number], threads: number | undefined): Promise<DeviceReport> {
  const candidate = await deviceCandidate(name, threads);
  if (!candidate.available) return { device: name, available: false, note: candidate.reason };
  const backend = await candidate.open();
  try {
    const speed = await measure(backend);
    const { variant, threads: count } = backend;
    return { device: name, available: true, variant, threads: count, ...speed, note: candidate.reason };
  } finally {
    backend.close();
  }
}

export function define(command: Command): Command {
  return withCommonOptions(command).action(async (options: CommonOptions) => {
    const output = new Output(options.json ?? false);
    const wanted = options.device === 'auto' ? DEVICE_NAMES : [options.device];
    const devices: DeviceReport[] = [];
    for (const name of wanted) devices.push(await report(name, options.threads));
    const machine = {
      cpu: cpus()[0]?.model ?? 'unknown',
      cores: cpus().length,
      memoryBytes: totalmem(),
      freeBytes: freemem(),
      node: process.version,
    };
    output.result({ machine, devices }, () => {
      const { cpu, cores, memoryBytes, freeBytes, node } = machine;
      const rows = devices.map((d) => [
        d.device,
        d.variant ?? '-',
        d.threads ?? '-',
        d.gflops?.toFixed(1) ?? '-',
        d.gigabytesPerSecond?.toFixed(1) ?? '-',
        d.available ? d.note : `missing: ${d.note}`,
      ]);
      return [
        `${cpu}, ${cores} cores, ${formatBytes(memoryBytes)} memory (${formatBytes(freeBytes)} free), Node ${node}`,
        table([['device', 'variant', 'threads', 'GFLOP/s', 'GB/s', 'note'], ...rows]),
      ].join('\n\n');
    });
  });
}
