/**
 * Child processes for the scripts: run one to its end, hand signals on, collect its output if asked.
 * Plain Node, built-in modules only, because it runs before anything is installed.
 */
import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A failure whose message is one line that says what to do; the scripts print it without a stack. */
export class Remedy extends Error {
  /** @param {string} message @param {number} exitCode */
  constructor(message, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];
const CODES = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143, SIGKILL: 137 };

/**
 * Runs a program until it ends. Ctrl-C and termination reach it too, and it decides when it is done.
 * @param {string} command
 * @param {string[]} args
 * @param {object} [options]
 * @param {string} [options.cwd]
 * @param {NodeJS.ProcessEnv} [options.env]
 * @param {boolean} [options.shell]
 * @param {'inherit' | 'stderr' | 'collect' | ((chunk: Buffer) => void)} [options.stdout] `stderr` sends standard
 *   output to ours of errors; `collect` returns both; a function gets the chunks of standard output.
 * @returns {Promise<{ code: number, output: string, signal: string | null }>} `signal` is what stopped it, or what we
 *   were sent while it failed, and `code` fits that; code 127 if it cannot be started
 */
export function runChild(command, args, { cwd, env, shell = false, stdout = 'inherit' } = {}) {
  const pipes = stdout === 'collect' || typeof stdout === 'function';
  const stdio = [
    stdout === 'inherit' ? 'inherit' : 'ignore',
    stdout === 'stderr' ? 2 : pipes ? 'pipe' : 'inherit',
    stdout === 'collect' ? 'pipe' : 'inherit',
  ];
  return new Promise((done) => {
    const child = spawn(command, args, { cwd, env, shell, stdio });
    const chunks = [];
    let received = null;
    const forward = SIGNALS.map((name) => [
      name,
      () => {
        received = name;
        child.kill(name);
      },
    ]);
    for (const [signal, handler] of forward) process.on(signal, handler);
    const finish = (code, signal, extra = '') => {
      for (const [name, handler] of forward) process.off(name, handler);
      done({ code, signal, output: Buffer.concat(chunks).toString('utf8') + extra });
    };
    child.stdout?.on('data', (chunk) => (typeof stdout === 'function' ? stdout(chunk) : chunks.push(chunk)));
    child.stderr?.on('data', (chunk) => chunks.push(chunk));
    child.once('error', (error) => finish(127, null, error.message));
    child.once('close', (code, signal) => {
      const stopped = signal ?? (code === 0 ? null : received);
      finish(stopped ? (CODES[stopped] ?? 1) : code, stopped);
    });
  });
}

/** Runs a script of this repository with this Node. Same options and result as `runChild`. */
export const runNode = (args, options) => runChild(process.execPath, args, options);

/**
 * Runs a script's job with the words of the command line, if the script is what Node was started with. A failure that was
 * foreseen is one line on standard error.
 * @param {string} url the script's `import.meta.url`
 * @param {(words: string[]) => Promise<void>} job
 */
export async function runScript(url, job) {
  if (!process.argv[1] || resolve(process.argv[1]) !== fileURLToPath(url)) return;
  try {
    await job(process.argv.slice(2));
  } catch (error) {
    console.error(`krait: ${error instanceof Remedy ? error.message : `unexpected: ${error.stack}`}`);
    process.exitCode = error.exitCode ?? 1;
  }
}
