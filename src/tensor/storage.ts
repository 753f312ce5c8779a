/**
 * Device memory that tensors share, counted by references. Storage that is forgotten without being released is given back
 * when JavaScript collects it.
 */
import type { Allocation, Backend } from '../backend/index.ts';
import { type DType, KraitError, type Shape } from '../core/index.ts';

/** What gives and takes device memory. */
export type Memory = Pick<Backend, 'alloc' | 'free'>;

const forgotten = new FinalizationRegistry<{ memory: Memory; block: Allocation }>(({ memory, block }) => {
  try {
    memory.free(block);
  } catch {
    // The backend was closed before: its memory is gone already.
  }
});

/** A tensor as its storage and a recording see it: where its values lie. */
export interface View {
  readonly storage: Storage;
  readonly shape: Shape;
  readonly dtype: DType;
  /** Place of the first element in the storage, counted in elements. */
  readonly offset: number;
  /** Elements from the start of one row to that of the next. */
  readonly ld: number;
  dispose(): void;
}

/** How the values of a storage that was emptied are made again. */
export interface Recipe {
  /** A fresh tensor with the same values in the same places, which nothing else holds. Called once. */
  make(): View;
  /** Called after `make`, or instead of it once nobody can want the values any more. */
  dispose(): void;
}

/** Reference-counted device memory. */
export class Storage {
  private refs = 1;
  private block: Allocation | null;
  private recipe: Recipe | null = null;
  /** Grows when the values may have changed from outside: what was computed from them once is then out of date. */
  generation = 0;

  constructor(
    private readonly memory: Memory,
    block: Allocation,
  ) {
    this.block = block;
    forgotten.register(this, { memory, block }, this);
  }

  /** Whether one tensor alone holds this memory, so that it may be written in place. */
  get exclusive(): boolean {
    return this.refs === 1;
  }

  /** The block, for a kernel launch. Throws if it was disposed of. */
  use(): Allocation {
    if (this.refs === 0)
      throw new KraitError('tensor was used after it was disposed of; keep() it or move the use into its scope');
    return this.block ?? this.refill();
  }

  retain(): this {
    if (this.refs === 0) this.use();
    this.refs++;
    return this;
  }

  release(): void {
    if (--this.refs > 0) return;
    this.free();
    this.recipe?.dispose();
    this.recipe = null;
  }

  /** Gives the memory back until somebody uses it. */
  empty(recipe: Recipe): void {
    this.use();
    this.recipe = recipe;
    this.free();
  }

  private free(): void {
    if (!this.block) return;
    forgotten.unregister(this);
    this.memory.free(this.block);
    this.block = null;
  }

  private refill(): Allocation {
    const recipe = this.recipe!;
    const tensor = recipe.make();
    const { storage } = tensor;
    if (!storage.exclusive) throw new KraitError('what was computed again is held by others too; make a fresh tensor');
    this.recipe = null; // not before: what failed can be tried again, or given up
    const block = storage.use();
    forgotten.unregister(storage);
    storage.block = null; // it is this one's now
    tensor.dispose();
    recipe.dispose();
    this.block = block;
    forgotten.register(this, { memory: this.memory, block }, this);
    return block;
  }
}
