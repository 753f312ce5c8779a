/** Ctrl-C and its kin: the first asks the work to end well, the second ends the process. */
import type { Output } from './output.ts';

/** Exit code of a command that was interrupted. */
export const INTERRUPTED = 130;

/** Thrown by a command that was interrupted, after it has printed what there was: its exit code and nothing more. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  readonly exitCode = INTERRUPTED;
}

/** Ctrl-C, a polite kill, a terminal that is closed. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Runs `work` with a signal that fires at the first SIGINT, SIGTERM or SIGHUP; the second one ends the process at once.
 * @param ending what a person is told at the first one
 */
export async function withInterrupt<T>(
  output: Output,
  ending: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const stop = () => {
    if (controller.signal.aborted) process.exit(130);
    output.say(`\n${ending} (again to stop at once)`);
    controller.abort();
  };
  for (const name of SIGNALS) process.on(name, stop);
  try {
    return await work(controller.signal);
  } finally {
    for (const name of SIGNALS) process.removeListener(name, stop);
  }
}

/** Lets signals and timers in. A device that computes on the JavaScript thread would otherwise never do so. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
