/**
 * Dates as files have them, and the distance between two rows. All times are milliseconds since 1970 in UTC: a date
 * without a zone is taken as it stands, so that a day has 24 hours everywhere.
 */

const ISO =
  /^(\d{4})[-/](\d{1,2})(?:[-/](\d{1,2})(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,6}))?)?)?)?\s*(Z|[+-]\d{2}:?\d{2})?$/;

const MS = { second: 1000, minute: 60_000, hour: 3_600_000, day: 86_400_000 } as const;

/** Minutes east of UTC of `Z`, `+02:00` or `-0500`. */
function zoneMinutes(zone: string | undefined): number {
  if (!zone || zone === 'Z') return 0;
  const digits = zone.slice(1).replace(':', '');
  return (zone[0] === '-' ? -1 : 1) * (Number(digits.slice(0, 2)) * 60 + Number(digits.slice(2)));
}

/** `2016-07-01 13:00:00`, `2016-07-01T13:00Z`, `2016/7/1`, `2016-07` in milliseconds; NaN for anything else. */
export function parseDate(text: string): number {
  const match = ISO.exec(text.trim());
  if (!match) return Number.NaN;
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map((part) => Number(part ?? 0));
  const ms = Math.floor(Number(`0.${match[7] ?? 0}`) * 1000);
  const time = Date.UTC(year, month - 1, match[3] === undefined ? 1 : day, hour, minute, second, ms);
  const read = new Date(time);
  const isReal = read.getUTCMonth() === month - 1 && hour < 24 && minute < 60 && second < 60;
  return isReal ? time - zoneMinutes(match[8]) * MS.minute : Number.NaN;
}

/** `2016-07-01 13:00:00`, the hours left out where `isDaily`. */
export function formatDate(time: number, isDaily = false): string {
  const iso = new Date(time).toISOString();
  return isDaily ? iso.slice(0, 10) : iso.slice(0, 19).replace('T', ' ');
}

/** The distance between rows: a number of milliseconds, or of months, which have no fixed length. */
export interface Frequency {
  readonly unit: 'ms' | 'month';
  readonly step: number;
}

/** The time `count` rows after `time`; the last day of a month stays the last one. */
export function addSteps(time: number, { unit, step }: Frequency, count: number): number {
  if (unit === 'ms') return time + step * count;
  const at = new Date(time);
  const lastDay = (year: number, month: number) => new Date(Date.UTC(year, month + 1, 0)).getUTCDate();
  const isLast = at.getUTCDate() === lastDay(at.getUTCFullYear(), at.getUTCMonth());
  const months = at.getUTCFullYear() * 12 + at.getUTCMonth() + step * count;
  const [year, month] = [Math.floor(months / 12), ((months % 12) + 12) % 12];
  const day = isLast ? lastDay(year, month) : Math.min(at.getUTCDate(), lastDay(year, month));
  return Date.UTC(year, month, day) + (time % MS.day);
}

/** Rows from `from` to `to`; a whole number where both stand on the grid of the frequency. */
export function stepsBetween(from: number, to: number, frequency: Frequency): number {
  if (frequency.unit === 'ms') return (to - from) / frequency.step;
  const [a, b] = [new Date(from), new Date(to)];
  const months = (b.getUTCFullYear() - a.getUTCFullYear()) * 12 + b.getUTCMonth() - a.getUTCMonth();
  const count = months / frequency.step;
  return Number.isInteger(count) && addSteps(from, frequency, count) === to ? count : Number.NaN;
}

/** Months that a distance in days can be. */
const MONTHS = [
  { months: 1, low: 28, high: 31 },
  { months: 3, low: 89, high: 92 },
  { months: 12, low: 365, high: 366 },
];

/** The most frequent distance between neighbours of ascending, distinct times (at least 2). */
export function detectFrequency(times: ArrayLike<number>): Frequency {
  const counts = new Map<number, number>();
  for (let i = 1; i < times.length; i++) {
    const gap = times[i] - times[i - 1];
    counts.set(gap, (counts.get(gap) ?? 0) + 1);
  }
  const [step] = [...counts].reduce((a, b) => (b[1] > a[1] || (b[1] === a[1] && b[0] < a[0]) ? b : a));
  const days = step / MS.day;
  const months = MONTHS.find(({ low, high }) => days >= low && days <= high)?.months;
  if (months !== undefined) {
    const monthly: Frequency = { unit: 'month', step: months };
    const steps = Array.from(times).slice(1);
    if (steps.every((time, i) => Number.isInteger(stepsBetween(times[i], time, monthly)))) return monthly;
  }
  return { unit: 'ms', step };
}

/** `1 hour`, `15 minutes`, `3 months`. */
export function frequencyText({ unit, step }: Frequency): string {
  const name = (['day', 'hour', 'minute', 'second'] as const).find((u) => step % MS[u] === 0);
  const [count, word] = unit === 'month' ? [step, 'month'] : name ? [step / MS[name], name] : [step, 'millisecond'];
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}

/** Rows of the seasons that series of this frequency usually have: a day, a week, a year. */
export function usualSeason({ unit, step }: Frequency): number {
  if (unit === 'month') return Math.max(1, Math.round(12 / step));
  if (step < MS.day) return Math.max(1, Math.round(MS.day / step));
  return step === MS.day ? 7 : step === 7 * MS.day ? 52 : 1;
}
