/**
 * Plots of reports: lines with bands, and dots with error bars. Values that cannot be drawn are left out, not moved.
 *
 * This file and `figure.ts` need the packages @observablehq/plot and linkedom, which `krait` does not install. For that
 * reason they are an entry of their own: the rest of `report` works without them.
 */
import * as Plot from '@observablehq/plot';
import { figure, type Size } from './figure.ts';
import type { Html } from './html.ts';
import { formatNumber, logTick, logTicks } from './numbers.ts';
import { seriesColor } from './page.ts';
import type { Cell, DataTable } from './table.ts';

export interface Axis {
  readonly label: string;
  /** Logarithmic axes leave out what is not above 0. */
  readonly type?: 'linear' | 'log';
  /** Ticks of a linear axis; round numbers unless given. */
  readonly ticks?: readonly number[];
}

/** `low` and `high` bound a band or an error bar. */
export interface LinePoint {
  readonly x: number;
  readonly y: number;
  readonly low?: number;
  readonly high?: number;
}

export interface Line {
  readonly label: string;
  readonly points: readonly LinePoint[];
  /** Dashed lines are for comparison; the legend leaves them to the description. */
  readonly isDashed?: boolean;
  /** Number of its colour; that of its place unless given. */
  readonly series?: number;
}

export interface LinePlot {
  readonly description: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly lines: readonly Line[];
}

const isDrawn = (axis: Axis, value: number): boolean => Number.isFinite(value) && (axis.type !== 'log' || value > 0);

const shortTick = (tick: number): string => formatNumber(tick);

/** An axis of a drawing over these values. */
function scaleOf(axis: Axis, values: readonly number[], grid: boolean, most: number) {
  const { label, type, ticks = most } = axis;
  if (type === 'log' && values.length > 0) {
    return { label, grid, type, ticks: logTicks(values, most), tickFormat: logTick };
  }
  const isFlat = new Set(values).size === 1; // its one tick would have all the digits that there are
  return { label, grid, ticks, ...((axis.ticks || isFlat) && { tickFormat: shortTick }) };
}

function drawLines({ x, y, lines }: LinePlot, size: Size): Plot.PlotOptions {
  const kept = lines.map((line, i) => ({
    ...line,
    color: seriesColor(line.series ?? i),
    points: line.points.filter((p) => isDrawn(x, p.x) && isDrawn(y, p.y)),
  }));
  const bands = kept.map((line) => {
    const points = line.points.filter((p) => isDrawn(y, p.low ?? Number.NaN) && isDrawn(y, p.high ?? Number.NaN));
    return Plot.areaY(points, { x: 'x', y1: 'low', y2: 'high', fill: line.color, fillOpacity: 0.18 });
  });
  const strokes = kept.map(({ points, color, isDashed }) =>
    Plot.line(points, {
      x: 'x',
      y: 'y',
      stroke: color,
      strokeWidth: 1.8,
      strokeDasharray: isDashed ? '5 4' : undefined,
    }),
  );
  const values = kept.flatMap((line) => line.points.flatMap((p) => [p.y, p.low ?? p.y, p.high ?? p.y]));
  const isNarrow = size.name === 'narrow';
  return {
    height: isNarrow ? 260 : 330,
    marginLeft: 52,
    marginBottom: 38,
    x: scaleOf(
      x,
      kept.flatMap((line) => line.points.map((p) => p.x)),
      false,
      isNarrow ? 4 : 9,
    ),
    y: scaleOf(
      y,
      values.filter((value) => isDrawn(y, value)),
      true,
      isNarrow ? 6 : 8,
    ),
    marks: [...bands, ...strokes],
  };
}

/** Lines over an axis, with bands where points have bounds. */
export function linePlot(plot: LinePlot): Html {
  const { x, y, lines, description } = plot;
  const places = [...new Set(lines.flatMap((line) => line.points.map((p) => p.x)))].sort((a, b) => a - b);
  const shown = places.length > 64 ? places.filter((_, i) => i % Math.ceil(places.length / 64) === 0) : places;
  const textAt = ({ points }: Line, at: number): string => {
    const point = points.find((p) => p.x === at);
    return point ? boundedText(point.y, point.low, point.high) : '–';
  };
  const legend = lines.flatMap(({ label, series, isDashed }, i) => (isDashed ? [] : [{ label, series: series ?? i }]));
  const title = `Plot: ${y.label} by ${x.label}`;
  const names = shown.map((at) => formatNumber(at, 6));
  const data: DataTable =
    lines.length > shown.length // the longer side goes down
      ? {
          head: [`${x.label}:`, ...names],
          rows: lines.map((line): Cell[] => [line.label, ...shown.map((at) => textAt(line, at))]),
        }
      : {
          head: [x.label, ...lines.map(({ label }) => label)],
          rows: shown.map((at, i): Cell[] => [names[i], ...lines.map((line) => textAt(line, at))]),
        };
  return figure({ title, description, legend, draw: (size) => drawLines(plot, size), data });
}

function boundedText(value: number, low?: number, high?: number): string {
  const text = formatNumber(value);
  return low === undefined || high === undefined ? text : `${text} (${formatNumber(low)} to ${formatNumber(high)})`;
}

/** A dot with bars: `low` to `high` thin, `innerLow` to `innerHigh` thick. */
export interface Interval {
  /** Row that it stands in, and series that gives its colour. */
  readonly row: string;
  readonly series: string;
  readonly value: number;
  readonly low?: number;
  readonly high?: number;
  readonly innerLow?: number;
  readonly innerHigh?: number;
}

export interface IntervalPlot {
  readonly description: string;
  readonly x: Axis;
  readonly intervals: readonly Interval[];
  /** A line across all rows, such as a bound or chance. */
  readonly reference?: number;
}

const ROW_HEIGHT = 17;

function drawIntervals({ x, intervals, reference }: IntervalPlot, names: readonly string[], size: Size) {
  const rows = [...new Set(intervals.map(({ row }) => row))];
  const kept = intervals.filter(({ value }) => isDrawn(x, value));
  const color = ({ series }: Interval) => seriesColor(names.indexOf(series));
  const bar = (low: keyof Interval, high: keyof Interval, strokeWidth: number) =>
    Plot.ruleY(
      kept.filter((i) => isDrawn(x, Number(i[low] ?? Number.NaN)) && isDrawn(x, Number(i[high] ?? Number.NaN))),
      { x1: low, x2: high, y: 'series', fy: 'row', stroke: color, strokeWidth },
    );
  const values = kept.flatMap((i) => [i.value, i.low ?? i.value, i.high ?? i.value]).filter((v) => isDrawn(x, v));
  const longest = Math.max(...rows.map((row) => row.length));
  const isNarrow = size.name === 'narrow';
  return {
    height: 56 + rows.length * (names.length * ROW_HEIGHT + 8),
    marginLeft: Math.min(isNarrow ? 155 : 320, 16 + longest * size.fontSize * 0.58),
    marginRight: 14,
    marginBottom: 38,
    x: scaleOf(x, values, true, isNarrow ? 4 : 8),
    y: { axis: null, domain: [...names] },
    fy: { label: null, domain: rows, padding: 0.15 },
    marks: [
      Plot.axisFy({ anchor: 'left', label: null }),
      ...(reference === undefined ? [] : [Plot.ruleX([reference], { strokeDasharray: '3 3' })]),
      bar('low', 'high', 1.5),
      bar('innerLow', 'innerHigh', 5),
      Plot.dot(kept, { x: 'value', y: 'series', fy: 'row', r: 4, fill: color, stroke: 'var(--paper)', strokeWidth: 1 }),
    ],
  } satisfies Plot.PlotOptions;
}

/** Dots with error bars, a row for each thing and in it a dot for each series. */
export function intervalPlot(plot: IntervalPlot): Html {
  const { description, intervals, x } = plot;
  const names = [...new Set(intervals.map(({ series }) => series))];
  const rows = intervals.map((i): Cell[] => {
    const ends = [i.innerLow, i.innerHigh].some((v) => v !== undefined) ? [i.innerLow, i.innerHigh] : [];
    return [
      i.row,
      i.series,
      boundedText(i.value, i.low, i.high),
      ...(ends.length > 0 ? [ends.map((v) => formatNumber(v)).join(' to ')] : []),
    ];
  });
  const hasInner = rows.some((row) => row.length > 3);
  const head = ['row', 'series', `${x.label}: value (from to)`, ...(hasInner ? ['inner from to'] : [])];
  const data = { head, rows: rows.map((row) => (hasInner && row.length < 4 ? [...row, '–'] : row)) };
  const legend = names.map((label, series) => ({ label, series }));
  return figure({
    title: `Plot: ${x.label}`,
    description,
    legend,
    draw: (size) => drawIntervals(plot, names, size),
    data,
  });
}
