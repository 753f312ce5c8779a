/** Pieces of reports: what is escaped, what is drawn, what is told beside it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseHTML } from 'linkedom';
import { formatCsv } from '../io/index.ts';
import { html } from './html.ts';
import { formatNumber, logTick, logTicks } from './numbers.ts';
import { callout, examples, facts, paragraphs, renderPage, section } from './page.ts';
import { intervalPlot, type LinePoint, linePlot } from './plots.ts';
import { confusionMatrices, dataTable } from './table.ts';

const documentOf = (piece: { readonly text: string }) => parseHTML(`<html><body>${piece.text}</body></html>`).document;

const line = (points: readonly LinePoint[], label = 'a') => ({ label, points });

describe('pieces', () => {
  it('escape what is not a piece', () => {
    const nasty = `<script>alert("1")</script>&'`;
    const text = '&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;';
    assert.equal(
      html`<p title="${nasty}">${[nasty, html`<b>${1}</b>`, null]}</p>`.text,
      `<p title="${text}">${text}<b>1</b></p>`,
    );
    const page = renderPage({
      title: nasty,
      lead: nasty,
      sections: [
        section(nasty, paragraphs(nasty), callout(nasty, 'alert'), facts([{ name: nasty, value: nasty }])),
        dataTable({ head: [nasty], rows: [[nasty]], caption: nasty }),
        confusionMatrices([{ title: nasty, labels: [nasty], counts: [[1]] }]),
        examples([{ head: nasty, body: nasty }]),
        linePlot({
          description: nasty,
          x: { label: nasty },
          y: { label: nasty },
          lines: [line([{ x: 1, y: 1 }], nasty)],
        }),
        intervalPlot({ description: nasty, x: { label: nasty }, intervals: [{ row: nasty, series: nasty, value: 1 }] }),
      ],
    });
    const { document } = parseHTML(page);
    assert.equal(document.querySelectorAll('script, [onload], [onclick]').length, 0, 'a script came through');
    assert.ok(document.querySelectorAll('h2')[0].textContent === nasty, 'the text is not as it was');
    assert.match(page, /^<!doctype html>\n<html lang="en">/);
    assert.ok(!/(?:src|href)="(?!data:)/.test(page), 'the page refers to something else');
  });

  it('put figures to the right, and mark what is wrong', () => {
    const rows = [
      ['first', 1, '0.5 ± 0.1', { text: 'unstable', alert: true }, 'words'],
      ['second', '–', '-1.2e-5', { text: 'stable', alert: false }, '12 %'],
    ];
    const document = documentOf(dataTable({ head: ['name', 'n', 'estimate', 'verdict', 'mixed'], rows }));
    const classes = [...document.querySelectorAll('tbody tr:first-child > *')].map((cell) => cell.className);
    assert.deepEqual(classes, ['', 'n', 'n', 'alert', '']);
    assert.equal(document.querySelectorAll('[data-head]').length, 0);
    assert.equal(document.querySelectorAll('tbody th[scope=row]').length, 2);
  });
});

describe('tables of sentences', () => {
  const long = 'none of 18 that were measured, by two errors';
  const document = documentOf(
    dataTable({ head: ['question', 'paper', 'here'], rows: [['gain', '38 %', long]], isStacked: true }),
  );

  it('break words in long columns alone, and name each cell where they are stacked', () => {
    const cells = [...document.querySelectorAll('td')].map((td) => [td.className, td.getAttribute('data-head')]);
    assert.deepEqual(cells, [
      ['n', 'paper'],
      ['prose', 'here'],
    ]);
    assert.equal(document.querySelector('table')!.className, 'plain stacked');
  });
});

describe('plots', () => {
  const plot = linePlot({
    description: 'What there is to see.',
    x: { label: 'tokens', type: 'log' },
    y: { label: 'share', type: 'log' },
    lines: [
      line([
        { x: 1, y: 1, low: 0.5, high: 2 },
        { x: 10, y: 0.1, low: 0.05, high: 0.2 },
        { x: 100, y: 0 },
        { x: 1000, y: Number.NaN },
      ]),
      {
        ...line(
          [
            { x: 1, y: 0.01 },
            { x: 10, y: 0.02 },
          ],
          'noise',
        ),
        isDashed: true,
      },
      line([{ x: 1, y: 3 }], 'b'),
    ],
  });

  it('are drawn for a desk and a phone, with words and figures beside', () => {
    const document = documentOf(plot);
    const drawings = [...document.querySelectorAll('svg[role=img]')];
    assert.deepEqual(
      drawings.map((svg) => svg.getAttribute('width')),
      ['860', '350'],
    );
    for (const svg of drawings) assert.equal(svg.getAttribute('aria-label'), 'Plot: share by tokens');
    assert.equal(document.querySelector('figcaption')!.textContent, 'What there is to see.');
    assert.deepEqual(
      [...document.querySelectorAll('.legend li')].map((li) => li.textContent),
      ['a', 'b'],
    );
    const table = [...document.querySelectorAll('details tbody tr')].map((row) =>
      [...row.children].map((c) => c.textContent),
    );
    assert.deepEqual(table[0], ['1', '1 (0.5 to 2)', '0.01', '3']);
    assert.deepEqual(table[2], ['100', '0', '–', '–']);
  });

  it('leave out what a logarithmic axis has no place for', () => {
    const paths = [...documentOf(plot).querySelector('svg')!.querySelectorAll('path')].map(
      (path) => path.getAttribute('d')!,
    );
    assert.ok(paths.length >= 4 && paths.every((d) => !/NaN|Infinity/.test(d)), paths.join(' '));
  });

  it('of nothing are empty, not an error', () => {
    for (const type of ['linear', 'log'] as const) {
      const axis = { label: 'x', type };
      const nothing = linePlot({ description: 'd', x: axis, y: axis, lines: [line([])] });
      assert.equal(documentOf(nothing).querySelectorAll('svg[role=img]').length, 2);
      const none = intervalPlot({
        description: 'd',
        x: axis,
        intervals: [{ row: 'r', series: 's', value: Number.NaN }],
      });
      assert.equal(documentOf(none).querySelectorAll('svg[role=img]').length, 2);
    }
  });

  it('mark an axis where they are told to, and have their figures along the shorter side', () => {
    const points = [0, 1, 3, 5].map((x) => ({ x, y: x }));
    const names = ['a', 'b', 'c', 'd', 'e'];
    const document = documentOf(
      linePlot({
        description: 'd',
        x: { label: 'examples', ticks: [0, 1, 3, 5] },
        y: { label: 'y' },
        lines: names.map((name) => line(points, name)),
      }),
    );
    const marks = [...document.querySelector('svg')!.querySelectorAll('[aria-label="x-axis tick label"] text')];
    assert.deepEqual(
      marks.map((mark) => mark.textContent),
      ['0', '1', '3', '5'],
    );
    const head = [...document.querySelectorAll('details thead th')].map((th) => th.textContent);
    assert.deepEqual(head, ['examples:', '0', '1', '3', '5']);
    const rows = [...document.querySelectorAll('details tbody tr')].map((row) =>
      [...row.children].map((c) => c.textContent),
    );
    assert.deepEqual(rows[1], ['b', '0', '1', '3', '5']);
    assert.equal(rows.length, 5);
  });

  it('mark a flat axis in few digits', () => {
    const points = [0, 1].map((x) => ({ x, y: 200 / 3 }));
    const flat = linePlot({ description: 'd', x: { label: 'x' }, y: { label: 'y' }, lines: [line(points)] });
    const marks = [...documentOf(flat).querySelectorAll('[aria-label="y-axis tick label"] text')];
    assert.deepEqual(
      marks.map((mark) => mark.textContent),
      ['66.7', '66.7'],
    );
  });

  it('give each series of a row a dot of its own', () => {
    const intervals = ['a', 'b'].flatMap((series) =>
      ['one', 'two'].map((row) => ({ row, series, value: 1, low: 0, high: 2, innerLow: 0.5, innerHigh: 1.5 })),
    );
    const document = documentOf(intervalPlot({ description: 'd', x: { label: 'acc' }, intervals, reference: 0.25 }));
    assert.equal(document.querySelector('svg')!.querySelectorAll('circle').length, 4);
    assert.deepEqual(
      [...document.querySelectorAll('.legend li')].map((li) => li.textContent),
      ['a', 'b'],
    );
    assert.equal(document.querySelectorAll('details tbody tr').length, 4);
  });
});

describe('numbers', () => {
  it('are told in few digits', () => {
    const told = [0, 0.123456, -1234.5, 1e-7, 1e9, Number.NaN, null, Number.NEGATIVE_INFINITY].map((x) =>
      formatNumber(x),
    );
    assert.deepEqual(told, ['0', '0.123', '-1230', '1.00e-7', '1.00e+9', '–', '–', '−∞']);
  });

  it('have powers of ten on logarithmic axes', () => {
    assert.deepEqual(logTicks([0.003, 0.5]), [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]);
    assert.deepEqual(logTicks([1e-9, 1e3]).map(logTick), ['10⁻⁹', '10⁻⁷', '10⁻⁵', '0.001', '0.1', '10', '1000']);
    assert.equal(logTick(2e-5), '2·10⁻⁵');
  });

  it('are fields of CSV', () => {
    const rows = [
      ['a,"b"', 1.5, null],
      ['c\nd', Number.NaN, undefined],
    ];
    assert.equal(formatCsv(['x', 'y', 'z'], rows), 'x,y,z\n"a,""b""",1.5,\n"c\nd",,\n');
  });
});
