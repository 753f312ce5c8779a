export { formatNumber } from './figure.ts';
export { type Content, Html, html } from './html.ts';
export * from './page.ts';
export * from './plots.ts';
export * from './table.ts';
