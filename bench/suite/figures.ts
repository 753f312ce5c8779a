/** Figures from what entrants of a race did. A problem of one of them becomes the figure's. */
import type { KraitOptions } from '../lanes/krait.ts';
import { type LaneSpec, script } from './lane.ts';
import type { Context, Figure, ProfileLine } from './measurement.ts';
import { type Entry, roundsOf } from './race.ts';
import { around, median, medianRatio, spread } from './statistics.ts';

/** Krait on the native device with all threads, unless told otherwise. */
export const krait = (
  context: Pick<Context, 'threads'>,
  options: Omit<KraitOptions, 'device' | 'threads'> & Partial<KraitOptions>,
): LaneSpec => script('lanes/krait.ts', { device: 'native', threads: context.threads, ...options });

/** What a figure is about, and what was asked of it. */
export type Subject = Pick<Figure, 'row' | 'what' | 'unit' | 'least' | 'most'>;

/** The figure that `compute` gives; not measured if it throws. */
export function figure(subject: Subject, compute: () => { value: number; from: string }): Figure {
  try {
    return { ...subject, ...compute() };
  } catch (error) {
    return { ...subject, value: null, problem: (error as Error).message };
  }
}

const digits = (value: number): string => value.toPrecision(value >= 1000 ? 4 : 3);

/** `905 tok/s (+-2 %)`; one round says nothing of how far rounds differ. */
export function rateText(values: readonly number[], unit: string): string {
  const aside = values.length === 1 ? 'one round' : `+-${(100 * spread(values)).toFixed(0)} %`;
  return `${Number(digits(median(values)))} ${unit} (${aside})`;
}

export interface Sides {
  readonly over: Entry;
  readonly under: Entry;
  /** Names of the two in the text. */
  readonly names: readonly [string, string];
}

/** How much faster `over` is than `under`, by tokens per second of rounds that followed one another. */
export const speedRatio = (subject: Omit<Subject, 'unit'>, { over, under, names }: Sides): Figure =>
  figure({ ...subject, unit: 'x' }, () => {
    const [a, b] = [over, under].map((entry) => roundsOf(entry, 'tokensPerSecond'));
    const from = `${names[0]} ${rateText(a, 'tok/s')}, ${names[1]} ${rateText(b, 'tok/s')}`;
    return { value: medianRatio(a, b), from };
  });

/** Rounds of `over`, which take long, over those of `under` just before and after each. */
export const betweenRatio = (
  subject: Omit<Subject, 'unit'>,
  { over, under, names }: Sides,
  key: 'seconds' | 'tokensPerSecond',
): Figure =>
  figure({ ...subject, unit: 'x' }, () => {
    const [a, b] = [over, under].map((entry) => roundsOf(entry, key));
    const unit = key === 'seconds' ? 's' : 'tok/s';
    const from = `${names[0]} ${rateText(a, unit)}, ${names[1]} ${rateText(b, unit)}`;
    return { value: medianRatio(a, around(b, a.length)), from };
  });

type Roof = 'flopsPerSecond' | 'bytesPerSecond';

/** Of each round the mean of a roof before and after it. */
function roofsOf(entry: Entry, key: Roof): number[] {
  if ('problem' in entry) throw new Error(entry.problem);
  return entry.rounds.map(({ roofs }) => {
    const [before, after] = roofs as Readonly<Record<Roof, number>>[];
    return (before[key] + after[key]) / 2;
  });
}

const GIGA: Readonly<Record<Roof, string>> = { flopsPerSecond: 'GFLOP/s', bytesPerSecond: 'GB/s' };

/** Share of a roof that rounds reach, each by what was measured next to it. */
export const roofShare = (subject: Omit<Subject, 'unit'>, entry: Entry, key: Roof): Figure =>
  figure({ ...subject, unit: '%' }, () => {
    const [reached, roofs] = [roundsOf(entry, key), roofsOf(entry, key)];
    const [a, b] = [reached, roofs].map((values) => values.map((value) => value / 1e9));
    return { value: medianRatio(reached, roofs), from: `${rateText(a, GIGA[key])} of ${rateText(b, GIGA[key])}` };
  });

/** Programs of entries, each once. */
export const programsOf = (entries: Readonly<Record<string, Entry>>): string[] => [
  ...new Set(Object.values(entries).flatMap((entry) => ('about' in entry ? [String(entry.about.program)] : []))),
];

const MOST_LINES = 8;

/** The longest kernels of a profile that an entrant gave; empty if it gave none. */
export function profileOf(entry: Entry): ProfileLine[] {
  const kernels = 'last' in entry ? entry.last.profile?.kernels : undefined;
  return ((kernels ?? []) as ProfileLine[]).slice(0, MOST_LINES);
}

/** A number that an entrant gave after the rounds. @throws Error with its problem */
export function lastNumber(entry: Entry, request: string, key: string): number {
  if ('problem' in entry) throw new Error(entry.problem);
  return Number(entry.last[request][key]);
}
