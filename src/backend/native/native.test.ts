import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { DType } from '../../core/index.ts';
import { LOAD_SOURCES, NODE_FLAGS } from '../../core/testing/module-process.ts';
import { onlyInAll } from '../../core/testing/only-in-all.ts';
import { command, type TensorArg } from '../command.ts';
import { KERNEL_NAMES } from '../kernels.ts';
import { createNativeBackend, nativeAvailability } from './index.ts';
import { large, plain, prepareMatmul, result } from './matmul-check.ts';

const { available, reason, variants } = nativeAvailability();
const skip = available ? false : `native device: ${reason}`;

const floats = (bytes: Uint8Array): number[] => [...new Float32Array(new Uint8Array(bytes).buffer)];
const bytes = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

describe('native device', { skip }, () => {
  it('has every kernel of the table', () => {
    const device = createNativeBackend({ threads: 1 });
    const missing = KERNEL_NAMES.filter((name) => !device.kernels.includes(name));
    device.close();
    assert.deepEqual(missing, []);
  });

  it('takes uploads, launches and downloads in the order of the calls', async () => {
    const device = createNativeBackend({ threads: 2 });
    const n = 200; // one product takes long enough that later calls find the queue busy
    const x = prepareMatmul(device, { ...plain, m: n, n, k: n });
    const reads: Promise<Uint8Array>[] = [];
    for (let i = 1; i <= 40; i++) {
      device.upload(x.blocks[0], 0, bytes(...new Array(n * n).fill(i)));
      device.upload(x.blocks[1], 0, bytes(...new Array(n * n).fill(0.5)));
      device.launch(x.command);
      reads.push(device.download(x.c.block, 4 * (n * n - 2), 8));
    }
    const values = (await Promise.all(reads)).map(floats);
    for (let i = 1; i <= 40; i++) assert.deepEqual(values[i - 1], [i * n * 0.5, i * n * 0.5]);
    device.close();
  });

  it('lets timers tick while a long queue runs, and blocks when the queue is full only until there is room', async () => {
    const device = createNativeBackend({ threads: 1 });
    const x = prepareMatmul(device, { ...plain, m: 256, n: 256, k: 256 });
    for (let i = 0; i < 300; i++) device.launch(x.command);
    const beganMs = performance.now();
    let [lastMs, longestMs] = [beganMs, 0];
    const tick = () => {
      const nowMs = performance.now();
      longestMs = Math.max(longestMs, nowMs - lastMs);
      lastMs = nowMs;
    };
    const timer = setInterval(tick, 1);
    await device.sync();
    clearInterval(timer);
    tick();
    const share = longestMs / (lastMs - beganMs); // 0.01 to 0.04; 1 if the loop stood still
    assert.ok(share < 0.5, `no tick during ${(100 * share).toFixed(0)} % of the queue's time`);

    const small = prepareMatmul(device, { ...plain, m: 9, n: 9, k: 9 });
    for (let i = 0; i < 10_000; i++) device.launch(small.command); // more than the ring holds
    small.check(await device.download(small.c.block, 0, small.c.before.byteLength));
    device.close();
  });

  it('gives freed memory out again and keeps counts flat', async () => {
    const device = createNativeBackend({ threads: 2 });
    const round = () => result(device, { ...plain, m: 65, n: 33, k: 129 });
    await round();
    const before = device.memory();
    for (let i = 0; i < 50; i++) await round();
    const now = device.memory();
    assert.equal(now.blocks, 0);
    assert.equal(now.bytesInUse, 0);
    assert.equal(now.bytesReserved, before.bytesReserved);
    const block = device.alloc(0);
    assert.equal(block.address % 64, 0);
    assert.equal((await device.download(block, 0, 0)).byteLength, 0);
    device.free(block);
    assert.throws(() => device.free(block), /freed twice/);
    device.close();
  });

  it('refuses sizes, ranges and types that cannot be', async () => {
    const device = createNativeBackend({ threads: 1 });
    const block = device.alloc(64);
    const t = (dtype: DType, offset = 0): TensorArg => ({ block, offset, ld: 2, dtype });
    const launch = (m: number, a = t('f32')) => {
      const dims = { batch: 1, m, n: 2, k: 2, transA: 0, transB: 0, strideA: 0, strideB: 0, strideC: 0 };
      device.launch(command('matmul', { a, b: t('f32'), c: t('f32') }, dims, { alpha: 1, beta: 0 }));
    };
    assert.throws(() => launch(-1), /\[matmul\] m: expected a whole number from 0, got -1/);
    assert.throws(() => launch(Number.NaN), /got NaN/);
    assert.throws(() => launch(1.5), /got 1.5/);
    assert.throws(() => launch(2, t('f32', -1)), /\[matmul\] a: expected offset and ld from 0/);
    assert.throws(() => launch(2, t('i32')), /\[matmul\] a of i32 is not supported on native/);
    assert.throws(() => launch(2, t('f64')), /\[matmul\] a of f64 is not supported on native/);
    assert.throws(() => device.alloc(-1), /got -1/);
    assert.throws(() => device.alloc(Number.NaN), /got NaN/);
    assert.throws(() => device.alloc(2 ** 47), /out of memory: the system refused .* MiB/);
    assert.throws(() => device.upload(block, 1e6, bytes(1)), /\[upload\] range: expected within 64 bytes/);
    await assert.rejects(device.download(block, 0, 1e6), /\[download\] range/);
    launch(2); // nothing of the above has broken it
    await device.sync();
    device.close();
    assert.throws(() => createNativeBackend({ threads: 0 }), /threads=0: expected a whole number from 1/);
    assert.throws(() => createNativeBackend({ threads: 1.5 }), /threads=1.5/);
  });

  it('closes at once, with work in the queue: pending reads end with an error, later calls throw', async () => {
    const device = createNativeBackend({ threads: 2 });
    const x = prepareMatmul(device, { ...plain, m: 300, n: 300, k: 300 });
    for (let i = 0; i < 500; i++) device.launch(x.command);
    const read = device.download(x.c.block, 0, 16);
    device.close();
    await assert.rejects(read, /closed before/);
    assert.throws(() => device.launch(x.command), /closed/);
    assert.throws(() => device.alloc(1), /closed/);
    await assert.rejects(device.sync(), /closed/);
    device.close();
  });

  it('runs two devices side by side', async () => {
    const devices = [createNativeBackend({ threads: 2 }), createNativeBackend({ threads: 2 })];
    const work = devices.flatMap((device) => large.slice(0, 5).map((x) => result(device, x, false)));
    const results = await Promise.all(work);
    for (let i = 0; i < 5; i++) assert.deepEqual(results[i], results[i + 5]);
    for (const device of devices) device.close();
  });

  it('keeps the times of launches that were queued while uploads and reads came between', async () => {
    const device = createNativeBackend({ threads: 2 });
    const x = prepareMatmul(device, { ...plain, m: 96, n: 96, k: 96 });
    for (let i = 0; i < 3; i++) device.launch(x.command); // not timed
    device.profiler.start();
    for (let i = 0; i < 2000; i++) {
      device.upload(x.blocks[0], 0, bytes(i));
      device.launch(x.command);
      if (i % 3 === 0) void device.download(x.c.block, 0, 4);
    }
    const profile = await device.profiler.stop();
    assert.deepEqual([profile.launches, profile.shapes[0].calls], [2000, 2000]);
    device.launch(x.command);
    device.profiler.start();
    device.launch(x.command);
    assert.equal((await device.profiler.stop()).shapes[0].calls, 1);
    device.close();
    assert.throws(() => device.profiler.start(), /closed/);
  });

  it('reads all of a file, whichever threads come late', async () => {
    const device = createNativeBackend({ threads: 8 }); // more than run at once on a small machine
    const folder = await mkdtemp(join(tmpdir(), 'krait-load-'));
    const bytes = new Uint8Array(3 * 2 ** 20 + 5).map((_, i) => (i * 31 + (i >> 12)) & 255);
    await writeFile(join(folder, 'bytes'), bytes);
    const file = await open(join(folder, 'bytes'));
    const block = device.alloc(bytes.length);
    const zeros = new Uint8Array(bytes.length);
    for (let i = 0; i < 25; i++) {
      device.upload(block, 0, zeros);
      await device.loadFile(block, 0, bytes.length - 1, file.fd, 1);
      const found = Buffer.from(await device.download(block, 0, bytes.length - 1));
      assert.equal(found.compare(bytes.subarray(1)), 0, `round ${i}`);
    }
    await assert.rejects(device.loadFile(block, 0, bytes.length, file.fd, 1), /could not be read/);
    await file.close();
    await rm(folder, { recursive: true });
    device.close();
  });

  it('measures its peak', async () => {
    const device = createNativeBackend({ threads: 1 });
    const peak = await device.measurePeak(2);
    assert.ok(Number.isFinite(peak) && peak > 1e8, `${peak}`);
    assert.equal(device.memory().blocks, 0);
    device.close();
  });
});

const INDEX = JSON.stringify(new URL('./index.ts', import.meta.url).href);
const MATMUL_CHECK = JSON.stringify(new URL('./matmul-check.ts', import.meta.url).href);

/** Runs a module in a fresh process with the device and `large` at hand; returns what it printed. */
function inProcess(body: string, env: Record<string, string> = {}): string {
  const code = `
    import { createNativeBackend, nativeAvailability } from ${INDEX};
    import { prepareMatmul } from ${MATMUL_CHECK};
    const large = ${JSON.stringify(large)};
    ${body}`;
  return execFileSync(process.execPath, [...NODE_FLAGS, '--input-type=module', '-e', code], {
    env: { ...process.env, KRAIT_ISA: '', KRAIT_THREADS: '', ...env },
    cwd: fileURLToPath(new URL('../../..', import.meta.url)),
    encoding: 'utf8',
    timeout: 60_000,
  }).trim();
}

describe('native device in a process of its own', { skip }, () => {
  const checkAll = `
    const device = createNativeBackend();
    for (const x of large) {
      const p = prepareMatmul(device, x);
      device.launch(p.command);
      p.check(await device.download(p.c.block, 0, p.c.before.byteLength));
    }
    console.log(device.variant, device.threads);
    device.close();`;

  for (const variant of ['x86_64', 'avx2', 'avx512', 'avx512bf16', 'neon']) {
    const missing = !variants.includes(variant) && `this machine does not run ${variant}`;
    const isRare = onlyInAll('the products of the usual instruction set are in matmul.test.ts').skip;
    it(`gives the products with KRAIT_ISA=${variant}`, { skip: missing || isRare }, () => {
      assert.equal(inProcess(checkAll, { KRAIT_ISA: variant, KRAIT_THREADS: '3' }), `${variant} 3`);
    });
  }

  it('says which variants there are when KRAIT_ISA cannot run', () => {
    const body = 'console.log(nativeAvailability().reason); createNativeBackend;';
    assert.equal(inProcess(body, { KRAIT_ISA: 'mmx' }), `KRAIT_ISA=mmx: this machine can run ${variants.join(', ')}`);
  });

  const busy = `
    const device = createNativeBackend({ threads: 2 });
    const p = prepareMatmul(device, { ...large[0], m: 500 });
    for (let i = 0; i < 2000; i++) device.launch(p.command);
    console.log('queued');`;

  it('ends by itself when nothing waits for the queue, and on process.exit in the middle of it', () => {
    assert.equal(inProcess(busy), 'queued');
    assert.equal(inProcess(`${busy} process.exit(0);`), 'queued');
    assert.equal(inProcess(`${busy} device.download(p.c.block, 0, 4); process.exit(0);`), 'queued');
  });

  it('stays alive while a promise is pending', () => {
    const body = `${busy.replace('2000', '50')} device.sync().then(() => console.log('synced'));`;
    assert.equal(inProcess(body), 'queued\nsynced');
  });

  it('lets a worker be terminated while its queue runs', () => {
    const body = `
      import { Worker } from 'node:worker_threads';
      const code = \`
        import { parentPort } from 'node:worker_threads';
        ${LOAD_SOURCES}
        const { createNativeBackend } = await import(${INDEX});
        const { prepareMatmul } = await import(${MATMUL_CHECK});
        const device = createNativeBackend({ threads: 2 });
        const p = prepareMatmul(device, \${JSON.stringify({ ...large[0], m: 500 })});
        for (let i = 0; i < 2000; i++) device.launch(p.command);
        device.download(p.c.block, 0, 4);
        parentPort.postMessage(device.threads);\`;
      for (let i = 0; i < 3; i++) {
        const worker = new Worker(code, { eval: true });
        const threads = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
        await worker.terminate();
        console.log(threads);
      }`;
    assert.equal(inProcess(body), '2\n2\n2');
  });
});
