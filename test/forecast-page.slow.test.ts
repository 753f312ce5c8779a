/** `krait forecast --report`: the page in a browser, of a few and of many variables; and Ctrl-C while it is trained. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'playwright-core';
import { launchChromium, lookAt, withoutChromium } from './chromium.ts';
import { krait, workFolder } from './cli-cases.ts';
import { runKrait } from './krait-process.ts';

const work = workFolder('forecast-page');
const at = (name: string) => join(work, name);

/** Hours of waves, one for each name; the last never moves, the first has a gap at its end. */
function waves(names: readonly string[]): string {
  const rows = Array.from({ length: 320 }, (_, t) => {
    const date = new Date(Date.UTC(2024, 0, 1, t)).toISOString().slice(0, 19);
    const values = names.map((_, k) => {
      if (k === names.length - 1) return '7';
      if (k === 0 && t >= 315) return '';
      return (1e5 * (k + 1) + 2e4 * Math.sin((t + 3 * k) / 4) + ((t * 7919) % 1300)).toFixed(1);
    });
    return [date, ...values].join(',');
  });
  return `date,${names.join(',')}\n${rows.join('\n')}\n`;
}

const SMALL = ['--horizon', '4', '--lookback', '16', '--layers', '1', '--width', '4', '--patch', '4', '--epochs', '1'];
const flagsOf = (name: string) => [
  at(`${name}.csv`),
  ...SMALL,
  ...['--batch', '16', '--device', 'reference', '--no-shortcut', '--solver', 'nearest'],
  ...['--report', at(`${name}.html`), '--plot', at(`${name}.svg`), '--quantiles', '0.05,0.5,0.95'],
];

const FEW = ['load <b>&amp;</b>', 'a column whose name is far too long for any node', 'flat'];
const MANY = Array.from({ length: 24 }, (_, k) => `sensor ${k}`);

before(async () => {
  for (const [name, names] of [
    ['few', FEW],
    ['many', MANY],
  ] as const) {
    writeFileSync(at(`${name}.csv`), waves(names));
    const { code, stderr } = await krait('forecast', ...flagsOf(name));
    assert.equal(code, 0, stderr);
  }
});

interface Seen {
  readonly overflow: number;
  readonly headings: readonly string[];
  /** Plots that are shown, and labels of the nodes in the order's graph. */
  readonly plots: number;
  readonly nodes: readonly string[];
  readonly outside: number;
  /** Height of the smallest label of a plot, in pixels. */
  readonly smallest: number;
  readonly broken: number;
}

/** Runs in the page. */
const LOOK = `(() => {
  const { scrollWidth, clientWidth } = document.documentElement;
  const shown = [...document.querySelectorAll('svg[role=img]')].filter((svg) => getComputedStyle(svg).display !== 'none');
  const isOrder = (svg) => svg.closest('[aria-label="Order of variables"]') !== null;
  const plots = shown.filter((svg) => !isOrder(svg));
  const heights = plots.flatMap((svg) => [...svg.querySelectorAll('text')].map((t) => t.getBoundingClientRect().height));
  return {
    overflow: scrollWidth - clientWidth,
    headings: [...document.querySelectorAll('h2')].map((h) => h.textContent),
    plots: plots.length,
    nodes: shown.filter(isOrder).flatMap((svg) => [...svg.querySelectorAll('text')].map((t) => t.textContent)),
    outside: plots.filter((svg) => svg.getBoundingClientRect().right > clientWidth).length,
    smallest: Math.min(...heights),
    broken: (document.documentElement.outerHTML.match(/NaN|undefined|Infinity/g) ?? []).length,
  };
})()`;

describe("a forecast's page in Chromium", { skip: withoutChromium }, () => {
  let browser: Browser;
  before(async () => {
    browser = await launchChromium();
  });
  after(async () => {
    await browser?.close();
  });

  for (const [name, names] of [
    ['few', FEW],
    ['many', MANY],
  ] as const) {
    for (const width of [390, 1280]) {
      it(`fits ${width} pixels, shows what it has and says nothing on the console: ${name} variables`, async () => {
        for (const colorScheme of ['light', 'dark'] as const) {
          const { seen, said } = await lookAt<Seen>(browser, at(`${name}.html`), { width, colorScheme }, LOOK);
          assert.deepEqual(said, []);
          assert.equal(seen.overflow, 0, 'the page is wider than the window');
          assert.deepEqual([seen.plots, seen.outside, seen.broken], [names.length, 0, 0]);
          assert.ok(seen.smallest >= 9, `a label is ${seen.smallest} pixels high`);
          assert.deepEqual(seen.headings.slice(0, 2), ['What comes', 'How far to trust it']);
          const labels = names.map((n) => (n.length > 11 ? `${n.slice(0, 10)}…` : n));
          assert.deepEqual([...seen.nodes].sort(), labels.sort(), 'the order of the variables');
        }
      });
    }
  }

  it('has a picture that opens by itself', async () => {
    const { said, seen } = await lookAt<string>(
      browser,
      at('few.svg'),
      { width: 800, colorScheme: 'light' },
      'document.documentElement.nodeName',
    );
    assert.deepEqual([said, seen], [[], 'svg']);
  });
});

describe('Ctrl-C while a forecaster is trained', () => {
  it('ends with 130, one line and no file', async () => {
    const flags = [
      ...flagsOf('few'),
      '--device',
      'wasm',
      '--epochs',
      '500',
      '--patience',
      '500',
      '--out',
      at('cut.csv'),
      '--json',
    ];
    const pictures = [readFileSync(at('few.svg'), 'utf8'), readFileSync(at('few.html'), 'utf8')];
    const { end, stderr } = await runKrait('step', ['forecast', ...flags]);
    assert.equal(end, 130, stderr);
    assert.match(stderr, /stopping after this step/);
    assert.doesNotMatch(stderr, /defect|Error|back-test/);
    assert.ok(!existsSync(at('cut.csv')));
    assert.deepEqual([readFileSync(at('few.svg'), 'utf8'), readFileSync(at('few.html'), 'utf8')], pictures);
  });
});
