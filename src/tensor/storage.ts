/**
 * Device memory that tensors share, counted by references. Storage that nobody releases is freed when JavaScript collects
 * it.
 */
import type { Allocation, Backend } from '../backend/index.ts';
import { type DType, KraitError, type Shape } from '../core/index.ts';

/** Source of device memory. */
export type Memory = Pick<Backend, 'alloc' | 'free'>;

const unreleased = new FinalizationRegistry<{ memory: Memory; block: Allocation }>(({ memory, block }) => {
  try {
    memory.free(block);
  } catch {
    // The backend is closed and has freed its memory.
  }
});

/** Position and layout of a tensor in its storage. */
export interface View {
  readonly storage: Storage;
  readonly shape: Shape;
  readonly dtype: DType;
  /** Position of the first element in the storage, in elements. */
  readonly offset: number;
  /** Elements from the start of one row to that of the next. */
  readonly ld: number;
  dispose(): void;
}

/** Computes the values of an emptied storage again. */
export interface Recipe {
  /** Returns a fresh tensor with the same values in the same layout and no other owner. Called once. */
  make(): View;
  /** Frees the inputs. Called after `make`, or instead of it when the storage is disposed of. */
  dispose(): void;
}

/** Reference-counted device memory. */
export class Storage {
  private refs = 1;
  private block: Allocation | null;
  private recipe: Recipe | null = null;
  /** Grows when the values may have changed from outside. Results computed from an older generation are out of date. */
  generation = 0;

  constructor(
    private readonly memory: Memory,
    block: Allocation,
  ) {
    this.block = block;
    unreleased.register(this, { memory, block }, this);
  }

  /** One tensor alone holds this memory, so it may be written in place. */
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

  /** Frees the memory until it is used; `recipe` then computes the values again. */
  empty(recipe: Recipe): void {
    this.use();
    this.recipe = recipe;
    this.free();
  }

  private free(): void {
    if (!this.block) return;
    unreleased.unregister(this);
    this.memory.free(this.block);
    this.block = null;
  }

  private refill(): Allocation {
    const recipe = this.recipe!;
    const tensor = recipe.make();
    const { storage } = tensor;
    if (!storage.exclusive) throw new KraitError('a recomputed tensor is held by others too; make a fresh tensor');
    this.recipe = null; // after `make`, so that a failed one can be tried again
    const block = storage.use();
    unreleased.unregister(storage);
    storage.block = null; // it is this one's now
    tensor.dispose();
    recipe.dispose();
    this.block = block;
    unreleased.register(this, { memory: this.memory, block }, this);
    return block;
  }
}
