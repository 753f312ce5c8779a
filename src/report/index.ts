/**
 * Reports: the parts of an HTML page, tables of a page and of a terminal, numbers in few digits. Plots are in
 * `report/plots`, because they need packages that `krait` does not install.
 */
export { type Content, Html, html } from './html.ts';
export { formatNumber } from './numbers.ts';
export {
  callout,
  examples,
  type Fact,
  facts,
  note,
  type Page,
  paragraphs,
  renderPage,
  section,
  seriesColor,
  subsection,
} from './page.ts';
export {
  type AlertCell,
  type Cell,
  type ConfusionMatrix,
  confusionMatrices,
  type DataTable,
  dataTable,
} from './table.ts';
export { formatBytes, table } from './terminal.ts';
