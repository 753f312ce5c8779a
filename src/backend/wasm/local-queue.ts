/**
 * The queue without threads: entries run on this thread, a few milliseconds at a time, between which timers and input
 * have their turn. Kernels are cut by their own units, so that even a long one does not hold them up.
 */
import { HostTimes } from '../profile.ts';
import type { Instance } from './instance.ts';
import { soon } from './platform.ts';
import { closedError, Fifo, failedError, type Queue, Reads } from './queue.ts';

const SLICE_MS = 8;
const RANGE_MS = 1; // ranges of units are doubled until they take so long
/** Entries that may wait; more are made room for at once. */
const MOST_ENTRIES = 4096;

type Item =
  | { kind: 'launch'; entry: Uint8Array; isTimed: boolean }
  | { kind: 'write'; address: number; data: Uint8Array }
  | { kind: 'read'; address: number; bytes: number; ticket: number };

/** Progress of the running kernel. */
interface Progress {
  phase: number;
  unit: number;
  /** Units of the next range. */
  range: number;
}

/** When the running kernel began, and how long it has run. */
interface Spent {
  beganMs: number;
  ms: number;
}

export class LocalQueue implements Queue {
  readonly threads = 1;
  private readonly items = new Fifo<Item>();
  private readonly reads = new Reads((isAny) => this.keepAlive?.(isAny));
  private keepAlive: ((on: boolean) => void) | undefined;
  private progress: Progress | undefined;
  private spent: Spent | undefined;
  private readonly times = new HostTimes();
  private over: Error | undefined;

  constructor(private readonly instance: Instance) {}

  private queue(item: Item): void {
    this.items.push(item);
    while (this.items.size > MOST_ENTRIES) this.step();
    this.schedule();
  }

  private schedule(): void {
    if (this.keepAlive || this.items.size === 0 || this.over) return;
    this.keepAlive = soon(() => this.slice());
    this.keepAlive(this.reads.size > 0);
  }

  private slice(): void {
    this.keepAlive = undefined;
    const end = performance.now() + SLICE_MS;
    try {
      while (this.items.size > 0 && performance.now() < end) this.step();
    } catch {
      // whoever waits has been told
    }
    this.schedule();
  }

  /** Runs the first entry, or a range of its units. */
  private step(): void {
    const item = this.items.first;
    const { bytes } = this.instance.memory;
    if (item.kind === 'launch') {
      if (!(item.isTimed ? this.runTimed(item.entry) : this.runRange(item.entry))) return;
    } else if (item.kind === 'write') {
      bytes.set(item.data, item.address);
    } else {
      this.reads.resolve(item.ticket, bytes.slice(item.address, item.address + item.bytes));
    }
    this.items.shift();
  }

  private runTimed(entry: Uint8Array): boolean {
    const startMs = performance.now();
    this.spent ??= { beganMs: startMs, ms: 0 };
    const isDone = this.runRange(entry);
    this.spent.ms += performance.now() - startMs;
    if (!isDone) return false;
    this.times.push(this.spent.beganMs, this.spent.ms);
    this.spent = undefined;
    return true;
  }

  /** True when the entry is done. */
  private runRange(entry: Uint8Array): boolean {
    const { exports, layout, memory } = this.instance;
    const at = layout.ring; // the ring has no other use here
    if (!this.progress) {
      memory.bytes.set(entry, at);
      this.progress = { phase: 0, unit: 0, range: 0 };
    }
    const now = this.progress;
    if (now.phase < exports.phases(at)) {
      const units = exports.units(at, now.phase);
      if (now.range === 0) now.range = Math.max(1, exports.grain(at, now.phase));
      const end = Math.min(units, now.unit + now.range);
      const start = performance.now();
      if (now.unit < end) this.guarded(() => exports.run(at, now.phase, now.unit, end));
      if (performance.now() - start < RANGE_MS) now.range *= 2;
      now.unit = end;
      if (end >= units) this.progress = { phase: now.phase + 1, unit: 0, range: 0 };
    }
    if (this.progress.phase < exports.phases(at)) return false;
    this.progress = undefined;
    return true;
  }

  private guarded(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.fail(failedError((error as Error).message));
      throw this.over;
    }
  }

  private fail(error: Error): void {
    if (this.over) return;
    this.over = error;
    this.items.clear();
    this.reads.rejectAll(error);
  }

  close(): void {
    this.fail(closedError());
  }

  setTiming(on: boolean): void {
    this.times.setTiming(on);
  }

  takeTimes(): number[] {
    return this.times.takeTimes();
  }

  private checkRunning(): void {
    if (this.over) throw this.over;
  }

  // ---- Queue ---------------------------------------------------------------------------------------------------

  launch(entry: Uint8Array): void {
    this.checkRunning();
    this.queue({ kind: 'launch', entry: entry.slice(), isTimed: this.times.isOn });
  }

  write(address: number, data: Uint8Array): void {
    this.checkRunning();
    if (this.items.size === 0) this.instance.memory.bytes.set(data, address);
    else this.queue({ kind: 'write', address, data: data.slice() });
  }

  read(address: number, bytes: number): Promise<Uint8Array> {
    this.checkRunning();
    if (this.items.size === 0) return Promise.resolve(this.instance.memory.bytes.slice(address, address + bytes));
    const { ticket, promise } = this.reads.add();
    this.queue({ kind: 'read', address, bytes, ticket });
    return promise;
  }
}
