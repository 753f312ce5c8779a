/**
 * Dates of a series and the step between them. A date without a zone is read as UTC, so that no hour of a year is missing
 * or there twice; a step is a fixed time or whole months.
 */

const FORM =
  /^(\d{4})(?:[-/.](\d{1,2})(?:[-/.](\d{1,2}))?)?(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?)?\s*(Z|[+-]\d{2}:?\d{2})?$/;

/**
 * Milliseconds since 1970, UTC: `2016-07-01 00:00:00`, `2016-07-01`, `2016/7/1 13:00`, `2016-07`, `2016`, ISO 8601 with a zone.
 * NaN for anything else, a day that no month has, and years before 100, which are mistakes.
 */
export function parseDate(text: string): number {
  const parts = FORM.exec(text.trim());
  if (!parts) return Number.NaN;
  const [year, month, day, hour, minute, second] = parts
    .slice(1, 7)
    .map((p, i) => Number(p ?? (i === 1 || i === 2 ? 1 : 0)));
  const milli = Math.floor(Number(`0.${parts[7] ?? 0}`) * 1000);
  if (year < 100 || month < 1 || month > 12 || hour > 23 || minute > 59 || second > 59) return Number.NaN;
  const ms = Date.UTC(year, month - 1, day, hour, minute, second, milli);
  if (new Date(ms).getUTCDate() !== day) return Number.NaN;
  const zone = /^([+-])(\d{2}):?(\d{2})$/.exec(parts[8] ?? '');
  if (!zone) return ms;
  return ms - (zone[1] === '-' ? -1 : 1) * (Number(zone[2]) * 60 + Number(zone[3])) * 60_000;
}

/** `2016-07-01 00:00:00`, or the day alone where the time is midnight and `isDaily`. */
export function formatDate(ms: number, isDaily = false): string {
  const text = new Date(ms).toISOString().slice(0, 19).replace('T', ' ');
  return isDaily ? text.slice(0, 10) : text;
}

/**
 * The distance of neighbours: a fixed time in milliseconds, or whole months. `day` is the day of the month where the first
 * date does not tell it: the last of its own month, but not of others (the 28th from a February on).
 */
export type Frequency = { readonly ms: number } | { readonly months: number; readonly day?: number };

const DAY = 86_400_000;
const UNITS = [
  ['d', DAY],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1000],
  ['ms', 1],
] as const;

/** `1 h`, `15 min`, `7 d`, `3 months`. */
export function describeFrequency(frequency: Frequency): string {
  if ('months' in frequency) return `${frequency.months} month${frequency.months > 1 ? 's' : ''}`;
  const [name, size] = UNITS.find(([, unit]) => frequency.ms % unit === 0) ?? ['ms', 1];
  return `${frequency.ms / size} ${name}`;
}

export const isDaily = (frequency: Frequency): boolean => 'months' in frequency || frequency.ms % DAY === 0;

/** Days of a month, from 0; months beyond a year count on. */
const daysOf = (year: number, month: number): number => new Date(Date.UTC(year, month + 1, 0)).getUTCDate();

function isLastDay(ms: number): boolean {
  const date = new Date(ms);
  return date.getUTCDate() === daysOf(date.getUTCFullYear(), date.getUTCMonth());
}

/**
 * The date `steps` after `start`. Months keep the day of `start`, and the last day of a month stays the last, unless the
 * frequency has a day of its own.
 */
export function dateAt(start: number, frequency: Frequency, steps: number): number {
  if ('ms' in frequency) return start + steps * frequency.ms;
  const from = new Date(start);
  const month = from.getUTCMonth() + steps * frequency.months;
  const year = from.getUTCFullYear();
  const day = frequency.day ?? (isLastDay(start) ? 31 : from.getUTCDate());
  return Date.UTC(year, month, Math.min(day, daysOf(year, month))) + (((start % DAY) + DAY) % DAY);
}

/** How many steps after `start` a date stands; not a whole number where it is off the grid. */
export function stepsBetween(start: number, date: number, frequency: Frequency): number {
  if ('ms' in frequency) return (date - start) / frequency.ms;
  const [a, b] = [new Date(start), new Date(date)];
  const months = (b.getUTCFullYear() - a.getUTCFullYear()) * 12 + b.getUTCMonth() - a.getUTCMonth();
  const steps = Math.round(months / frequency.months);
  return dateAt(start, frequency, steps) === date ? steps : steps + 0.5;
}

/** The step that most neighbours of sorted dates have; null for fewer than two dates. */
export function detectFrequency(sorted: ArrayLike<number>): Frequency | null {
  const counts = new Map<number, number>();
  for (let i = 1; i < sorted.length; i++) {
    const step = sorted[i] - sorted[i - 1];
    if (step > 0) counts.set(step, (counts.get(step) ?? 0) + 1);
  }
  if (counts.size === 0) return null;
  const [step] = [...counts].reduce((best, one) =>
    one[1] > best[1] || (one[1] === best[1] && one[0] < best[0]) ? one : best,
  );
  const months = Math.round(step / (30.436875 * DAY));
  if (months < 1 || step < 28 * DAY) return { ms: step };
  const day = Array.from(sorted).reduce((most, ms) => Math.max(most, new Date(ms).getUTCDate()), 1);
  const isMonthly = [{ months }, { months, day }].some((frequency) => areMostly(sorted, frequency));
  if (!isMonthly) return { ms: step };
  const isTold = !isLastDay(sorted[0]) || Array.from(sorted).every(isLastDay);
  return isTold ? { months } : { months, day };
}

/** True if four of five dates are one step after the date before. */
function areMostly(sorted: ArrayLike<number>, frequency: Frequency): boolean {
  let hits = 0;
  for (let i = 1; i < sorted.length; i++) hits += Number(dateAt(sorted[i - 1], frequency, 1) === sorted[i]);
  return hits >= 0.8 * (sorted.length - 1);
}
