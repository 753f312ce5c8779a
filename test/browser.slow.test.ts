/** The WASM device in a real browser, on a page of loopback that is cross-origin isolated, and on one that is not. */
import assert from 'node:assert/strict';
import type { Server } from 'node:http';
import { after, before, describe, it } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import { createWasmBackend, type WasmOptions, wasmAvailability } from '../src/backend/wasm/index.ts';
import { type PageReport, work } from './browser-page.ts';
import { callReport, launchChromium, openProgram, serveProgram, withoutChromium } from './chromium.ts';

const { available, reason } = await wasmAvailability();
const skip = withoutChromium || (!available && reason);

const floatsOf = (bytes: ArrayLike<number>): Float32Array => new Float32Array(Uint8Array.from(bytes).buffer);

describe('wasm device in Chromium', { skip }, () => {
  let browser: Browser;
  let expected: Uint8Array[];
  const servers: Server[] = [];

  before(async () => {
    browser = await launchChromium();
    const device = await createWasmBackend({ threads: 1, relaxed: false });
    expected = await work(device);
    device.close();
  });
  after(async () => {
    await browser?.close();
    for (const server of servers) server.close();
  });

  async function open(isolated: boolean): Promise<Page> {
    const server = await serveProgram('test/browser-page.ts', { isolated });
    servers.push(server);
    return openProgram(browser, server);
  }

  const reportOf = (page: Page, options: WasmOptions) => callReport<PageReport>(page, options);

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
