/** The study as a page. */

import { intervalPlot, type Line, linePlot } from 'krait/plots';
import {
  callout,
  dataTable,
  formatNumber,
  type Html,
  html,
  note,
  paragraphs,
  renderPage,
  section,
  subsection,
} from 'krait/report';
import { spreadOf } from 'krait/statistics';
import type { DeviationCurve } from './curve.ts';
import { halfLife, type LayerExponents } from './exponents.ts';
import type { StabilityCell, StabilityStudy } from './study.ts';
import { complaint, estimateText, summaryRow } from './tables.ts';

/** Models with a recurrence, with what was found of it. */
const recurrentCells = ({ cells }: StabilityStudy) =>
  cells.flatMap((cell, series) =>
    cell.result.recurrence ? [{ ...cell, series, recurrence: cell.result.recurrence }] : [],
  );

const TIME = { label: 'tokens after the perturbation', type: 'log' } as const;

/** A curve as a line with its band, and the noise under it. */
function linesOf(label: string, curve: DeviationCurve, series: number, hasNoise = true): Line[] {
  const { times, median, low, high, noise } = curve;
  const line = { label, series, points: times.map((x, i) => ({ x, y: median[i], low: low[i], high: high[i] })) };
  if (!noise || !hasNoise) return [line];
  return [
    line,
    { label: `${label}: noise`, series, isDashed: true, points: times.map((x, i) => ({ x, y: noise[i] })) },
  ];
}

function verdicts(study: StabilityStudy): Html {
  const found = study.cells.flatMap((cell) => complaint(cell) ?? []);
  if (found.length > 0)
    return callout(
      found.map((line) => paragraphs(line)),
      'alert',
    );
  const recurrent = recurrentCells(study);
  if (recurrent.length === 0) return callout('None of these models has a recurrence: there is no exponent to tell.');
  const all =
    recurrent.length === 1 ? 'Every exponent' : `In all ${recurrent.length} models with a recurrence every exponent`;
  return callout(`${all} that was seen is below the theorem's bound, 0.`);
}

const METHOD = [
  'A layer of a Mamba keeps a state h[t] = exp(Δ[t] A) h[t−1] + Δ[t] B[t] u[t] with steps Δ > 0 that depend on the input. \
With the later inputs fixed the Jacobian of the state is diagonal, so each (channel, state) has the exponent A times the mean \
of Δ along the text, in nats a token; the largest is the maximal Lyapunov exponent of the layer. Where A = −exp(A_log) it \
cannot be above 0: that is the bound of the theorem of Halloran, Gulati and Roysdon (2024).',
  'What the theorem covers is the recurrence of one layer with its gates frozen: there a deviation of the state does not \
grow, in any direction. It does not cover what a model does with the deviation: the readout C is unbounded, the deviation \
changes the steps, B and C of the layers above, and a perturbed input changes the gates of its own layer. So both are measured.',
  'With the tokens given, a state acts on later positions of its own layer only through its own recurrence, and on layers \
above, never on those below. The Jacobian of all states together is therefore block triangular with the frozen ones on its \
diagonal. Where what couples the layers stays bounded, a small perturbation of the state cannot, to first order, grow \
exponentially for ever with gates recomputed either; it may grow for a while, and reach the output amplified. Sampling, where tokens depend on what was computed, is another matter.',
];

function exponentTable(layers: readonly LayerExponents[]): Html {
  const head = ['layer', 'max. exponent', 'half-life', 'worst window', 'median channel', 'above 0', 'verdict'];
  const rows = layers.map(({ layer, maximal, worst, channels, above, verdict }) => [
    layer,
    estimateText(maximal),
    formatNumber(halfLife(maximal.value)),
    formatNumber(worst),
    formatNumber(channels.median),
    above,
    { text: verdict, alert: verdict !== 'stable' },
  ]);
  return dataTable({ head, rows, caption: 'Exponents by layer, nats a token; half-life in tokens.' });
}

function exponents(study: StabilityStudy): Html | null {
  const cells = recurrentCells(study);
  if (cells.length === 0) return null;
  const intervals = cells.flatMap(({ label, recurrence }) =>
    recurrence.layers.map(({ layer, channels }) => ({
      row: `layer ${layer}`,
      series: label,
      value: -channels.median,
      low: -channels.max,
      high: -channels.min,
      innerLow: -channels.p75,
      innerHigh: -channels.p25,
    })),
  );
  const windows = cells.map(({ label, series, recurrence: { layers } }): Line => {
    const points = layers[0].windows.map(({ to }, i) => {
      const rates = layers.map((layer) => -layer.windows[i].maximal);
      return { x: to, y: Math.min(...rates), low: Math.min(...rates), high: Math.max(...rates) };
    });
    return { label, series, points };
  });
  return section(
    'Exponents, layer by layer',
    intervalPlot({
      description:
        'Rate of forgetting (minus the exponent) of the slowest state of each channel: the dot is the median channel, the thick bar the middle half, the thin one all channels. Further right forgets faster; a rate of 0 or below, which would be unstable, has no place on this axis.',
      x: { label: 'rate of forgetting, nats a token', type: 'log' },
      intervals,
    }),
    linePlot({
      description: `Rate of the slowest state in windows of ${study.settings.window} tokens: the line is the slowest layer, the band reaches up to the fastest layer's slowest state.`,
      x: { label: 'tokens after the warm-up' },
      y: { label: 'rate, nats a token', type: 'log' },
      lines: windows,
    }),
    cells.map(({ label, recurrence }) => subsection(label, exponentTable(recurrence.layers))),
  );
}

function frozenTable(cell: ReturnType<typeof recurrentCells>[number]): Html {
  const { recurrence, result } = cell;
  const head = ['layer', 'half after', 'left', 'rate', 'of bound', 'left*', 'rate*'];
  const rows = recurrence.frozen.map(({ layer, curve, againstBound }, i) => {
    const again = result.state?.layers[i];
    return [
      layer,
      curve.halfTime ?? '–',
      formatNumber(curve.last),
      estimateText(curve.rate),
      { text: formatNumber(againstBound), alert: !(againstBound <= 1.001) },
      formatNumber(again?.last),
      estimateText(again?.rate ?? null),
    ];
  });
  return dataTable({
    head,
    rows,
    caption:
      'A deviation of each layer’s state with gates frozen, and (*) recomputed; left at the end; rates in nats a token, fitted to the last 7/8 of the positions.',
  });
}

function decay(study: StabilityStudy): Html | null {
  const cells = recurrentCells(study);
  if (cells.length === 0) return null;
  const frozen = cells.map(({ label, series, recurrence: { frozen: layers } }): Line => {
    const points = layers[0].curve.times.map((x, i) => {
      // A layer that is not a number has no place on the plot; the table names it.
      const { median, min, max } = spreadOf(layers.map(({ curve }) => curve.median[i]).filter(Number.isFinite));
      return { x, y: median, low: min, high: max };
    });
    return { label, series, points };
  });
  const whole = cells.flatMap(({ label, series, result }) =>
    result.state?.states ? linesOf(label, result.state.states, series) : [],
  );
  const hidden = cells.flatMap(({ label, series, result }) =>
    result.state ? linesOf(label, result.state.hidden, series) : [],
  );
  const { directions, texts, epsilon } = study.settings;
  const what = `median of ${directions} directions in each of ${texts} texts, the band from 10 to 90 %`;
  const share = { label: 'share that is left', type: 'log' } as const;
  return section(
    'A perturbed state',
    subsection(
      'Gates frozen: what the theorem covers',
      linePlot({
        description:
          'Norm of a deviation planted in a layer’s state, carried by that layer’s recurrence alone: the middle layer, the band from the fastest to the slowest.',
        x: TIME,
        y: share,
        lines: frozen,
      }),
    ),
    subsection(
      'Gates recomputed: what it does not cover',
      linePlot({
        description: `Norm of the deviation of all recurrent states together, planted at ${epsilon} of each layer’s norm, the whole model running on: ${what}. Dashed: what rounding in f32 alone amounts to.`,
        x: TIME,
        y: share,
        lines: whole,
      }),
      linePlot({
        description: `The same perturbation as the final hidden states show it: relative deviation, in units of the planted one; ${what}.`,
        x: TIME,
        y: { label: 'amplification', type: 'log' },
        lines: hidden,
      }),
    ),
    cells.map((cell) => subsection(cell.label, frozenTable(cell))),
    note(
      '"Of bound": the largest norm that was seen with gates frozen over the norm of the Jacobian so far; it cannot be above 1 but for rounding.',
    ),
  );
}

function curveTable(caption: string, rows: readonly (readonly [string, DeviationCurve | null | undefined])[]): Html {
  const head = ['', 'at first', 'half after', 'at the end', 'rate, nats a token'];
  const cells = rows.flatMap(([name, curve]) =>
    curve
      ? [
          [
            name,
            formatNumber(curve.median[0]),
            curve.halfTime ?? '–',
            formatNumber(curve.last),
            estimateText(curve.rate),
          ],
        ]
      : [],
  );
  return dataTable({ head, rows: cells, caption });
}

function stream({ cells, settings }: StabilityStudy): Html {
  const { epsilon, directions, texts } = settings;
  return section(
    'One perturbed position of the residual stream',
    paragraphs(
      'The stream is moved at one position where it enters the first layer, in a Mamba as in a Transformer. What later positions show of it is what the model carries along: by its states and convolutions, or by its attention. No theorem speaks of this, for the perturbed position’s own gates, keys and values change.',
    ),
    linePlot({
      description: `Relative deviation of the final hidden states after moving one position by ${epsilon} of its norm, in units of that; median of ${directions} directions in each of ${texts} texts, the band from 10 to 90 %. Dashed: what rounding in f32 alone amounts to; a line that runs into it is known only as an upper bound.`,
      x: { label: 'tokens from the perturbed one on, it being 1', type: 'log' },
      y: { label: 'amplification', type: 'log' },
      lines: cells.flatMap(({ label, result }, series) => linesOf(label, result.stream.hidden, series)),
    }),
    curveTable(
      'Amplification in the final hidden states, and its fitted rate where it stands out of the noise.',
      cells.map(({ label, result }) => [label, result.stream.hidden] as const),
    ),
  );
}

function rounding({ cells, settings }: StabilityStudy): Html | null {
  if (settings.precisions.length === 0) return null;
  const all = cells.flatMap(({ label, result }, i) =>
    result.rounding.map((found, k) => ({
      ...found,
      label: `${label}, ${found.precision}`,
      series: i * settings.precisions.length + k,
    })),
  );
  return section(
    'Rounding: half types against f32',
    paragraphs(
      'The same tokens from a fresh start by the model in f32 and with matrices and activations in a half type; recurrence, norms and the residual stream stay f32. A deviation that does not grow along the text is forgotten as fast as it is made.',
    ),
    linePlot({
      description:
        'Relative deviation of the final hidden states from those of f32: median over the texts, the band from 10 to 90 %.',
      x: { label: 'tokens read', type: 'log' },
      y: { label: 'relative deviation', type: 'log' },
      lines: all.flatMap(({ label, hidden, series }) => linesOf(label, hidden, series)),
    }),
    curveTable(
      'Relative deviation of the final hidden states; a rate within two errors of 0 neither grows nor falls.',
      all.map(({ label, hidden }) => [label, hidden] as const),
    ),
    curveTable(
      'Relative deviation of the recurrent states.',
      all.map(({ label, states }) => [label, states] as const),
    ),
    dataTable({
      head: ['', 'logits: deviation at the end', 'same most probable token'],
      rows: all.map(({ label, logits, sameBest }) => [
        label,
        formatNumber(logits.last),
        `${formatNumber(100 * sameBest.value, 4)} %`,
      ]),
    }),
  );
}

function conditions({ settings, source, device, cells }: StabilityStudy): Html {
  const { texts, warmup, horizon, directions, epsilon, seed } = settings;
  const rows = cells.map(({ label, folder, adapter, seconds, result }: StabilityCell) => [
    label,
    adapter ? `${folder} + ${adapter}` : folder,
    result.family,
    result.layers,
    result.parameters.toLocaleString('en'),
    `${seconds.toFixed(0)} s`,
  ]);
  return section(
    'How it was measured',
    paragraphs(
      `${texts} texts of ${warmup} + ${horizon} tokens from ${source}; errors are standard errors over the texts. ${directions} random directions in each text, of norm ${epsilon}, seed ${seed}. Device: ${device}, f32.`,
    ),
    dataTable({ head: ['model', 'from', 'family', 'layers', 'parameters', 'time'], rows }),
  );
}

/** Measures down, models across: so it is read on a phone too. */
function summaryTable(study: StabilityStudy): Html {
  const { horizon, epsilon, precisions } = study.settings;
  const measures = [
    'verdict',
    'largest Lyapunov exponent, nats a token',
    'half-life of the slowest state, tokens',
    `perturbed state, gates frozen: left after ${horizon} tokens (middle layer)`,
    `perturbed state, gates recomputed: left after ${horizon} tokens (all layers)`,
    `perturbed stream: amplification ${horizon} tokens on`,
    ...precisions.map((type) => `${type}: relative deviation of the final hidden states`),
  ];
  const columns = study.cells.map((cell) => summaryRow(study, cell).slice(1));
  const head = ['', ...study.cells.map(({ label }) => label)];
  const rows = measures.map((name, i) => [name, ...columns.map((column) => column[i])]);
  const small = `A perturbation has ${epsilon} of the norm of what it is planted in; errors are standard errors over the texts.`;
  return html`${dataTable({ head, rows })}${note(small)}`;
}

/** The study as one HTML file. */
export function stabilityPage(study: StabilityStudy): string {
  const { cells } = study;
  const names = cells.map(({ label }) => label).join(', ');
  const summary = section('In short', verdicts(study), summaryTable(study));
  const parts = [
    summary,
    section('What is measured', paragraphs(...METHOD)),
    exponents(study),
    decay(study),
    stream(study),
    rounding(study),
    conditions(study),
  ];
  return renderPage({
    title: 'Krait: stability',
    lead: `Do deviations grow or fade along real text? Lyapunov exponents, planted perturbations and rounding of ${names}.`,
    sections: parts.filter((part) => part !== null),
  });
}
