/**
 * A tensor: a shape over a piece of device memory. Dense along the last axis; the rows before it lie `ld`
 * elements apart, so a slice of columns (`narrow` on the last axis) is a view that kernels read in place.
 *
 * Lifetime: a tensor holds one reference to its storage until `dispose()`, or until the scope in which it was
 * made ends. Storage that is forgotten without either is given back when JavaScript collects it.
 */
import type { Allocation } from '../backend/index.ts';
import { asMatrix, type DType, dtypeBytes, formatShape, KraitError, type Shape, sizeOf } from '../core/index.ts';
import type { GraphNode } from './autograd.ts';
import type { Device } from './device.ts';
import type { Memory } from './recording.ts';

const forgotten = new FinalizationRegistry<{ memory: Memory; block: Allocation }>(({ memory, block }) => {
  try {
    memory.free(block);
  } catch {
    // The backend was closed before: its memory is gone already.
  }
});

/** How the values of a storage that was emptied are made again. */
export interface Recipe {
  /** A fresh tensor with the same values in the same places, which nothing else holds. Called once. */
  make(): Tensor;
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

export type HostArray = Float32Array | Float64Array | Int32Array;

export class Tensor {
  /** Set on leaves (parameters) whose gradient is wanted, and on every tensor computed from one. */
  requiresGrad = false;
  /** Gradient of a leaf, summed over backward passes until `zeroGrad`. */
  grad: Tensor | null = null;
  /** How this tensor was computed, while gradients are recorded; its output number there. */
  node: GraphNode | null = null;
  outputIndex = 0;
  private disposed = false;

  constructor(
    readonly device: Device,
    readonly storage: Storage,
    readonly shape: Shape,
    readonly dtype: DType,
    readonly offset = 0,
    readonly ld = asMatrix(shape).cols,
  ) {
    device.adopt(this);
  }

  get rank(): number {
    return this.shape.length;
  }

  get size(): number {
    return sizeOf(this.shape);
  }

  get rows(): number {
    return asMatrix(this.shape).rows;
  }

  get cols(): number {
    return asMatrix(this.shape).cols;
  }

  /** Whether elements follow each other without gaps. */
  get isDense(): boolean {
    return this.ld === this.cols || this.rows <= 1;
  }

  get isDisposed(): boolean {
    return this.disposed;
  }

  /** Another tensor over the same memory, without history. Shape and position may differ. */
  alias(
    shape: Shape = this.shape,
    offset = this.offset,
    ld = shape === this.shape ? this.ld : asMatrix(shape).cols,
  ): Tensor {
    return new Tensor(this.device, this.storage.retain(), shape, this.dtype, offset, ld);
  }

  /** Marks a leaf as trainable. Returns it. */
  trainable(on = true): this {
    this.requiresGrad = on;
    this.storage.generation++;
    return this;
  }

  /**
   * Writes raw values of the tensor's dtype from element `at` on; the tensor is dense. In order with queued kernels.
   * @throws KraitError while work is being recorded
   */
  write(raw: ArrayBufferView, at = 0): void {
    const bytes = new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength);
    this.device.upload(this.storage.use(), (this.offset + at) * dtypeBytes(this.dtype), bytes);
    this.storage.generation++;
  }

  /**
   * The values as plain numbers, row-major; waits for everything queued before.
   * Half types arrive as f32. Views are read without their gaps.
   */
  async read(): Promise<HostArray> {
    const { rows, cols, ld } = this;
    if (this.size === 0) return new Float32Array(0);
    if (this.isDense) return this.device.download(this.storage.use(), this.offset, this.size, this.dtype);
    const span = await this.device.download(this.storage.use(), this.offset, (rows - 1) * ld + cols, this.dtype);
    const out = span.slice(0, this.size);
    for (let r = 0; r < rows; r++) out.set(span.subarray(r * ld, r * ld + cols), r * cols);
    return out;
  }

  /** The single value of a tensor of one element. */
  async item(): Promise<number> {
    if (this.size !== 1) throw new KraitError(`[item] expected one element, got shape ${formatShape(this.shape)}`);
    return (await this.read())[0];
  }

  zeroGrad(): void {
    this.grad?.dispose();
    this.grad = null;
  }

  /** Gives the memory back (once nothing else shares it). Safe to call twice. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.device.release(this);
    this.storage.release();
  }

  toString(): string {
    return `Tensor ${this.dtype} ${formatShape(this.shape)} on ${this.device.name}`;
  }
}
