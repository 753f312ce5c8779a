/** Work of `krait devices`: what is there, what is missing and why, and what each device can do at most here. */
import { cpus, freemem, totalmem } from 'node:os';
import { measureRoofline } from '../../backend/index.ts';
import { DEVICE_NAMES, deviceCandidate } from '../../backend/select.ts';
import { formatBytes, table } from '../../report/terminal.ts';
import type { CommonOptions } from '../options.ts';
import type { Output } from '../output.ts';

interface DeviceReport {
  device: string;
  available: boolean;
  variant?: string;
  threads?: number;
  /** Billions of multiply-adds a second that touch no memory, each of them two operations. */
  gflops?: number;
  /** Billions of bytes a second that are read from memory. */
  gigabytesPerSecond?: number;
  note: string;
}

async function report(name: (typeof DEVICE_NAMES)[number], threads: number | undefined): Promise<DeviceReport> {
  const candidate = await deviceCandidate(name, threads);
  if (!candidate.available) return { device: name, available: false, note: candidate.reason };
  const backend = await candidate.open();
  try {
    const { flopsPerSecond, bytesPerSecond } = await measureRoofline(backend);
    const { variant, threads: count } = backend;
    const speed = { gflops: flopsPerSecond / 1e9, gigabytesPerSecond: bytesPerSecond / 1e9 };
    return { device: name, available: true, variant, threads: count, ...speed, note: candidate.reason };
  } finally {
    backend.close();
  }
}

export async function run(options: CommonOptions, output: Output): Promise<void> {
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
}
