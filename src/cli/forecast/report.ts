/** What `krait forecast` prints and writes as text: the forecast as CSV, and what is known about it in rows and lines. */
import Papa from 'papaparse';
import {
  type Analysis,
  dateAt,
  type FutureValues,
  formatDate,
  isDaily,
  type RegularSeries,
} from '../../forecast/index.ts';

export interface Outlook {
  readonly series: RegularSeries;
  readonly names: readonly string[];
  readonly levels: readonly number[];
  readonly future: FutureValues;
}

const levelName = (level: number): string => `q${level}`;

/** `unique_id,ds,forecast,q0.1,...`: a row for each variable and step, the form of long files. */
export function forecastCsv({ series, names, levels, future }: Outlook, targets: readonly string[]): string {
  const daily = isDaily(series.frequency);
  const rows = targets.flatMap((name) => {
    const k = names.indexOf(name);
    return Array.from(future.values[k], (value, h) => {
      const date = formatDate(dateAt(series.start, series.frequency, series.length + h), daily);
      return [name, date, value, ...future.quantiles.map((all) => all[k][h])];
    });
  });
  const fields = ['unique_id', 'ds', 'forecast', ...levels.map(levelName)];
  return `${Papa.unparse({ fields, data: rows }, { newline: '\n' })}\n`;
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

export const comparisonRows = ({ comparison }: Analysis): string[][] => [
  ['model', 'MSE', 'MAE', 'test windows'],
  ...comparison.map(({ model, mse, mae, windows }) => [model, mse.toFixed(4), mae.toFixed(4), String(windows)]),
];

export const coverageRows = ({ quantiles }: Analysis): string[][] => [
  ['quantile', 'measured'],
  ...quantiles.coverage.map(({ level, share }) => [percent(level), percent(share)]),
];

/** Text printed if there is no coverage. */
export const UNMEASURED =
  'How often the quantiles hold could not be measured: the series is too short, or nothing in it moves.';

/** Remark on a model that was never better than the linear forecast beside it; null for others. */
export function linearAlone({ fit, fitted }: Analysis): string | null {
  if (fit.model === 'ridge' || fitted.bestEpoch !== 0) return null;
  return `No epoch of ${fit.model} was better on the validation part than the linear forecast that it starts from: that is what is told.`;
}

/** Remark if another model is better in the comparison; null if none is. */
export function complaint({ comparison }: Analysis): string | null {
  const [own, ...others] = comparison;
  const better = others.filter(({ mse }) => mse <= own.mse).map(({ model }) => model);
  return better.length > 0 ? `${own.model} is not better than ${better.join(' and ')} on the test part.` : null;
}
