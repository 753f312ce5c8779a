/**
 * What the calendar tells of steps that are still to come: the hour of the day, the day of the week, the month. Each is a
 * number that a table of effects is read by.
 */
import { dateAt, type Frequency } from './dates.ts';

const DAY = 86_400_000;
const WEEK_START = 4; // 1970 began on a Thursday

const CODES = {
  hour: { size: 24, of: (ms: number) => Math.floor((((ms % DAY) + DAY) % DAY) / 3_600_000) },
  /** From Sunday on. */
  weekday: { size: 7, of: (ms: number) => (((Math.floor(ms / DAY) + WEEK_START) % 7) + 7) % 7 },
  month: { size: 12, of: (ms: number) => new Date(ms).getUTCMonth() },
} as const;

export type CalendarPart = keyof typeof CODES;
export const CALENDAR_PARTS = Object.keys(CODES) as CalendarPart[];

/** Values of a part. */
export const calendarSize = (part: CalendarPart): number => CODES[part].size;

/** The parts that change from step to step, and come again: no hours where rows are days apart, no months of years. */
export function calendarParts(frequency: Frequency): CalendarPart[] {
  if ('months' in frequency) return frequency.months % 12 === 0 ? [] : ['month'];
  const { ms } = frequency;
  const parts: CalendarPart[] = [];
  if (ms < DAY) parts.push('hour');
  if (ms < 7 * DAY) parts.push('weekday');
  return ms < 180 * DAY ? [...parts, 'month'] : parts;
}

/** Dates of steps in a row, of each sample of a batch. */
export interface StepDates {
  /** Date of the first step of each sample, in milliseconds since 1970. */
  readonly first: readonly number[];
  readonly frequency: Frequency;
}

/** [b, count]: the value of a part at each step. */
export function calendarCodes(part: CalendarPart, { first, frequency }: StepDates, count: number): Int32Array {
  const codes = new Int32Array(first.length * count);
  const { of } = CODES[part];
  first.forEach((start, i) => {
    for (let t = 0; t < count; t++) codes[i * count + t] = of(dateAt(start, frequency, t));
  });
  return codes;
}
