/** The program of browser.slow.test.ts's page: the WASM device in a browser, told to the test as plain numbers. */
import { command } from '../src/backend/command.ts';
import { createWasmBackend, type WasmOptions, wasmAvailability } from '../src/backend/wasm/index.ts';

export interface PageReport {
  isIsolated: boolean;
  availability: { available: boolean; reason: string };
  variant: string;
  threads: number;
  isThreaded: boolean;
  /** Bytes of what `work` leaves. */
  outputs: number[][];
  /** Of a counter that was raised more often than the ring has room. */
  count: number;
  /** How often a timer fired while a long queue ran. */
  ticks: number;
  /** What became of reads that were pending when the device was closed. */
  pendingAtClose: string;
}

/** Uniform in [-1, 1). */
function randomFloats(count: number, seed: number): Float32Array {
  let state = seed >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state * 2 ** -31 - 1;
  });
}

/** A product and a scan on a device; the bytes of their results. */
export async function work(device: Awaited<ReturnType<typeof createWasmBackend>>): Promise<Uint8Array[]> {
  const upload = (rows: number, cols: number, seed: number, change = (x: number) => x) => {
    const block = device.alloc(rows * cols * 4);
    device.upload(block, 0, new Uint8Array(randomFloats(rows * cols, seed).map(change).buffer));
    return { block, offset: 0, ld: cols, dtype: 'f32' as const };
  };
  const [m, n, k] = [130, 290, 400];
  const product = { a: upload(m, k, 1), b: upload(n, k, 2), c: upload(m, n, 3) };
  const strides = { transA: 0, transB: 1, strideA: 0, strideB: 0, strideC: 0 };
  device.launch(command('matmul', product, { batch: 1, m, n, k, ...strides }, { alpha: 1, beta: 0 }));

  const [b, l, d, state] = [2, 50, 40, 16];
  const inputs = { u: upload(b * l, d, 4), dt: upload(b * l, d, 5), a: upload(state, d, 6, (x) => -Math.abs(x)) };
  const mixing = {
    b: upload(b * l, state, 7),
    c: upload(b * l, state, 8),
    d: upload(1, d, 9),
    z: upload(b * l, d, 10),
  };
  const results = { y: upload(b * l, d, 11), stateOut: upload(b * state, d, 12) };
  const dims = { b, l, d, n: state, chunk: 16, softplus: 1 };
  device.launch(command('selective_scan', { ...inputs, ...mixing, ...results }, dims));
  return Promise.all([
    device.download(product.c.block, 0, m * n * 4),
    device.download(results.y.block, 0, b * l * d * 4),
    device.download(results.stateOut.block, 0, b * state * d * 4),
  ]);
}

/** A queue longer than the ring, then one that takes long: neither may block the page. */
async function strain(device: Awaited<ReturnType<typeof createWasmBackend>>) {
  const block = device.alloc(1024 * 1024 * 4);
  device.upload(block, 0, new Uint8Array(1024 * 1024 * 4));
  const small = { block, offset: 0, ld: 1, dtype: 'f32' as const };
  const raise = command('unary', { x: small, y: small }, { rows: 1, cols: 1, op: 15 }, { param: 1 });
  for (let i = 0; i < 10_000; i++) device.launch(raise);
  const [count] = new Float32Array((await device.download(block, 0, 4)).buffer);

  const large = { ...small, ld: 1024 };
  const dims = { batch: 1, m: 1024, n: 512, k: 512, transA: 0, transB: 0, strideA: 0, strideB: 0, strideC: 0 };
  const product = command('matmul', { a: large, b: large, c: large }, dims, { alpha: 1, beta: 0 });
  const launchSome = () => {
    for (let i = 0; i < 10; i++) device.launch(product);
  };
  launchSome();
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  await device.sync();
  clearInterval(timer);
  return { count, ticks, launchSome };
}

async function report(options: WasmOptions): Promise<PageReport> {
  const { available, reason } = await wasmAvailability();
  const device = await createWasmBackend(options);
  const outputs = (await work(device)).map((bytes) => [...bytes]);
  const { count, ticks, launchSome } = await strain(device);
  launchSome();
  const pending = device.sync().then(
    () => 'done',
    (error: Error) => error.message,
  );
  device.close();
  return {
    isIsolated: globalThis.crossOriginIsolated,
    availability: { available, reason },
    variant: device.variant,
    threads: device.threads,
    isThreaded: device.isThreaded,
    outputs,
    count,
    ticks,
    pendingAtClose: await pending,
  };
}

(globalThis as unknown as { report: typeof report }).report = report;
