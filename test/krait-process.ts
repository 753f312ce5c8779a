/** `krait ARGS...` in a process of its own, for what one process cannot show: exit codes, signals, pipes that close. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { NODE_FLAGS } from '../src/core/testing/module-process.ts';

const SCRIPT = fileURLToPath(new URL('./interrupted-run.ts', import.meta.url));

/** Starts it. It is interrupted at a `moment` of `interrupted-run.ts`; at `never`, it runs as it is. */
export const startKrait = (moment: string, args: readonly string[]): ChildProcessByStdio<null, Readable, Readable> =>
  spawn(process.execPath, [...NODE_FLAGS, SCRIPT, moment, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NO_COLOR: '1' },
  });

export interface Ended {
  /** Exit code, or the signal that ended it. */
  end: number | string;
  stdout: string;
  stderr: string;
}

/** Starts it, and waits until it ends. */
export function runKrait(moment: string, args: readonly string[]): Promise<Ended> {
  const child = startKrait(moment, args);
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].on('data', (data) => {
      text[name] += data;
    });
  }
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ end: signal ?? code!, ...text }));
  });
}
