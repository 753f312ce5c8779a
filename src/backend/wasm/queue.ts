/** Queue of the device, with threads (thread-queue.ts) or without (local-queue.ts). */
import { KraitError } from '../../core/index.ts';

export interface Queue {
  /** Threads that share a kernel. */
  readonly threads: number;
  /** Queues a kernel by its planned entry, which is copied. */
  launch(entry: Uint8Array): void;
  /** Copies `data` before it returns; the write takes its turn. */
  write(address: number, data: Uint8Array): void;
  /** The bytes as they are after everything that was queued before. */
  read(address: number, bytes: number): Promise<Uint8Array>;
  /** Whether launches from now on are timed. */
  setTiming(on: boolean): void;
  /** Start and duration of timed launches that have run since the last call: nanoseconds since `setTiming(true)`. */
  takeTimes(): number[];
  /** Drops what has not run; reads of it are rejected. */
  close(): void;
}

interface Waiting {
  resolve(bytes: Uint8Array): void;
  reject(error: Error): void;
}

/** Promises of reads that are in the queue. */
export class Reads {
  private readonly waiting = new Map<number, Waiting>();
  private last = 0;

  /** `changed` hears when the first is added and when the last is gone. */
  constructor(private readonly changed: (isAny: boolean) => void) {}

  get size(): number {
    return this.waiting.size;
  }

  add(): { ticket: number; promise: Promise<Uint8Array> } {
    this.last = (this.last % 0xffff_ffff) + 1; // never 0
    const ticket = this.last;
    const promise = new Promise<Uint8Array>((resolve, reject) => this.waiting.set(ticket, { resolve, reject }));
    if (this.waiting.size === 1) this.changed(true);
    return { ticket, promise };
  }

  private take(ticket: number): Waiting | undefined {
    const found = this.waiting.get(ticket);
    if (this.waiting.delete(ticket) && this.waiting.size === 0) this.changed(false);
    return found;
  }

  resolve(ticket: number, bytes: Uint8Array): void {
    this.take(ticket)?.resolve(bytes);
  }

  reject(ticket: number, error: Error): void {
    this.take(ticket)?.reject(error);
  }

  rejectAll(error: Error): void {
    for (const ticket of [...this.waiting.keys()]) this.reject(ticket, error);
  }
}

/** First in, first out, without moving what stays. */
export class Fifo<T> {
  private items: T[] = [];
  private at = 0;

  get size(): number {
    return this.items.length - this.at;
  }
  get first(): T {
    return this.items[this.at];
  }
  push(item: T): void {
    this.items.push(item);
  }
  shift(): void {
    this.at++;
    if (this.at < 1024 || this.at * 2 < this.items.length) return;
    this.items = this.items.slice(this.at);
    this.at = 0;
  }
  clear(): void {
    this.items = [];
    this.at = 0;
  }
}

export const closedError = (): KraitError => new KraitError('the wasm device was closed before this could be read');
export const failedError = (reason: string): KraitError =>
  new KraitError(`the wasm device has stopped: ${reason}; create another one`);
