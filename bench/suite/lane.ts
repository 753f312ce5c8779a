/** The suite's end of a child process that is measured; `serve.ts` is the other. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export type Answer = Readonly<Record<string, unknown>>;

/** A program to run, and its options. */
export interface LaneSpec {
  readonly command: readonly string[];
  readonly options: unknown;
  /** For an answer; `TIMEOUT_MS` unless given. */
  readonly timeoutMs?: number;
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Nothing that is measured takes longer; a child that does is ended. */
const TIMEOUT_MS = 15 * 60_000;

/** A TypeScript file of `bench` as a lane. */
export const script = (path: string, options: unknown): LaneSpec => ({
  command: [process.execPath, '--import', 'tsx', `bench/${path}`],
  options,
});

/** A child that is warm and waits. */
export class Lane {
  private errors = '';
  private ended: string | null = null;
  /** Why it is being ended. */
  private reason: string | null = null;
  private waiting: { resolve(answer: Answer): void; reject(error: Error): void } | null = null;

  private constructor(
    private readonly child: ChildProcess,
    private readonly timeoutMs: number,
  ) {
    child.stdin!.on('error', () => {}); // a child that is gone is noticed by its end
    createInterface({ input: child.stdout! }).on('line', (line) => {
      if (line.startsWith('{')) this.settle((waiting) => waiting.resolve(JSON.parse(line)));
    });
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.errors = (this.errors + text).slice(-2000);
    });
    const end = (why: string) => {
      this.ended ??= why;
      this.settle((waiting) => waiting.reject(new Error(why)));
    };
    child.on('error', (error) => end(error.message));
    child.on('close', (code, signal) =>
      end(this.reason ?? (lastLine(this.errors) || `it ended with ${signal ?? `exit code ${code}`}`)),
    );
  }

  /** @throws Error in one line if it ends before it is ready */
  static async open({ command, options, timeoutMs = TIMEOUT_MS }: LaneSpec): Promise<{ lane: Lane; about: Answer }> {
    const [program, ...rest] = command;
    const child = spawn(program, [...rest, JSON.stringify(options)], { cwd: ROOT, stdio: ['pipe', 'pipe', 'pipe'] });
    const lane = new Lane(child, timeoutMs);
    return { lane, about: await lane.answer() };
  }

  /** Sends a request; its answer. @throws Error in one line if the child fails */
  ask(name: string): Promise<Answer> {
    this.child.stdin!.write(`${name}\n`);
    return this.answer();
  }

  /** Its last words; waits until it is gone. */
  async end(): Promise<Answer> {
    const last = await this.ask('end');
    await this.gone();
    return last;
  }

  /** Ends it whatever it does. */
  async kill(): Promise<void> {
    if (this.ended !== null) return;
    this.child.kill('SIGKILL');
    await this.gone();
  }

  private gone(): Promise<void> {
    return this.ended === null
      ? new Promise((resolve) => this.child.once('close', () => resolve()))
      : Promise.resolve();
  }

  private answer(): Promise<Answer> {
    if (this.ended !== null) return Promise.reject(new Error(this.ended));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.reason = `no answer in ${this.timeoutMs / 60_000} minutes`;
        this.child.kill('SIGKILL');
      }, this.timeoutMs);
      const settled =
        <T>(act: (value: T) => void) =>
        (value: T) => {
          clearTimeout(timer);
          act(value);
        };
      this.waiting = { resolve: settled(resolve), reject: settled(reject) };
    });
  }

  private settle(act: (waiting: NonNullable<Lane['waiting']>) => void): void {
    const { waiting } = this;
    this.waiting = null;
    if (waiting) act(waiting);
  }
}

const lastLine = (text: string): string => text.trim().split('\n').pop()!.trim();
