/** Forecasting in a real browser: trained, back-tested and forecast on a page, with the figures of Node. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { Browser } from 'playwright-core';
import { wasmAvailability } from '../src/backend/wasm/index.ts';
import { type ForecastReport, forecastOf } from './browser-forecast-page.ts';
import { callReport, launchChromium, openProgram, serveProgram, withoutChromium } from './chromium.ts';

const { available, reason } = await wasmAvailability();
const skip = withoutChromium || (!available && reason);

/** Hours of two waves, the second a little behind the first. */
const csv = `date,load,temp\n${Array.from({ length: 320 }, (_, t) => {
  const noise = ((t * 7919) % 13) / 13 - 0.5;
  const date = new Date(Date.UTC(2024, 0, 1, t)).toISOString().slice(0, 19);
  return `${date},${(100 + 20 * Math.sin(t / 4) + noise).toFixed(3)},${(5 * Math.cos(t / 4) - noise).toFixed(3)}`;
}).join('\n')}\n`;

describe('what a page imports', () => {
  for (const entry of ['tensor', 'backend/wasm', 'forecast']) {
    it(`src/${entry} needs nothing of Node`, async () => {
      const entryPoints = [fileURLToPath(new URL(`../src/${entry}/index.ts`, import.meta.url))];
      const common = { bundle: true, format: 'esm', platform: 'browser', write: false, metafile: true } as const;
      const { metafile } = await build({ entryPoints, ...common, logLevel: 'silent' });
      const inputs = Object.keys(metafile.inputs);
      assert.deepEqual(
        inputs.filter((path) => /platform\/node|backend\/native/.test(path)),
        [],
      );
    });
  }
});

describe('forecasting in Chromium', { skip }, () => {
  let browser: Browser;
  before(async () => {
    browser = await launchChromium();
  });
  after(async () => {
    await browser?.close();
  });

  it('goes from a CSV text to a forecast as Node does, threads or not', async () => {
    const expected = await forecastOf(csv, { threads: 1, relaxed: false });
    assert.equal(expected.values.length, 4);
    for (const isolated of [true, false]) {
      const server = await serveProgram('test/browser-forecast-page.ts', { isolated });
      const page = await openProgram(browser, server);
      const given = { csv, options: { threads: isolated ? 2 : 1, relaxed: false } };
      assert.deepEqual(await callReport<ForecastReport>(page, given), expected, isolated ? 'two threads' : 'the page');
      await page.close();
      server.close();
    }
  });
});
