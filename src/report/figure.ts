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
  /** Short title; screen readers read it in place of the drawing. */
  readonly title: string;
  /** Caption: what is drawn and what it shows, in one or two sentences. */
  readonly description: string;
  readonly legend: readonly LegendEntry[];
  readonly draw: (size: Size) => PlotOptions;
  /** Data of the plot. */
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
