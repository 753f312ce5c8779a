/** Several programs in turn: round by round, so that what slows a moment down slows all of them. */
import { type Answer, Lane, type LaneSpec } from './lane.ts';
import type { Context } from './measurement.ts';

/** What one of them did; or why it could not. */
export type Entry =
  | {
      readonly about: Answer;
      readonly rounds: readonly Answer[];
      /** Answers to what was asked after the rounds, by name. */
      readonly last: Readonly<Record<string, Answer>>;
    }
  | { readonly problem: string };

export interface RaceOptions<Name extends string> {
  /** Of each, all in turn; or whose round comes after whose. */
  readonly rounds: number | readonly Name[];
  /** What is asked for in a round; `round` unless given. */
  readonly request?: string;
  /** Requests after the rounds, by entrant; `end` needs no mention. */
  readonly after?: Readonly<Record<string, readonly string[]>>;
}

type Started = { lane: Lane; about: Answer; rounds: Answer[]; last: Record<string, Answer> } | { problem: string };

async function open(spec: LaneSpec): Promise<Started> {
  try {
    return { ...(await Lane.open(spec)), rounds: [], last: {} };
  } catch (error) {
    return { problem: (error as Error).message };
  }
}

/** Does `work` with an entrant that still runs; one that fails is out, with its problem. */
async function attempt(
  started: Map<string, Started>,
  name: string,
  work: (entrant: Exclude<Started, { problem: string }>) => Promise<void>,
): Promise<void> {
  const entrant = started.get(name)!;
  if ('problem' in entrant) return;
  try {
    await work(entrant);
  } catch (error) {
    await entrant.lane.kill();
    started.set(name, { problem: (error as Error).message });
  }
}

/** Rounds of one that takes long between groups of another's: A A B A A B A A. */
export function between<Name extends string>(outer: Name, inner: Name, rounds: number, group = 1): Name[] {
  const short = Array.from({ length: group }, () => outer);
  return [...short, ...Array.from({ length: rounds }, () => [inner, ...short]).flat()];
}

/** Opens all, lets them take turns A B A B ... unless told otherwise, ends them. */
export async function race<Name extends string>(
  context: Pick<Context, 'say'>,
  specs: Readonly<Record<Name, LaneSpec>>,
  { rounds, request = 'round', after }: RaceOptions<Name>,
): Promise<Record<Name, Entry>> {
  const names = Object.keys(specs) as Name[];
  const turns = typeof rounds === 'number' ? Array.from({ length: rounds }, () => names).flat() : rounds;
  const started = new Map<string, Started>();
  try {
    for (const name of names) started.set(name, await open(specs[name]));
    for (const [i, name] of turns.entries()) {
      context.say(`turn ${i + 1} of ${turns.length}: ${name}`);
      await attempt(started, name, async ({ lane, rounds: done }) => void done.push(await lane.ask(request)));
    }
    for (const name of names) {
      await attempt(started, name, async ({ lane, last }) => {
        for (const other of after?.[name] ?? []) last[other] = await lane.ask(other);
        last.end = await lane.end();
      });
    }
  } finally {
    for (const entrant of started.values()) if ('lane' in entrant) await entrant.lane.kill();
  }
  const result = names.map((name) => {
    const entrant = started.get(name)!;
    if ('problem' in entrant) return [name, entrant];
    const { about, rounds: done, last } = entrant;
    return [name, { about, rounds: done, last }];
  });
  return Object.fromEntries(result) as Record<Name, Entry>;
}

/** A figure of every round. @throws Error with the entrant's problem */
export function roundsOf(entry: Entry, key: string): number[] {
  if ('problem' in entry) throw new Error(entry.problem);
  return entry.rounds.map((round) => Number(round[key]));
}
