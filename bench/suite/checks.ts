/** Whether contestants compute the same: else their speed means nothing. */
import type { Check } from './measurement.ts';
import type { Entry } from './race.ts';
import { median } from './statistics.ts';

type Entries = Readonly<Record<string, Entry>>;

interface Comparison {
  readonly what: string;
  readonly entries: Entries;
  /** What an entrant found, once or in each round. */
  readonly read: (entry: Exclude<Entry, { problem: string }>) => readonly unknown[];
  /** Largest distance between any two, as a share of the largest: sums in f32 depend on their order. */
  readonly tolerance: number;
}

const LOSS_TOLERANCE = 1e-4;
const SUM_TOLERANCE = 1e-5;

const numberOf = (value: unknown): number => (typeof value === 'number' ? value : Number.NaN);

/** Holds all numbers of all entrants against each other. One that failed is left out: its figure tells the problem. */
export function sameNumbers({ what, entries, read, tolerance }: Comparison): Check {
  const found = Object.entries(entries).flatMap(([name, entry]) =>
    'problem' in entry ? [] : [{ name, values: read(entry).map(numberOf) }],
  );
  const text = `${what}: ${found.map(({ name, values }) => `${name} ${median(values).toPrecision(7)}`).join(', ')}`;
  if (found.length < 2) return { isOk: null, text: found.length ? text : `${what}: nobody ran` };
  const all = found.flatMap(({ values }) => values);
  const [apart, largest] = [Math.max(...all) - Math.min(...all), Math.max(...all.map(Math.abs))];
  const isOk = apart <= tolerance * largest; // not where one is NaN
  return { isOk, text: `${text}; apart by ${(apart / (largest || 1)).toExponential(0)}, at most ${tolerance}` };
}

/** The loss that each told when it was warm. */
export const sameLosses = (what: string, entries: Entries): Check =>
  sameNumbers({ what, entries, read: ({ about }) => [about.loss], tolerance: LOSS_TOLERANCE });

/** The sum of all log-likelihoods of each round. */
export const sameSums = (what: string, entries: Entries): Check =>
  sameNumbers({
    what: `${what}: sum of all log-likelihoods`,
    entries,
    read: ({ rounds }) => rounds.map(({ logprob }) => logprob),
    tolerance: SUM_TOLERANCE,
  });
