/**
 * Launches that are recorded instead of queued, to be queued many times with one call: a step of decoding, whose shapes
 * never change. It reads and writes the same places each time, so what changes is written there before.
 *
 * What it is not: it records no host code. A value that was read from a tensor, or chosen by one, stays as it was.
 */
import type { Allocation, Backend, Command, CommandList } from '../backend/index.ts';
import { KraitError } from '../core/index.ts';
import type { Memory, Storage, View } from './storage.ts';

/**
 * Memory of a recording. What is freed while it is open is used again inside it, but by nobody else: every run of the
 * list writes there.
 */
class RecordingMemory implements Memory {
  private readonly own = new Set<Allocation>();
  private readonly fixed = new Set<Allocation>();
  private readonly unused: Allocation[] = [];
  private isOpen = true;

  constructor(private readonly backend: Memory) {}

  /** Whether a block was made here. */
  has(block: Allocation): boolean {
    return this.own.has(block);
  }

  alloc(bytes: number): Allocation {
    const at = this.unused.findIndex((block) => block.bytes === bytes && !this.fixed.has(block));
    if (at >= 0) return this.unused.splice(at, 1)[0];
    const block = this.backend.alloc(bytes);
    this.own.add(block);
    return block;
  }

  /** Memory that is written while recording, once: no command may have it for its results. */
  allocFixed(bytes: number): Allocation {
    const block = this.backend.alloc(bytes);
    this.own.add(block);
    this.fixed.add(block);
    return block;
  }

  free(block: Allocation): void {
    if (this.isOpen) this.unused.push(block);
    else this.backend.free(block);
  }

  /** Gives back what no tensor holds; what is still held goes straight to the device later. */
  close(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    for (const block of this.unused.splice(0)) this.backend.free(block);
  }
}

/** Commands and memory of work that is being recorded; the device's own. */
export class Recorder {
  readonly memory: RecordingMemory;
  private readonly commands: Command[] = [];
  private readonly borrowed = new Set<Storage>();

  constructor(private readonly backend: Backend) {
    this.memory = new RecordingMemory(backend);
  }

  add(command: Command, tensors: Iterable<View | null | undefined>): void {
    this.commands.push(command);
    for (const tensor of tensors) {
      if (!tensor || this.memory.has(tensor.storage.use()) || this.borrowed.has(tensor.storage)) continue;
      this.borrowed.add(tensor.storage.retain()); // so that it outlives whoever disposes of it
    }
  }

  /** Forgets everything, after a failure. */
  abandon(): void {
    for (const storage of this.borrowed) storage.release();
    this.memory.close();
  }

  finish<T>(result: T): Recording<T> {
    try {
      return new Recording(this.backend, this.commands, result, () => this.abandon());
    } catch (error) {
      this.abandon();
      throw error;
    }
  }
}

/** Recorded work. Whoever has it closes it; tensors of the result are the caller's as those of any other work. */
export class Recording<T> {
  private readonly lists: CommandList[] = [];
  private isClosed = false;

  constructor(
    private readonly backend: Backend,
    private readonly commands: readonly Command[],
    /** Result of the work. Its tensors have values after the launch. */
    readonly result: T,
    private readonly giveBack: () => void,
  ) {
    this.lists.push(backend.list(commands));
  }

  /** Queues the work. @throws KraitError after `close` */
  launch(): void {
    this.lists[0].launch();
  }

  /**
   * The same work with the memory of each pair exchanged, to be queued in turn with this one: what the one writes, the
   * other reads. It ends with this recording.
   * @param pairs tensors of equal shape, type and place in memory of their own
   * @throws KraitError if the tensors of a pair are not alike
   */
  exchanged(pairs: Iterable<readonly [View, View]>): { launch(): void } {
    if (this.isClosed) throw new KraitError('this recording is closed; record again');
    const other = new Map<Allocation, Allocation>();
    for (const [a, b] of pairs) {
      const [first, second] = [a.storage.use(), b.storage.use()];
      if (!areExchangeable(a, b) || other.has(first) || other.has(second)) {
        throw new KraitError(
          `a recording cannot exchange ${a} and ${b}: expected two of a kind, each in its own memory`,
        );
      }
      other.set(first, second).set(second, first);
    }
    const list = this.backend.list(
      this.commands.map((command) => ({
        ...command,
        tensors: command.tensors.map((t) => t && { ...t, block: other.get(t.block) ?? t.block }),
      })),
    );
    this.lists.push(list);
    return list;
  }

  /** Gives back everything but the result's tensors. What is queued still runs. Safe to call twice. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    for (const list of this.lists) list.close();
    this.giveBack();
  }
}

/** True if a recording may exchange two tensors: they have the same layout and separate memory. */
export const areExchangeable = (a: View, b: View): boolean =>
  a.storage !== b.storage &&
  a.dtype === b.dtype &&
  a.offset === b.offset &&
  a.ld === b.ld &&
  a.shape.length === b.shape.length &&
  a.shape.every((size, i) => size === b.shape[i]);
