/** What `krait forecast` draws: the picture of a forecast, and a page with all that is known about it. */
import { type Analysis, dateAt, formatDate, isDaily } from '../../forecast/index.ts';
import {
  type Content,
  callout,
  dataTable,
  facts,
  formatNumber,
  type Html,
  html,
  note,
  renderPage,
  section,
} from '../../report/index.ts';
import { type Line, linePlot } from '../../report/plots.ts';
import { comparisonRows, complaint, coverageRows, linearAlone, type Outlook, UNMEASURED } from './report.ts';

/** History that a picture shows, in horizons. */
const HISTORY = 2;

/** The last rows, the forecast, and the widest interval of the quantiles, over steps from the last row. */
function drawForecast({ series, names, levels, future }: Outlook, name: string): Html {
  const k = names.indexOf(name);
  const own = series.names.indexOf(name);
  const horizon = future.values[k].length;
  const shown = Math.min(series.length, HISTORY * horizon);
  const past = Array.from({ length: shown }, (_, i) => ({
    x: i + 1 - shown,
    y:
      series.masks[own]?.[series.length - shown + i] === 0 ? Number.NaN : series.values[own][series.length - shown + i],
  }));
  const [low, high] = [levels.indexOf(Math.min(...levels)), levels.indexOf(Math.max(...levels))];
  const hasBand = levels.length > 1;
  const ahead = Array.from(future.values[k], (y, h) => ({
    x: h + 1,
    y,
    ...(hasBand && { low: future.quantiles[low][k][h], high: future.quantiles[high][k][h] }),
  }));
  const lines: Line[] = [
    { label: `${name}, as it was`, points: past, series: 6 },
    { label: 'forecast', points: ahead, series: 0 },
  ];
  const band = hasBand ? ` The band is from quantile ${levels[low]} to ${levels[high]}.` : '';
  const last = formatDate(dateAt(series.start, series.frequency, series.length - 1), isDaily(series.frequency));
  const description = `${name}: the last ${shown} steps and the forecast of ${horizon}; step 0 is ${last}.${band}`;
  return linePlot({ description, x: { label: 'steps from the last row' }, y: { label: name }, lines });
}

/** HTML with its tags as XML has them: no < and >, and no & that begins nothing, in what attributes say. */
const asXml = (markup: string): string =>
  markup.replace(/<[a-z/](?:[^"<>]|"[^"]*")*>/gi, (tag) =>
    tag.replace(/"[^"]*"/g, (value) =>
      value
        .replace(/&(?!(?:amp|lt|gt|quot|apos|#\d+|#x[\da-f]+);)/gi, '&amp;')
        .replaceAll('<', '&lt;')
        .replaceAll('>', '&gt;'),
    ),
  );

/** The plot alone as an SVG file: colours of the light page in place of its variables. */
export function forecastSvg(outlook: Outlook, name: string): string {
  const [svg] = /<svg.*?<\/svg>/s.exec(asXml(drawForecast(outlook, name).text))!;
  const colours: Record<string, string> = { s0: '#1f6fb4', s6: '#4b5563', paper: '#fff', ink: '#1c1f24' };
  const plain = svg.replace(/var\(--(\w+)\)/g, (whole, key: string) => colours[key] ?? whole);
  const spaced = plain.slice(0, plain.indexOf('>')).includes('xmlns=')
    ? plain
    : plain.replace('<svg', '<svg xmlns="http://www.w3.org/2000/svg"');
  return `${spaced.replace('>', '><rect width="100%" height="100%" fill="#fff"/>')}\n`;
}

/** The learned order of variables as a row of nodes, in which each stands after the one that it is read after. */
function orderGraph(names: readonly string[]): Html {
  const [width, gap] = [86, 26];
  const nodes = names.map((name, i) => {
    const x = i * (width + gap);
    const arrow =
      i === 0
        ? null
        : html`<path d="M${x - gap + 2} 20 h${gap - 6} m-5 -4 l5 4 l-5 4" fill="none" stroke="currentColor"/>`;
    return html`${arrow}<rect x="${x}" y="4" width="${width}" height="32" rx="5" fill="none" stroke="var(--s0)"/><text x="${x + width / 2}" y="25" text-anchor="middle" font-size="13" fill="currentColor">${name.length > 11 ? `${name.slice(0, 10)}…` : name}</text>`;
  });
  const total = names.length * (width + gap) - gap;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Order of variables"><svg role="img" aria-label="${names.join(', then ')}" width="${total + 4}" height="40" viewBox="-2 0 ${total + 4} 40">${nodes}</svg></div>`;
}

function trust(analysis: Analysis): Content[] {
  const { quantiles } = analysis;
  const against = complaint(analysis);
  const table = (rows: string[][]) => dataTable({ head: rows[0], rows: rows.slice(1) });
  const alone = linearAlone(analysis);
  const warning = against ? callout(against, 'alert') : null;
  const covered =
    quantiles.coverage.length > 0
      ? [
          table(coverageRows(analysis)),
          note(
            `Share of values at or below each quantile, over ${quantiles.judged} origins of the test part; each was judged by errors that were complete before it.`,
          ),
        ]
      : [note(UNMEASURED)];
  return [
    warning,
    alone && note(alone),
    table(comparisonRows(analysis)),
    note('Errors of scaled values, means over every window of the test part.'),
    ...covered,
  ];
}

/** The whole page. */
export function forecastPage(analysis: Analysis, outlook: Outlook, targets: readonly string[]): string {
  const { fit, fitted, dataset } = analysis;
  const { series } = outlook;
  const [own] = analysis.comparison;
  const order = fitted.forecaster.order?.map((k) => dataset.series.names[k]);
  return renderPage({
    title: `Forecast of ${series.file.replace(/^.*[/\\]/, '')}`,
    lead: `${fit.model}, ${fit.horizon} steps ahead from the last ${fit.lookback}; trained on the first 70 %, chosen on the next 10 %, tested on the last 20 % of ${series.length} rows.`,
    sections: [
      facts([
        { name: 'MSE of scaled values', value: formatNumber(own.mse) },
        { name: 'MAE of scaled values', value: formatNumber(own.mae) },
        { name: 'parameters', value: fitted.parameters.toLocaleString('en') },
        { name: 'training', value: `${fitted.seconds.toFixed(0)} s` },
      ]),
      section('What comes', ...targets.map((name) => drawForecast(outlook, name))),
      section('How far to trust it', ...trust(analysis)),
      ...(order
        ? [
            section(
              'Learned order of the variables',
              orderGraph(order),
              note('Each is read after the one before it: the order that cost least in training.'),
            ),
          ]
        : []),
      ...(series.notes.length > 0
        ? [section('What was done to the rows', ...series.notes.map((line) => note(line)))]
        : []),
    ],
  });
}
