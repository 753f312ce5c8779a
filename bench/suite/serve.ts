/**
 * A program that is measured, as a child process: the suite sends it one request a line on standard input, it answers
 * each with one JSON document a line on standard output. Other programs (Python) speak the same, see `rivals`.
 *
 * Its options are JSON, the only argument. The first line it writes says that it is warm and what it is.
 */
import { createInterface } from 'node:readline';

/** Answers to requests by name; `round` does the work once and gives its `seconds`, `end` is the last request. */
export interface Contestant {
  /** Program, version and what else belongs on record. */
  readonly about: Readonly<Record<string, unknown>>;
  readonly requests: Readonly<Record<string, () => Promise<Readonly<Record<string, unknown>>>>>;
  close(): Promise<void> | void;
}

const say = (document: unknown) => process.stdout.write(`${JSON.stringify(document)}\n`);

/** Runs a contestant until it is told to end, or nobody is there any more. */
export async function serve<Options>(open: (options: Options) => Promise<Contestant>): Promise<void> {
  try {
    const contestant = await open(JSON.parse(process.argv[2] ?? '{}') as Options);
    say(contestant.about);
    for await (const name of createInterface({ input: process.stdin })) {
      const request = contestant.requests[name];
      if (!request && name !== 'end')
        throw new Error(`request ${name}: not one of ${Object.keys(contestant.requests)}`);
      say((await request?.()) ?? {});
      if (name === 'end') break;
    }
    await contestant.close();
  } catch (error) {
    console.error((error as Error).message);
    process.exitCode = 1;
  }
  process.stdin.destroy();
}

/** Runs `work`; how long it took in seconds. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return (performance.now() - startedMs) / 1000;
}

/** Most memory that this process has had so far, in bytes. */
export const peakRss = (): number => process.resourceUsage().maxRSS * 1024;
