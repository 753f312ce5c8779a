/**
 * What every plot is set in: drawn twice, for a desk and for a phone, of which the page shows one; a legend; a sentence
 * that says what there is to see; and the figures themselves in a table, for those who cannot or do not want to see it.
 */
import type { PlotOptions } from '@observablehq/plot';
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import { Html, html } from './html.ts';
import { seriesColor } from './page.ts';
import { type DataTable, dataTable } from './table.ts';

/** The two sizes of a drawing, in CSS pixels. */
const SIZES = [
  { name: 'wide', width: 860, fontSize: 13 },
  { name: 'narrow', width: 350, fontSize: 12 },
] as const;

export type Size = (typeof SIZES)[number];

export interface Figure {
  /** What it is, in a few words: read aloud in place of the drawing. */
  readonly title: string;
  /** What is drawn and what it shows, in a sentence or two. */
  readonly description: string;
  readonly legend: readonly LegendEntry[];
  readonly draw: (size: Size) => PlotOptions;
  /** What the plot is drawn from. */
  readonly data: DataTable;
}

export interface LegendEntry {
  readonly label: string;
  /** Number of the series whose colour it has. */
  readonly series: number;
}

function drawing(size: Size, title: string, draw: Figure['draw']): Html {
  const { document } = parseHTML('<html><body></body></html>');
  const svg = Plot.plot({
    document: document as unknown as Document,
    width: size.width,
    style: { fontSize: `${size.fontSize}px` },
    className: `plot-${size.name}`,
    ...draw(size),
  });
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', title);
  svg.classList.add(size.name);
  return new Html(svg.outerHTML);
}

/** A plot with all that belongs to it. */
export function figure({ title, description, legend, draw, data }: Figure): Html {
  const entries = legend.map(
    ({ label, series }) =>
      html`<li><span class="swatch" style="background: ${seriesColor(series)}"></span>${label}</li>`,
  );
  const list = legend.length > 1 ? html`<ul class="legend">${entries}</ul>` : null;
  return html`<figure>${list}${SIZES.map((size) => drawing(size, title, draw))}<figcaption>${description}</figcaption></figure>
<details><summary>The figures of this plot</summary>${dataTable(data)}</details>`;
}

const SUPERSCRIPTS: Record<string, string> = { '-': '⁻', ...Object.fromEntries([...'⁰¹²³⁴⁵⁶⁷⁸⁹'].entries()) };

/** Powers of ten as they are written, `10⁻³`; what is near 1 as it is. */
export function logTick(value: number): string {
  const power = Math.log10(value);
  if (value > 0.0009 && value <= 1000) return String(Number(value.toPrecision(2)));
  const mantissa = value / 10 ** Math.floor(power + 1e-9);
  const head = mantissa > 1.01 ? `${Number(mantissa.toPrecision(2))}·` : '';
  return `${head}10${[...String(Math.floor(power + 1e-9))].map((c) => SUPERSCRIPTS[c]).join('')}`;
}

/** Ticks of a logarithmic axis: powers of ten where it spans many, 2 and 5 between them where it spans few. */
export function logTicks(values: readonly number[], most = 9): number[] {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const first = Math.floor(Math.log10(low));
  const decades = Math.log10(high) - Math.log10(low);
  const steps = decades < 2.5 ? [1, 2, 5] : [1];
  const every = Math.max(1, Math.ceil(decades / most));
  const ticks: number[] = [];
  for (let power = first; power <= Math.log10(high); power += every) {
    for (const step of steps) ticks.push(step * 10 ** power);
  }
  return ticks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
}

/** A number in few digits, for tables: at most `digits` that count. */
export function formatNumber(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined || !Number.isFinite(value)) {
    return value === Number.POSITIVE_INFINITY ? '∞' : value === Number.NEGATIVE_INFINITY ? '−∞' : '–';
  }
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(digits - 1);
  return String(Number(value.toPrecision(digits)));
}
