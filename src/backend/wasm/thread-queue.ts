/**
 * The queue in shared memory: this side writes entries into a ring, worker 0 runs them (native/wasm/threads.cc).
 * Writing never waits for kernels, except when the ring is full; where this thread may not sleep, a full ring is
 * followed by a backlog here, which moves up when a worker says that there is room.
 */
import { EnvironmentError } from '../../core/index.ts';
import { HostTimes } from '../profile.ts';
import { type Instance, READ, RUN, WORDS, WRITE } from './instance.ts';
import { maySleep, startThread, type Thread } from './platform.ts';
import { closedError, Fifo, failedError, type Queue, Reads } from './queue.ts';
import { Staging } from './staging.ts';
import { type ThreadMessage, type ThreadStart, WORKER_SOURCE } from './worker-source.ts';

const STACK_BYTES = 2 ** 18;
const STAGING_BYTES = 2 ** 23;
const PIECE_BYTES = 2 ** 20; // of an upload: small enough that several fit in the staging ring
const SLEEP_MS = 1000; // then it looks for failures
/** Value of `wantsRoom` (native/wasm/queue.h). */
const SLEEPS = 1;
const LISTENS = 2;

type Item =
  | { kind: 'launch'; entry: Uint8Array; isTimed: boolean }
  | { kind: 'write'; address: number; data: Uint8Array; done: number }
  | { kind: 'read'; address: number; bytes: number; ticket: number };

export class ThreadQueue implements Queue {
  private readonly threads_: Thread[] = [];
  private readonly control: Int32Array;
  private readonly mayBlock: boolean;
  private readonly reads = new Reads((isAny) => this.threads_[0]?.keepAlive(isAny));
  private readonly backlog = new Fifo<Item>();
  private readonly staging: Staging;
  private tail = 0; // entries published; wraps at 32 bits, as all counters of the ring do
  private seenHead = 0;
  private readonly times = new HostTimes();
  private harvested = 0; // entries whose times were taken
  private untaken = 0; // timed launches whose times were not
  private over: Error | undefined;

  /** `mayBlock`: whether a full ring may put this thread to sleep, where that is possible at all. */
  private constructor(
    private readonly instance: Instance,
    readonly threads: number,
    mayBlock: boolean,
  ) {
    const { memory } = instance;
    this.control = new Int32Array(memory.memory.buffer); // the ring is in the part that is there from the start
    this.mayBlock = mayBlock && maySleep(this.control);
    this.staging = new Staging(STAGING_BYTES, (bytes) => memory.reserve(bytes));
  }

  /**
   * Starts the workers; resolves when all of them are ready.
   * @throws EnvironmentError if one cannot be started
   */
  static async start(instance: Instance, module: WebAssembly.Module, threads: number, mayBlock = true) {
    const queue = new ThreadQueue(instance, threads, mayBlock);
    const results = await Promise.allSettled(
      Array.from({ length: threads }, (_, part) => queue.startPart(module, part)),
    );
    const failure = results.find((result) => result.status === 'rejected');
    if (failure) {
      queue.close();
      throw failure.reason;
    }
    return queue;
  }

  private async startPart(module: WebAssembly.Module, part: number): Promise<void> {
    const { memory, layout } = this.instance;
    const stackTop = memory.reserve(STACK_BYTES) + STACK_BYTES;
    let tell: { ready(): void; failed(error: Error): void } | undefined;
    const started = new Promise<void>((resolve, reject) => {
      tell = { ready: resolve, failed: reject };
    });
    const failed = (reason: string) => {
      const remedies = ['ask for 0 threads', 'another device'];
      tell?.failed(new EnvironmentError(`wasm device: thread ${part} could not be started: ${reason}`, remedies));
      this.fail(failedError(`thread ${part}: ${reason}`));
    };
    const message = (data: Record<string, unknown>) => {
      const said = data as ThreadMessage;
      if ('ready' in said) tell?.ready();
      else if ('failed' in said) failed(said.failed);
      else this.hear(said);
    };
    const thread = await startThread(WORKER_SOURCE, { message, failed });
    this.threads_[part] = thread;
    const words = { failed: layout.failed / 4, head: layout.head / 4 };
    const { timeOrigin } = performance;
    const place = { module, memory: memory.memory, stackTop, part, threads: this.threads };
    const start: ThreadStart = { ...place, timeOrigin, ...words };
    thread.post(start);
    await started;
    thread.keepAlive(false);
  }

  // ---- what workers say ----------------------------------------------------------------------------------------

  private hear(said: ThreadMessage): void {
    if ('copy' in said) this.reads.resolve(said.ticket, said.copy);
    else if ('error' in said) this.reads.reject(said.ticket, failedError(said.error));
    if (this.backlog.size > 0 && !this.over) this.drain(false);
  }

  private fail(error: Error): void {
    if (this.over) return;
    this.over = error;
    this.backlog.clear();
    this.reads.rejectAll(error);
    for (const thread of this.threads_) thread?.stop();
  }

  close(): void {
    this.fail(closedError());
  }

  setTiming(on: boolean): void {
    this.times.setTiming(on);
  }

  takeTimes(): number[] {
    if (this.untaken > 0) this.harvest();
    return this.times.takeTimes();
  }

  // ---- writing entries -----------------------------------------------------------------------------------------

  private word(address: number): number {
    return Atomics.load(this.control, address / 4);
  }

  private hasRoom(): boolean {
    const { head, capacity } = this.instance.layout;
    this.seenHead = this.word(head);
    if (((this.tail - this.seenHead) | 0) >= capacity) return false;
    if (this.untaken > 0 && ((this.tail - this.harvested) | 0) >= capacity) this.harvest();
    return true;
  }

  /** Takes the times out of entries that have run, before those are used again. */
  private harvest(): void {
    const { memory, layout } = this.instance;
    const { ring, capacity, entryBytes, kindAt, timesAt } = layout;
    const head = this.word(layout.head);
    for (; ((head - this.harvested) | 0) > 0; this.harvested = (this.harvested + 1) | 0) {
      const at = ring + (this.harvested & (capacity - 1)) * entryBytes;
      const words = (at + kindAt) / 4;
      if (memory.words[words] !== RUN || memory.words[words + WORDS.ticket] === 0) continue;
      const [began, ended] = memory.doubles.subarray((at + timesAt) / 8, (at + timesAt) / 8 + 2);
      this.times.push(began, ended - began);
      this.untaken--;
    }
  }

  private isIdle(): boolean {
    return this.backlog.size === 0 && this.word(this.instance.layout.head) === this.tail;
  }

  private slot(): number {
    const { ring, capacity, entryBytes } = this.instance.layout;
    return ring + (this.tail & (capacity - 1)) * entryBytes;
  }

  private publish(): void {
    const { tail, asleep } = this.instance.layout;
    this.tail = (this.tail + 1) | 0;
    Atomics.store(this.control, tail / 4, this.tail);
    if (this.word(asleep) !== 0) Atomics.notify(this.control, tail / 4, 1);
  }

  private publishWords(kind: number, values: Partial<Record<keyof typeof WORDS, number>>): void {
    const { words } = this.instance.memory;
    const at = (this.slot() + this.instance.layout.kindAt) / 4;
    words[at] = kind;
    for (const [name, value] of Object.entries(values)) words[at + WORDS[name as keyof typeof WORDS]] = value;
    this.publish();
  }

  /** Moves an item into the ring; false if there is no room for all of it. */
  private place(item: Item): boolean {
    if (!this.hasRoom()) return false;
    const { bytes, words } = this.instance.memory;
    const { kindAt } = this.instance.layout;
    if (item.kind === 'launch') {
      const at = this.slot();
      bytes.set(item.entry, at);
      words[(at + kindAt) / 4 + WORDS.ticket] = item.isTimed ? 1 : 0;
      this.publish();
    } else if (item.kind === 'read') {
      this.publishWords(READ, { ticket: item.ticket, from: item.address, bytes: item.bytes });
    } else {
      while (item.done < item.data.byteLength) {
        if (!this.hasRoom()) return false;
        this.staging.release(this.seenHead);
        const piece = item.data.subarray(item.done, item.done + PIECE_BYTES);
        const from = this.staging.take(piece.byteLength, this.tail);
        if (from === undefined) return false;
        bytes.set(piece, from);
        this.publishWords(WRITE, { to: item.address + item.done, from, bytes: piece.byteLength });
        item.done += piece.byteLength;
      }
    }
    return true;
  }

  private drain(mayBlock: boolean): void {
    const { wantsRoom, head, failed } = this.instance.layout;
    while (this.backlog.size > 0) {
      if (this.place(this.backlog.first)) {
        this.backlog.shift();
      } else if (mayBlock) {
        Atomics.store(this.control, wantsRoom / 4, SLEEPS);
        Atomics.wait(this.control, head / 4, this.seenHead, SLEEP_MS);
        if (this.word(failed) !== 0) throw this.over ?? failedError('a thread has failed');
      } else {
        Atomics.store(this.control, wantsRoom / 4, LISTENS);
        if (this.word(head) === this.seenHead) return; // else there may be room by now, and nobody will say so
      }
    }
  }

  private queue(item: Item): void {
    this.backlog.push(item);
    this.drain(this.mayBlock);
  }

  private checkRunning(): void {
    if (this.over) throw this.over;
  }

  // ---- Queue ---------------------------------------------------------------------------------------------------

  launch(entry: Uint8Array): void {
    this.checkRunning();
    // Entries before the first timed one have no times.
    if (this.times.isOn && this.untaken++ === 0) this.harvested = this.tail;
    const item: Item = { kind: 'launch', entry, isTimed: this.times.isOn };
    if (this.backlog.size > 0 || !this.place(item)) this.queue({ ...item, entry: entry.slice() });
  }

  write(address: number, data: Uint8Array): void {
    this.checkRunning();
    if (data.byteLength === 0) return;
    if (this.isIdle()) {
      this.instance.memory.bytes.set(data, address);
      return;
    }
    this.staging.open();
    const item: Item = { kind: 'write', address, data, done: 0 };
    this.queue(item);
    // Whatever has not been staged yet must not follow changes of the caller's array.
    if (this.backlog.size > 0) item.data = data.slice();
  }

  read(address: number, bytes: number): Promise<Uint8Array> {
    this.checkRunning();
    if (this.isIdle()) {
      return Promise.resolve(new Uint8Array(this.instance.memory.bytes.subarray(address, address + bytes)));
    }
    const { ticket, promise } = this.reads.add();
    this.queue({ kind: 'read', address, bytes, ticket });
    return promise;
  }
}
