/** Tables: figures in columns, wide ones scroll by themselves; and confusion matrices. */
import { type Html, html } from './html.ts';

/** A figure as it is to be read. `alert` marks what is wrong. */
export interface AlertCell {
  readonly text: string;
  readonly alert: boolean;
}

export type Cell = string | number | AlertCell;

const textOf = (cell: Cell): string => (typeof cell === 'object' ? cell.text : String(cell));

/** A number with its unit, an interval, or none where there is nothing to tell: such columns are aligned right. */
const NUMERIC = /^(?:[-–—]|[-−+]?[\d.,]+(?:e[-−+]?\d+)?(?: ?[±–] ?[-−\d.,e]+)?\s*(?:%|s|x|MiB|GiB|tokens)?)$/;

/** Characters from which on a row's name wants room, and words in a column are broken into lines. */
const LONG_TEXT = 24;

export interface DataTable {
  readonly head: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
  /** Caption of the table; screen readers read it with the table. */
  readonly caption?: string;
  /** On a phone a row's cells stand below its name, each after the head of its column: for tables of sentences. */
  readonly isStacked?: boolean;
}

/** The first column names its row. */
export function dataTable({ head, rows, caption, isStacked = false }: DataTable): Html {
  const isNumeric = head.map((_, c) => c > 0 && rows.length > 0 && rows.every((row) => NUMERIC.test(textOf(row[c]))));
  const isProse = head.map((_, c) => c > 0 && !isNumeric[c] && rows.some((row) => textOf(row[c]).length > LONG_TEXT));
  const classOf = (c: number, isAlert: boolean) =>
    [isNumeric[c] && 'n', isProse[c] && 'prose', isAlert && 'alert'].filter(Boolean).join(' ');
  const cell = (value: Cell, c: number) => {
    const name = classOf(c, typeof value === 'object' && value.alert);
    if (c === 0) return html`<th scope="row" class="${name}">${textOf(value)}</th>`;
    if (isStacked) return html`<td class="${name}" data-head="${head[c]}">${textOf(value)}</td>`;
    return html`<td class="${name}">${textOf(value)}</td>`;
  };
  const heads = head.map((name, c) => html`<th scope="col" class="${classOf(c, false)}">${name}</th>`);
  const isNamed = rows.some(([name]) => textOf(name).length > LONG_TEXT);
  const kind = `${isNamed ? 'named' : 'plain'}${isStacked ? ' stacked' : ''}`;
  const body = rows.map((row) => html`<tr>${row.map(cell)}</tr>\n`);
  const title = caption ? html`<p class="note">${caption}</p>` : null;
  return html`${title}<div class="scroll" tabindex="0" role="region" aria-label="${caption ?? head.join(', ')}"><table class="${kind}"><thead><tr>${heads}</tr></thead><tbody>
${body}</tbody></table></div>`;
}

export interface ConfusionMatrix {
  readonly title: string;
  readonly labels: readonly string[];
  /** counts[actual][predicted] */
  readonly counts: readonly (readonly number[])[];
}

function matrix({ title, labels, counts }: ConfusionMatrix): Html {
  const rows = counts.map((row, i) => {
    const total = Math.max(
      1,
      row.reduce((n, c) => n + c, 0),
    );
    const tint = (count: number) => `background: rgb(var(--tint) / ${(0.6 * count) / total})`;
    return html`<tr><th scope="row">${labels[i]}</th>${row.map((count) => html`<td style="${tint(count)}">${count}</td>`)}</tr>`;
  });
  const heads = labels.map((label) => html`<th scope="col" class="n">${label}</th>`);
  return html`<div><h3>${title}</h3><table class="matrix"><tr><th>actual \\ predicted</th>${heads}</tr>${rows}</table></div>`;
}

export const confusionMatrices = (all: readonly ConfusionMatrix[]): Html =>
  html`<div class="matrices">${all.map(matrix)}</div>`;
