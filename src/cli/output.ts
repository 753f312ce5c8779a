/**
 * What a command prints: with `--json` one document on stdout; people's text always on stderr, so that stdout
 * stays clean for pipes. Progress is a bar on a terminal and plain lines elsewhere.
 */
import { createRequire } from 'node:module';
import type cliProgress from 'cli-progress';
import pc from 'picocolors';

const require = createRequire(import.meta.url);

export interface Progress {
  /** Moves to `done` of the total, with a short note such as the loss. */
  update(done: number, note?: string): void;
  stop(): void;
}

export class Output {
  private deferred: string[] = [];

  constructor(readonly json: boolean) {}

  /** A line for people. */
  say(line = ''): void {
    this.flush();
    process.stderr.write(`${line}\n`);
  }

  /** A line that comes with the next one, or with progress: a command that fails before has its error alone to show. */
  defer(line: string): void {
    this.deferred.push(line);
  }

  /** Prints what was deferred. */
  flush(): void {
    for (const line of this.deferred.splice(0)) process.stderr.write(`${line}\n`);
  }

  /** A line about something that people may want to mend. */
  warn(line: string): void {
    process.stderr.write(`${pc.yellow('warning')} ${line}\n`);
  }

  /** The command's result: as JSON, or through `text` for people on stdout. */
  result(document: unknown, text?: () => string): void {
    this.flush();
    if (this.json) process.stdout.write(`${JSON.stringify(document)}\n`);
    else if (text) process.stdout.write(`${text()}\n`);
  }

  progress(label: string, total: number): Progress {
    this.flush();
    if (process.stderr.isTTY) return new Bar(label, total);
    return new Lines(label, total);
  }
}

class Bar implements Progress {
  private readonly bar: cliProgress.SingleBar;

  constructor(label: string, total: number) {
    const format = `${label.padEnd(12)} {bar} {percentage}% {value}/{total} {eta_formatted} left {note}`;
    const { SingleBar, Presets } = require('cli-progress') as typeof cliProgress; // only where there is a terminal
    this.bar = new SingleBar(
      { format, stream: process.stderr, hideCursor: true, clearOnComplete: false, barsize: 24, etaBuffer: 30 },
      Presets.shades_classic,
    );
    this.bar.start(total, 0, { note: '' });
  }

  update(done: number, note = ''): void {
    this.bar.update(done, { note });
  }

  stop(): void {
    this.bar.stop();
  }
}

/** At most one line for each tenth of the work. */
class Lines implements Progress {
  private lastTenth = -1;
  private readonly startedMs = Date.now();

  constructor(
    private readonly label: string,
    private readonly total: number,
  ) {}

  update(done: number, note = ''): void {
    const tenth = Math.floor((10 * done) / Math.max(1, this.total));
    if (tenth === this.lastTenth) return;
    this.lastTenth = tenth;
    const seconds = (Date.now() - this.startedMs) / 1000;
    process.stderr.write(`${this.label}: ${done}/${this.total} ${note} (${seconds.toFixed(0)} s)\n`);
  }

  stop(): void {}
}

/** The end of a run in words; it has no loss if it was complete before. */
export const lossText = (loss: number): string =>
  Number.isFinite(loss) ? `loss ${loss.toFixed(4)}` : 'nothing was left to do';

/** Output of a command; `--json` decides its form. */
export const outputOf = ({ json }: { json?: boolean }): Output => new Output(json ?? false);
