/** The study's figures as rows: for the terminal, the report and CSV. */

import { type CsvValue, formatCsv } from 'krait/io';
import { type AlertCell, type Cell, formatNumber } from 'krait/report';
import { type Estimate, spreadOf } from 'krait/statistics';
import type { DeviationCurve } from './curve.ts';
import type { RecurrenceStability } from './measure.ts';
import type { PerturbationResult } from './perturbation.ts';
import type { StabilityCell, StabilityStudy } from './study.ts';

/** `-0.0012 ± 0.0001` */
export function estimateText(estimate: Estimate | null): string {
  if (!estimate) return '–';
  const { value, error } = estimate;
  return error === null ? formatNumber(value) : `${formatNumber(value)} ± ${formatNumber(error, 2)}`;
}

/** Median over layers of what is left of a frozen deviation; NaN if one is not a number (null in a file). */
const middleOfLayers = ({ frozen }: RecurrenceStability): number =>
  spreadOf(frozen.map(({ curve }) => curve.last ?? Number.NaN)).median;

/** What is wrong with a model, in a line; null where nothing is. */
export function complaint({ label, result: { recurrence } }: StabilityCell): string | null {
  if (!recurrence || recurrence.verdict === 'stable') return null;
  const layers = recurrence.layers.filter(({ verdict }) => verdict !== 'stable');
  const where = layers.map(({ layer, verdict, maximal, above, notFinite, count }) => {
    const what = Number.isFinite(maximal.value) ? `exponent ${formatNumber(maximal.value)}` : 'exponent not a number';
    const which = notFinite > 0 ? `${notFinite} not finite` : `${above} above 0`;
    return `layer ${layer}: ${what}${verdict === 'unstable' ? ` (${which} of ${count} states)` : ''}`;
  });
  const meaning =
    recurrence.verdict === 'unstable'
      ? 'UNSTABLE: a deviation of its state grows, or is not a number; A must be below 0 (A = -exp(A_log))'
      : 'marginal: some state never forgets (exponent 0)';
  const more = where.length > 4 ? `; and ${where.length - 4} layers more` : '';
  return `${label} is ${meaning}: ${where.slice(0, 4).join('; ')}${more}`;
}

/** The head of the summary. */
export function summaryHead({ settings: { horizon, precisions } }: StabilityStudy): string[] {
  return [
    'model',
    'verdict',
    'max. exponent',
    'half-life',
    `frozen @${horizon}`,
    `recomputed @${horizon}`,
    `stream @${horizon}`,
    ...precisions.map((type) => `${type} deviation`),
  ];
}

/** One model's figures; a verdict that is not `stable` is marked. */
export function summaryRow({ settings }: StabilityStudy, { label, result }: StabilityCell): Cell[] {
  const { recurrence, state, stream, rounding } = result;
  const verdict: Cell = recurrence
    ? { text: recurrence.verdict, alert: recurrence.verdict !== 'stable' }
    : 'no recurrence';
  const worst = recurrence?.layers.find(({ layer }) => layer === recurrence.layer);
  return [
    label,
    verdict,
    estimateText(worst?.maximal ?? null),
    formatNumber(recurrence?.halfLife),
    recurrence ? formatNumber(middleOfLayers(recurrence)) : '–',
    formatNumber(state?.states?.last),
    formatNumber(stream.hidden.last),
    ...settings.precisions.map((type) => formatNumber(rounding.find((r) => r.precision === type)?.hidden.last)),
  ];
}

export const cellText = (cell: Cell): string => (typeof cell === 'object' ? (cell as AlertCell).text : String(cell));

/** What the columns of the summary are, for people who read it. */
export const summaryNote = ({ settings: { horizon, epsilon } }: StabilityStudy): string =>
  `Exponent and half-life: of the slowest state of any layer, in nats a token and in tokens. Frozen and recomputed: share \
of a deviation planted in the recurrent states that is left after ${horizon} tokens, median over layers with gates frozen, \
of all layers together with everything recomputed. Stream: relative deviation of the final hidden states ${horizon} tokens \
after one position of the residual stream was moved by ${epsilon} of its norm, in units of that. Deviation of a half type: \
of the final hidden states from those of f32, relative, at the end.`;

export const CSV_HEAD = ['model', 'quantity', 'layer', 'position', 'value', 'low', 'high'] as const;

type Row = readonly CsvValue[];

function curveRows(model: string, quantity: string, layer: number | null, curve: DeviationCurve | null): Row[] {
  if (!curve) return [];
  const { times, median: middle, low, high, noise, rate } = curve;
  const spread = (value: number, error: number | null) => [value - (error ?? 0), value + (error ?? 0)];
  return [
    ...times.map((time, i): Row => [model, quantity, layer, time, middle[i], low[i], high[i]]),
    ...(noise ? times.map((time, i): Row => [model, `${quantity}.noise`, layer, time, noise[i], null, null]) : []),
    ...(rate ? [[model, `${quantity}.rate`, layer, null, rate.value, ...spread(rate.value, rate.error)]] : []),
  ];
}

function perturbationRows(model: string, name: string, result: PerturbationResult | null): Row[] {
  if (!result) return [];
  return [
    ...curveRows(model, `${name}.states`, null, result.states),
    ...result.layers.flatMap((curve, layer) => curveRows(model, `${name}.states`, layer, curve)),
    ...curveRows(model, `${name}.hidden`, null, result.hidden),
    ...curveRows(model, `${name}.logits`, null, result.logits),
  ];
}

function cellRows({ label, result }: StabilityCell): Row[] {
  const { recurrence, state, stream, rounding } = result;
  const exponents = (recurrence?.layers ?? []).flatMap((found): Row[] => {
    const { layer, maximal, channels, windows } = found;
    const { value, error } = maximal;
    const row = (quantity: string, position: number | null, middle: number, low?: number, high?: number): Row => [
      label,
      quantity,
      layer,
      position,
      middle,
      low,
      high,
    ];
    return [
      row('exponent.maximal', null, value, value - (error ?? 0), value + (error ?? 0)),
      row('exponent.channels', null, channels.median, channels.p10, channels.p90),
      ...windows.map((w) => row('exponent.window', w.to, w.maximal)),
    ];
  });
  return [
    ...exponents,
    ...(recurrence?.frozen ?? []).flatMap(({ layer, curve }) => curveRows(label, 'frozen', layer, curve)),
    ...perturbationRows(label, 'state', state),
    ...perturbationRows(label, 'stream', stream),
    ...rounding.flatMap(({ precision, states, hidden, logits }) => [
      ...curveRows(label, `${precision}.states`, null, states),
      ...curveRows(label, `${precision}.hidden`, null, hidden),
      ...curveRows(label, `${precision}.logits`, null, logits),
    ]),
  ];
}

/** All figures, one a row. `low` and `high`: 10 and 90 % of texts and directions, or a standard error to either side. */
export const stabilityCsv = ({ cells }: StabilityStudy): string => formatCsv(CSV_HEAD, cells.flatMap(cellRows));
