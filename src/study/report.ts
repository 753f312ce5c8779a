/**
 * A study's result as one HTML file that opens from disk: facts, tables, curves, confusion matrices. No scripts, no
 * network; follows the reader's light or dark setting. Plots are SVG, drawn here by Observable Plot.
 */
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';

export interface Curve {
  readonly label: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

export interface ConfusionMatrix {
  readonly title: string;
  readonly labels: readonly string[];
  /** counts[actual][predicted] */
  readonly counts: readonly (readonly number[])[];
}

export type Cell = string | number;

export type Section =
  | { readonly kind: 'text'; readonly title?: string; readonly paragraphs: readonly string[] }
  | {
      readonly kind: 'table';
      readonly title: string;
      readonly head: readonly string[];
      readonly rows: readonly (readonly Cell[])[];
      readonly note?: string;
    }
  | {
      readonly kind: 'curves';
      readonly title: string;
      readonly x: string;
      readonly y: string;
      readonly curves: readonly Curve[];
      readonly note?: string;
    }
  | { readonly kind: 'confusion'; readonly title: string; readonly matrices: readonly ConfusionMatrix[] }
  | {
      readonly kind: 'examples';
      readonly title: string;
      readonly items: readonly { readonly head: string; readonly body: string }[];
    };

export interface Report {
  readonly title: string;
  readonly lead: string;
  readonly sections: readonly Section[];
}

const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const escapeHtml = (text: Cell): string => String(text).replace(/[&<>"]/g, (c) => ESCAPES[c]);

const STYLE = `
:root { color-scheme: light dark; --ink: #1c1f24; --soft: #667; --line: #d8dbe0; --paper: #fff; --tint: 37 99 180; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #9aa3ad; --line: #363c44; --paper: #15181c; --tint: 96 160 240; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } h3 { font-size: 1rem; margin: 0 0 .4rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; } td.n, th.n { text-align: right; }
.note, .lead { color: var(--soft); } .matrices { display: flex; flex-wrap: wrap; gap: 2rem; } .matrix td { text-align: right; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid var(--line); border-radius: .4rem; padding: .8rem; font-size: .85rem; }
svg { max-width: 100%; height: auto; color: var(--ink); background: none !important; } figure { margin: 0; } .legend { display: flex; gap: 1.2rem; flex-wrap: wrap; }
.swatch { display: inline-block; width: .8rem; height: .8rem; border-radius: .15rem; margin-right: .35rem; }`;

const COLORS = ['#4c83c3', '#d98032', '#3f9d63', '#b05a9f', '#8a7d3a', '#c2504f'];

function curvesHtml({ x, y, curves }: Extract<Section, { kind: 'curves' }>): string {
  const { document } = parseHTML('<html><body></body></html>');
  const marks = curves.map(({ points }, i) =>
    Plot.line([...points], { x: 'x', y: 'y', stroke: COLORS[i % COLORS.length], strokeWidth: 1.8 }),
  );
  const plot = Plot.plot({
    document: document as unknown as Document,
    width: 860,
    height: 320,
    marginLeft: 50,
    style: { fontSize: '13px' },
    x: { label: x, grid: false },
    y: { label: y, grid: true },
    marks,
  });
  const legend = curves.map(
    ({ label }, i) =>
      `<span><span class="swatch" style="background:${COLORS[i % COLORS.length]}"></span>${escapeHtml(label)}</span>`,
  );
  return `<figure>${plot.outerHTML}<figcaption class="legend">${legend.join('')}</figcaption></figure>`;
}

const isNumeric = (cell: Cell): boolean => typeof cell === 'number' || /^[-–\d.,]+\s*(%|s|MiB|GiB)?$/.test(cell);

function tableHtml(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const numeric = head.map((_, c) => rows.length > 0 && rows.every((r) => isNumeric(r[c])));
  const cell = (tag: string) => (value: Cell, c: number) =>
    `<${tag}${numeric[c] ? ' class="n"' : ''}>${escapeHtml(value)}</${tag}>`;
  const body = rows.map((r) => `<tr>${r.map(cell('td')).join('')}</tr>`).join('\n');
  return `<div class="scroll"><table><thead><tr>${head.map(cell('th')).join('')}</tr></thead><tbody>\n${body}\n</tbody></table></div>`;
}

function matrixHtml({ title, labels, counts }: ConfusionMatrix): string {
  const rows = counts.map((row, i) => {
    const total = Math.max(
      1,
      row.reduce((n, c) => n + c, 0),
    );
    const cells = row.map((c) => `<td style="background: rgb(var(--tint) / ${(0.6 * c) / total})">${c}</td>`);
    return `<tr><th>${escapeHtml(labels[i])}</th>${cells.join('')}</tr>`;
  });
  const head = `<tr><th>actual \\ predicted</th>${labels.map((l) => `<th class="n">${escapeHtml(l)}</th>`).join('')}</tr>`;
  return `<div><h3>${escapeHtml(title)}</h3><table class="matrix">${head}${rows.join('')}</table></div>`;
}

function sectionHtml(section: Section): string {
  const title = section.title ? `<h2>${escapeHtml(section.title)}</h2>\n` : '';
  const note = 'note' in section && section.note ? `<p class="note">${escapeHtml(section.note)}</p>` : '';
  switch (section.kind) {
    case 'text':
      return title + section.paragraphs.map((p) => `<p>${escapeHtml(p)}</p>`).join('\n');
    case 'table':
      return title + tableHtml(section.head, section.rows) + note;
    case 'curves':
      return title + curvesHtml(section) + note;
    case 'confusion':
      return `${title}<div class="matrices">${section.matrices.map(matrixHtml).join('\n')}</div>`;
    case 'examples':
      return (
        title +
        section.items.map(({ head, body }) => `<h3>${escapeHtml(head)}</h3><pre>${escapeHtml(body)}</pre>`).join('\n')
      );
  }
}

/** The whole page. */
export function renderReport({ title, lead, sections }: Report): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title><style>${STYLE}</style></head>
<body>
<h1>${escapeHtml(title)}</h1>
<p class="lead">${escapeHtml(lead)}</p>
${sections.map(sectionHtml).join('\n')}
</body></html>
`;
}
