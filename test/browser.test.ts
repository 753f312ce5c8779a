/** The WASM device in a real browser, on a page of loopback that is cross-origin isolated, and on one that is not. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { type Browser, chromium, type Page } from 'playwright-core';
import { createWasmBackend, type WasmOptions, wasmAvailability } from '../src/backend/wasm/index.ts';
import { type PageReport, work } from './browser-page.ts';

const executablePath = process.env.KRAIT_CHROMIUM || '/usr/bin/chromium';
const { available, reason } = await wasmAvailability();
const skip = existsSync(executablePath)
  ? !available && reason
  : `no Chromium at ${executablePath}; name one in KRAIT_CHROMIUM`;

const fileOf = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));

/** Serves the page as /index.html, its program as if it were the package's, and the binaries. */
async function serve(isolated: boolean): Promise<Server> {
  const { outputFiles } = await build({
    entryPoints: [fileOf('test/browser-page.ts')],
    bundle: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    write: false,
  });
  const page = '<!doctype html><script type="module" src="/dist/backend/wasm/page.js"></script>';
  const server = createServer((request, response) => {
    const path = request.url ?? '/';
    if (isolated) {
      response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
      response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
    }
    const answer = (type: string, body: string | Uint8Array) => response.setHeader('Content-Type', type).end(body);
    const [, binary] = /^\/(?:dist\/wasm|assets)\/(krait[a-z-]*\.wasm)$/.exec(path) ?? [];
    if (path === '/index.html') answer('text/html', page);
    else if (path === '/dist/backend/wasm/page.js') answer('text/javascript', outputFiles[0].contents);
    else if (binary) answer('application/wasm', readFileSync(fileOf(`build/wasm/${binary}`)));
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

const floatsOf = (bytes: ArrayLike<number>): Float32Array => new Float32Array(Uint8Array.from(bytes).buffer);

describe('wasm device in Chromium', { skip }, () => {
  let browser: Browser;
  let expected: Uint8Array[];
  const servers: Server[] = [];

  before(async () => {
    const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-quic'];
    const args = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', ...quiet];
    browser = await chromium.launch({ executablePath, args });
    const device = await createWasmBackend({ threads: 1, relaxed: false });
    expected = await work(device);
    device.close();
  });
  after(async () => {
    await browser?.close();
    for (const server of servers) server.close();
  });

  async function open(isolated: boolean): Promise<Page> {
    const server = await serve(isolated);
    servers.push(server);
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/index.html`);
    await page.waitForFunction('typeof report === "function"');
    return page;
  }

  const reportOf = (page: Page, options: WasmOptions): Promise<PageReport> =>
    page.evaluate(
      (given) => (globalThis as unknown as { report(o: object): Promise<PageReport> }).report(given),
      options,
    );

  function checkCommon(report: PageReport): void {
    assert.equal(report.availability.available, true, report.availability.reason);
    assert.equal(report.count, 10_000);
    assert.ok(report.ticks >= 5, `${report.ticks} ticks`);
    assert.match(report.pendingAtClose, /closed before/);
  }

  it('runs on threads where the page is cross-origin isolated, with the bits of Node', async () => {
    const page = await open(true);
    const report = await reportOf(page, { threads: 2, relaxed: false });
    checkCommon(report);
    assert.ok(report.isIsolated && report.isThreaded);
    assert.equal(report.threads, 2);
    assert.equal(report.variant, 'simd128');
    for (const [i, bytes] of report.outputs.entries()) assert.deepEqual(Uint8Array.from(bytes), expected[i]);
  });

  it('runs on the page itself where it is not isolated, with the bits of Node', async () => {
    const report = await reportOf(await open(false), { threads: 2, relaxed: false });
    checkCommon(report);
    assert.ok(!report.isIsolated && !report.isThreaded);
    assert.equal(report.threads, 1);
    for (const [i, bytes] of report.outputs.entries()) assert.deepEqual(Uint8Array.from(bytes), expected[i]);
  });

  it('fuses products where the engine has relaxed SIMD; scans keep their bits', async () => {
    for (const isolated of [true, false]) {
      const report = await reportOf(await open(isolated), {});
      checkCommon(report);
      assert.equal(report.variant, 'simd128-relaxed');
      const [product, ...scan] = report.outputs;
      for (const [i, bytes] of scan.entries()) assert.deepEqual(Uint8Array.from(bytes), expected[i + 1]);
      const [got, plain] = [floatsOf(product), floatsOf(expected[0])];
      for (let i = 0; i < plain.length; i++) assert.ok(Math.abs(got[i] - plain[i]) < 1e-4, `c[${i}]`);
    }
  });
});
