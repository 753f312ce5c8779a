/**
 * Speed of single kernels on the shapes of Mamba-130M (batch 1, 768 and 1,536 channels, a state of 16) against the
 * roofline measured in the same run:
 *
 *   npx tsx bench/kernels.ts [name ...] [--dtype f32|bf16|f16] [--tokens N] [--threads N] [--rounds N]
 *
 * `name` chooses rows that contain it. Each launch takes the next of several sets of operands, which together are more
 * than caches hold; all rows take turns, and a figure is the best of the rounds. The share of the roofline is the longer
 * of operations at the peak and bytes at the speed of memory, over the time.
 */
import { parseArgs } from 'node:util';
import { type Command, command, costOf, measureRoofline, type TensorArg } from '../src/backend/index.ts';
import { createNativeBackend } from '../src/backend/native/index.ts';
import { type DType, dtypeBytes, HostRandom, toBf16, toF16 } from '../src/core/index.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    dtype: { type: 'string', default: 'f32' },
    tokens: { type: 'string', default: '512' },
    threads: { type: 'string' },
    rounds: { type: 'string', default: '8' },
  },
});
const half = values.dtype as DType;
const [l, rounds] = [Number(values.tokens), Number(values.rounds)];
const [model, d, n, rank] = [768, 1536, 16, 48];
const COLD_BYTES = 96 * 2 ** 20;
const device = createNativeBackend({ threads: values.threads ? Number(values.threads) : undefined });
const random = new HostRandom(1);
const noise = Float32Array.from({ length: 65_521 }, () => random.uniform());

/** Numbers from low to high. */
function drawn(dtype: DType, rows: number, ld: number, low: number, high: number): TensorArg {
  const count = rows * ld;
  const some = noise.map((x) => low + (high - low) * x);
  const pattern = dtype === 'f32' ? some : Uint16Array.from(some, dtype === 'bf16' ? toBf16 : toF16);
  const data = dtype === 'f32' ? new Float32Array(count) : new Uint16Array(count);
  for (let at = 0; at < count; at += pattern.length) data.set(pattern.subarray(0, count - at), at);
  const block = device.alloc(count * dtypeBytes(dtype));
  device.upload(block, 0, new Uint8Array(data.buffer));
  return { block, offset: 0, ld, dtype };
}

const flow = (cols: number, low = -1, high = 1, ld = cols) => drawn(half, l, ld, low, high);
const f32 = (rows: number, cols: number, low = -1, high = 1) => drawn('f32', rows, cols, low, high);
const columns = (x: TensorArg, offset: number): TensorArg => ({ ...x, offset });

function scanInputs() {
  const [projected, selections] = [flow(2 * d), flow(rank + 2 * n)];
  return {
    ...{ u: flow(d), dt: flow(d, -6, -2), a: f32(n, d, -16, -1), d: f32(1, d), dtBias: f32(1, d, -1, 0) },
    ...{ b: columns(selections, rank), c: columns(selections, rank + n), z: columns(projected, d) },
  };
}
const scanDims = { b: 1, l, d, n, chunk: 64, softplus: 1 };
const kept = () => f32(Math.ceil(l / 64) * n, d);
const convDims = { b: 1, l, d, k: 4, silu: 1 };
const convInputs = () => ({ x: flow(d, -1, 1, 2 * d), weight: f32(d, 4), bias: f32(1, d) });
const dense = (cols: number) => ({ rows: l, cols });

/** One set of operands each. */
const ROWS: Record<string, () => Command> = {
  'selective_scan, prefill': () =>
    command('selective_scan', { ...scanInputs(), y: flow(d), stateOut: f32(n, d) }, scanDims),
  'selective_scan, training': () =>
    command('selective_scan', { ...scanInputs(), y: flow(d), checkpoints: kept() }, scanDims),
  selective_scan_bwd: () => {
    const gradients = { du: flow(d), ddt: flow(d), dz: flow(d), db: flow(n), dc: flow(n) };
    const sums = { da: f32(n, d), dd: f32(1, d), ddtBias: f32(1, d) };
    const given = { checkpoints: kept(), dy: flow(d) };
    return command('selective_scan_bwd', { ...scanInputs(), ...given, ...gradients, ...sums }, scanDims);
  },
  causal_conv: () => command('causal_conv', { ...convInputs(), y: flow(d) }, convDims),
  causal_conv_bwd: () => {
    const sums = { dweight: f32(d, 4), dbias: f32(1, d) };
    return command('causal_conv_bwd', { ...convInputs(), dy: flow(d), dx: flow(d), ...sums }, convDims);
  },
  rms_norm: () => {
    const inputs = { x: flow(model), residual: f32(l, model), weight: f32(1, model) };
    const outputs = { y: flow(model), sum: f32(l, model), rstd: f32(l, 1) };
    return command('rms_norm', { ...inputs, ...outputs }, dense(model), { eps: 1e-5 });
  },
  rms_norm_bwd: () => {
    const inputs = { s: f32(l, model), weight: f32(1, model), rstd: f32(l, 1), dy: flow(model), dsum: f32(l, model) };
    return command('rms_norm_bwd', { ...inputs, dx: f32(l, model), dweight: f32(1, model) }, dense(model));
  },
  'unary silu': () => command('unary', { x: flow(d), y: flow(d) }, { ...dense(d), op: 9 }, { param: 0 }),
  'unary_bwd silu': () =>
    command('unary_bwd', { x: flow(d), dy: flow(d), dx: flow(d) }, { ...dense(d), op: 9 }, { param: 0 }),
  'binary mul': () => command('binary', { a: flow(d), b: flow(d), y: flow(d) }, { ...dense(d), op: 2, mode: 0 }),
  accumulate: () => command('accumulate', { x: flow(d), y: flow(d) }, dense(d), { alpha: 1 }),
  copy: () => command('copy', { x: flow(d), y: flow(d) }, dense(d)),
  fill: () => command('fill', { y: flow(d) }, dense(d), { value: 0 }),
  adamw: () => {
    const count = 1536 * 768;
    const tensors = { param: f32(1, count), grad: f32(1, count), m: f32(1, count), v: f32(1, count, 0, 1) };
    const rates = { lr: 1e-5, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01, step: 3 };
    return command('adamw', tensors, { n: count }, rates);
  },
  cross_entropy: () => {
    const rows = 80;
    const logits = drawn(half, rows, 50280, -4, 4);
    const targets: TensorArg = { block: device.alloc(4 * rows), offset: 0, ld: 1, dtype: 'i32' };
    device.upload(targets.block, 0, new Uint8Array(4 * rows));
    const tensors = { logits, targets, losses: f32(rows, 1), dlogits: logits };
    return command('cross_entropy', tensors, { rows, cols: 50280, ignore: -100 }, { gradScale: 0.01 });
  },
};

async function secondsFor(launches: readonly Command[]): Promise<number> {
  await device.sync();
  const startedMs = performance.now();
  for (const launch of launches) device.launch(launch);
  await device.sync();
  return (performance.now() - startedMs) / 1000 / launches.length;
}

const work = Object.entries(ROWS)
  .filter(([name]) => positionals.length === 0 || positionals.some((part) => name.includes(part)))
  .map(([name, make]) => {
    const first = make();
    const cost = costOf(first);
    const more = Array.from({ length: Math.ceil(COLD_BYTES / cost.bytes) }, make);
    return { name, cost, launches: [first, ...more], best: Number.POSITIVE_INFINITY };
  });
let roofs = await measureRoofline(device);
for (let round = 0; round < rounds; round++) {
  for (const item of work) item.best = Math.min(item.best, await secondsFor(item.launches));
}
const after = await measureRoofline(device);
roofs = {
  flopsPerSecond: Math.max(roofs.flopsPerSecond, after.flopsPerSecond),
  bytesPerSecond: Math.max(roofs.bytesPerSecond, after.bytesPerSecond),
};

const peaks = `${(roofs.flopsPerSecond / 1e9).toFixed(0)} GFLOP/s and ${(roofs.bytesPerSecond / 1e9).toFixed(1)} GB/s`;
console.log(`native ${device.variant}, ${device.threads} threads, ${half}, ${l} positions; roofs ${peaks}`);
for (const { name, cost, best } of work) {
  const least = Math.max(cost.flops / roofs.flopsPerSecond, cost.bytes / roofs.bytesPerSecond);
  const figures = [
    `${(best * 1e6).toFixed(1).padStart(9)} us`,
    `${(cost.flops / best / 1e9).toFixed(1).padStart(6)} GFLOP/s`,
    `${(cost.bytes / best / 1e9).toFixed(1).padStart(5)} GB/s`,
    `${((100 * least) / best).toFixed(0).padStart(3)}% of the roofline`,
  ];
  console.log(`${name.padEnd(26)} ${figures.join('  ')}`);
}
device.close();
