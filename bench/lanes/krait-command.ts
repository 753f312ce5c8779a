/** Krait through its command: every round is a process of `krait bench` with one round of its own. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type Contestant, serve } from '../suite/serve.ts';

export interface BenchCommandOptions {
  readonly model: string;
  readonly dtype: string;
  readonly threads: number;
  readonly what: string;
  readonly tokens: number;
}

interface Printed {
  readonly device: string;
  readonly variant: string;
  readonly results: readonly Readonly<Record<string, unknown>>[];
}

async function open({ model, dtype, threads, what, tokens }: BenchCommandOptions): Promise<Contestant> {
  const flags = Object.entries({ model, dtype, threads, what, tokens, rounds: 1 });
  const args = ['bin/krait.mjs', 'bench', ...flags.flatMap(([name, value]) => [`--${name}`, String(value)]), '--json'];
  const run = async (): Promise<Printed> => {
    const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: 2 ** 26 }).catch((error) => {
      throw new Error(
        `not available: ${String(error.stderr ?? error.message)
          .trim()
          .split('\n')
          .pop()}`,
      );
    });
    return JSON.parse(stdout) as Printed;
  };
  const { device, variant } = await run();
  return {
    about: { program: `Krait ${device} ${variant}, ${threads} threads`, dtype, work: what, tokens },
    requests: { round: async () => (await run()).results[0] },
    close: () => {},
  };
}

await serve(open);
