/**
 * The profiler: when each launch ran, by the device's own clock. A device times the launches that it is given while
 * the profiler is on, in their order; here they are matched with what was launched, and added up by shape.
 *
 * What it is not: it changes nothing of what a device computes, and it does not see what happens inside a kernel.
 */
import { KraitError } from '../core/index.ts';
import type { Command } from './command.ts';
import { type LaunchShape, shapeKey, shapeOf } from './profile-cost.ts';

/** Times that a device gives to its profiler. */
export interface TimeSource {
  /** Whether launches from now on are timed. */
  setTiming(on: boolean): void;
  /** Start and duration of the timed launches that have run since the last call, in order; nanoseconds since `setTiming(true)`. */
  takeTimes(): ArrayLike<number>;
  /** Resolves when everything launched has run. */
  sync(): Promise<void>;
}

export interface ShapeTimes extends LaunchShape {
  readonly calls: number;
  readonly seconds: number;
}

/** The first launches, one by one; `shape` is an index of `shapes`. */
export interface Spans {
  readonly shape: readonly number[];
  readonly startNs: readonly number[];
  readonly durationNs: readonly number[];
}

export interface Profile {
  /** Clock of the times, and what it measures. */
  readonly clock: string;
  /** From `start` until everything launched before `stop` had run. */
  readonly wallSeconds: number;
  /** Launches, each of them in `shapes`. */
  readonly launches: number;
  /** Launches that are alike, added up; in the order of their first. */
  readonly shapes: readonly ShapeTimes[];
  readonly spans: Spans;
}

/** Default number of spans that a profile keeps: enough to look at, few enough for a viewer. */
const MOST_SPANS = 100_000;
/** Launches between two looks at the device's times. */
const BATCH = 4096;

interface Tally {
  readonly shape: LaunchShape;
  calls: number;
  ns: number;
}

export class Profiler {
  private recording: Recording | null = null;

  /** @param clock one line: where the device takes its times */
  constructor(
    private readonly source: TimeSource,
    readonly clock: string,
  ) {}

  /** Whether launches are recorded; devices call `add` then. */
  get isOn(): boolean {
    return this.recording !== null;
  }

  /**
   * Records launches from now on.
   * @param mostSpans launches that are kept one by one, for a trace
   * @throws KraitError if it is on
   */
  start(mostSpans = MOST_SPANS): void {
    if (this.recording) throw new KraitError('the profiler is on already; stop it first');
    this.source.setTiming(true);
    this.recording = new Recording(mostSpans);
  }

  /** Called by the device for each launch that it has taken. */
  add(command: Command): void {
    const { recording } = this;
    if (recording && recording.add(command) % BATCH === 0) recording.match(this.source.takeTimes());
  }

  /** Waits for what was launched, and ends the recording. @throws KraitError if it is not on, or the device fails */
  async stop(): Promise<Profile> {
    const { recording, source } = this;
    if (!recording) throw new KraitError('the profiler is not on; start it first');
    try {
      await source.sync();
      recording.match(source.takeTimes());
    } finally {
      this.recording = null;
      source.setTiming(false);
    }
    return recording.end(this.clock);
  }
}

class Recording {
  private readonly startedMs = performance.now();
  private readonly indexes = new Map<string, number>();
  private readonly tallies: Tally[] = [];
  /** Shapes of launches whose times are not known yet, the oldest first. */
  private waiting: number[] = [];
  private launches = 0;
  private readonly spans = { shape: [] as number[], startNs: [] as number[], durationNs: [] as number[] };

  constructor(private readonly mostSpans: number) {}

  /** How many launches there are now. */
  add(command: Command): number {
    const key = shapeKey(command);
    let index = this.indexes.get(key);
    if (index === undefined) {
      index = this.tallies.push({ shape: shapeOf(command), calls: 0, ns: 0 }) - 1;
      this.indexes.set(key, index);
    }
    this.waiting.push(index);
    return ++this.launches;
  }

  /** Times of the oldest launches that wait for theirs. */
  match(times: ArrayLike<number>): void {
    const count = times.length / 2;
    for (let i = 0; i < count; i++) {
      const index = this.waiting[i];
      const tally = this.tallies[index];
      tally.calls++;
      tally.ns += times[2 * i + 1];
      if (this.spans.shape.length >= this.mostSpans) continue;
      this.spans.shape.push(index);
      this.spans.startNs.push(times[2 * i]);
      this.spans.durationNs.push(times[2 * i + 1]);
    }
    this.waiting = this.waiting.slice(count);
  }

  end(clock: string): Profile {
    if (this.waiting.length > 0)
      throw new KraitError(`the profiler lacks the times of ${this.waiting.length} launches`);
    return {
      clock,
      wallSeconds: (performance.now() - this.startedMs) / 1000,
      launches: this.launches,
      shapes: this.tallies.map(({ shape, calls, ns }) => ({ ...shape, calls, seconds: ns * 1e-9 })),
      spans: this.spans,
    };
  }
}

/** Times of work on the JavaScript thread itself, for devices that run there. */
export class HostTimes {
  isOn = false;
  private originMs = 0;
  private times: number[] = [];

  setTiming(on: boolean): void {
    if (on) this.originMs = performance.now();
    this.isOn = on;
  }

  /** @param startMs by `performance.now()` */
  push(startMs: number, durationMs: number): void {
    this.times.push((startMs - this.originMs) * 1e6, durationMs * 1e6);
  }

  takeTimes(): number[] {
    const { times } = this;
    this.times = [];
    return times;
  }
}
