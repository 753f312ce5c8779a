/**
 * A study's result as one HTML file that opens from disk: no scripts, no network; it follows the reader's light or dark
 * setting, and is read on a phone as on a desk.
 */
import { type Content, Html, html } from './html.ts';

/**

 * Colours of series, in order. Each has a darker and a lighter form; readers with any colour vision can distinguish

 * them.

 */
const SERIES = [
  ['#1f6fb4', '#6db3f2'],
  ['#c8601a', '#f2a05f'],
  ['#1e8050', '#5fc795'],
  ['#9b3f8f', '#dd8fd2'],
  ['#7a6a14', '#cfbd54'],
  ['#b3363a', '#f28482'],
  ['#4b5563', '#a9b4c2'],
  ['#0f7c83', '#59c7cf'],
] as const;

/** The colour of series `i`: a CSS value that follows the reader's setting. */
export const seriesColor = (i: number): string => `var(--s${i % SERIES.length})`;

const palette = (which: 0 | 1): string => SERIES.map((pair, i) => `--s${i}: ${pair[which]};`).join(' ');

const STYLE = `
:root { color-scheme: light dark; --ink: #1c1f24; --soft: #59616c; --line: #d8dbe0; --paper: #fff; --card: #f6f7f9; --alert: #b3261e; --tint: 37 99 180; ${palette(0)} }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #a3acb7; --line: #363c44; --paper: #15181c; --card: #1d2126; --alert: #ff8a80; --tint: 96 160 240; ${palette(1)} } }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .6rem; } h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; } h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { margin: .5rem 0; max-width: 46rem; } .lead, .note, figcaption { color: var(--soft); } .note, figcaption { font-size: .9rem; }
.scroll { overflow-x: auto; margin: .6rem 0; background: linear-gradient(to right, transparent, var(--paper) 70%) right / 3rem 100% no-repeat local, linear-gradient(to right, transparent, var(--line)) right / 1rem 100% no-repeat scroll; } .scroll:focus-visible { outline: 2px solid var(--s0); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; } td.n, th.n { text-align: right; } th { font-weight: 600; }
tbody th { font-weight: 400; white-space: normal; min-width: 5rem; max-width: 22rem; } .named tbody th { min-width: 9rem; } td.prose { white-space: normal; min-width: 8rem; overflow-wrap: anywhere; } td.alert, th.alert { color: var(--alert); font-weight: 600; }
.callout { border: 1px solid var(--line); border-left: .35rem solid var(--s0); background: var(--card); border-radius: .3rem; padding: .5rem .9rem; margin: 1rem 0; } .callout.alert { border-left-color: var(--alert); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .7rem; margin: 1rem 0; padding: 0; } .facts div { border: 1px solid var(--line); border-radius: .4rem; padding: .5rem .8rem; background: var(--card); }
.facts dt { color: var(--soft); font-size: .82rem; } .facts dd { margin: 0; font-size: 1.15rem; font-weight: 600; } .facts .alert dd { color: var(--alert); }
.matrices { display: flex; flex-wrap: wrap; gap: 2rem; } .matrix td { text-align: right; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid var(--line); border-radius: .4rem; padding: .8rem; font-size: .85rem; }
figure { margin: 1rem 0; } figure svg { display: block; max-width: 100%; height: auto; color: var(--ink); background: none !important; overflow: visible; } .narrow { display: none !important; }
.legend { display: flex; gap: .3rem 1.2rem; flex-wrap: wrap; margin: .2rem 0; padding: 0; list-style: none; font-size: .9rem; } .swatch { display: inline-block; width: .8rem; height: .8rem; border-radius: .15rem; margin-right: .35rem; }
details { margin: .3rem 0 1rem; } summary { cursor: pointer; color: var(--soft); font-size: .9rem; }
@media (max-width: 640px) { .wide { display: none !important; } figure .narrow { display: block !important; } h1 { font-size: 1.35rem; } th, td { padding: .3rem .5rem; } .stacked thead { display: none; } .stacked tr { display: block; border-bottom: 1px solid var(--line); padding: .3rem 0; } .stacked th, .stacked td { display: block; border: 0; padding: .1rem 0; text-align: left; white-space: normal; max-width: none; } .stacked td::before { content: attr(data-head) ': '; color: var(--soft); } td.prose { min-width: 6rem; } }
@media print { details { display: none; } body { max-width: none; } }`;

export interface Page {
  readonly title: string;
  readonly lead: string;
  readonly sections: readonly Html[];
}

/** The whole page. */
export function renderPage({ title, lead, sections }: Page): string {
  const { text } = html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title><link rel="icon" href="data:,"><style>${new Html(STYLE)}</style></head>
<body><main>
<h1>${title}</h1>
<p class="lead">${lead}</p>
${sections.map((section) => html`${section}\n`)}
</main></body></html>
`;
  return text;
}

/** A part of the page under a heading of its own. */
export const section = (title: string, ...contents: readonly Content[]): Html =>
  html`<section><h2>${title}</h2>\n${contents.map((content) => html`${content}\n`)}</section>`;

/** The parts of a section under a smaller heading. */
export const subsection = (title: string, ...contents: readonly Content[]): Html =>
  html`<h3>${title}</h3>\n${contents.map((content) => html`${content}\n`)}`;

export const paragraphs = (...texts: readonly Content[]): Html => html`${texts.map((text) => html`<p>${text}</p>\n`)}`;

/** Small print. */
export const note = (text: Content): Html => html`<p class="note">${text}</p>`;

/** A sentence that must not be missed; `alert` says that something is wrong. */
export const callout = (text: Content, kind: 'plain' | 'alert' = 'plain'): Html =>
  html`<div class="callout ${kind}" role="note">${text}</div>`;

export interface Fact {
  readonly name: string;
  readonly value: string;
  readonly isAlert?: boolean;
}

/** A few figures that stand for the whole. */
export const facts = (all: readonly Fact[]): Html =>
  html`<dl class="facts">${all.map(
    ({ name, value, isAlert }) =>
      html`<div class="${isAlert ? 'alert' : 'plain'}"><dt>${name}</dt><dd>${value}</dd></div>`,
  )}</dl>`;

/** Texts as they are, each under a line of its own. */
export const examples = (items: readonly { readonly head: string; readonly body: string }[]): Html =>
  html`${items.map(({ head, body }) => html`<h3>${head}</h3><pre>${body}</pre>\n`)}`;
