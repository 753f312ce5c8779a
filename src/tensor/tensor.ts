/**
 * A tensor: a shape over a block of device memory. It is dense along the last axis, and its rows are `ld` elements apart. A
 * slice of columns (`narrow` on the last axis) is therefore a view that kernels read in place.
 *
 * Lifetime: a tensor holds one reference to its storage until `dispose()`, or until the scope in which it was
 * made ends. Other storage is freed when JavaScript collects it.
 *
 * A tensor knows its device and its history as interfaces; `device.ts` and `autograd.ts` implement them.
 */
import type { Allocation, Backend, KernelName, MemoryStats } from '../backend/index.ts';
import { asMatrix, type DType, dtypeBytes, formatShape, KraitError, type Shape, sizeOf } from '../core/index.ts';
import type { Recording } from './recording.ts';
import type { Storage, View } from './storage.ts';

export type HostArray = Float32Array | Float64Array | Int32Array;

export class Tensor implements View {
  /** Set on leaves (parameters) whose gradient is wanted, and on every tensor computed from one. */
  requiresGrad = false;
  /** Gradient of a leaf, summed over backward passes until `zeroGrad`. */
  grad: Tensor | null = null;
  /** How this tensor was computed, while gradients are recorded; its output number there. */
  node: History | null = null;
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

/** Target of the gradient of an input: an output of the operation that made it, or a leaf; null if none is wanted. */
export type Edge = { node: History; index: number } | { leaf: Tensor } | null;

/** How a tensor was computed: one operation of the graph that gradients flow back through (`autograd.ts`). */
export interface History {
  /** Name of the operation, for errors. */
  readonly op: string;
  /** Place in the order of execution. */
  readonly id: number;
  /** Target of the gradient of each input. */
  readonly edges: readonly Edge[];
  /** Number of outputs. */
  readonly outputs: number;
  /** True after a backward pass, which frees what the rule needs. */
  readonly isUsed: boolean;
  /**
   * Gradients of the outputs (null: nothing arrived) to gradients of the inputs (null: not needed).
   * @param take gives away the gradient that other operations have sent to an input so far; null for none
   */
  run(outputGrads: (Tensor | null)[], take: (input: number) => Tensor | null): (Tensor | null)[];
  /** Frees what the operation saved. */
  release(): void;
}

/** A device as tensors and their users see it. A tensor is f32 unless a dtype is given. */
export interface Device {
  readonly backend: Backend;
  readonly name: string;
  /** Whether operations record what their gradients need. */
  readonly gradEnabled: boolean;
  /** A new graph node's place in the order of execution. */
  newNodeId(): number;

  /** Uninitialised tensor of `shape`. */
  empty(shape: Shape, dtype?: DType): Tensor;
  full(shape: Shape, value: number, dtype?: DType): Tensor;
  zeros(shape: Shape, dtype?: DType): Tensor;
  ones(shape: Shape, dtype?: DType): Tensor;
  /**
   * Tensor from numbers, rounded to `dtype`; of one axis unless a shape is given.
   * @throws ShapeError if the count does not fit the shape.
   */
  from(values: ArrayLike<number>, shape?: Shape, dtype?: DType): Tensor;
  /** Uniform numbers in [low, high), [0, 1) unless given, from stream `stream` of `seed`: the same on every device. */
  uniform(shape: Shape, key: { seed: number; stream: number }, low?: number, high?: number, dtype?: DType): Tensor;

  /**
   * Runs `work` and disposes of every tensor made in it, except those that it returns (in arrays or plain
   * objects too), which pass to the surrounding scope, and those kept by `keep`. What gradients still need stays alive.
   * @throws KraitError if `work` is asynchronous: a scope must end where it began.
   */
  scope<T>(work: () => T): T;
  /** Takes a tensor out of every scope: its owner disposes of it. Returns it. */
  keep<T extends Tensor | null>(tensor: T): T;
  /** Called by each new tensor. */
  adopt(tensor: Tensor): void;
  /** Called by each disposed tensor. */
  release(tensor: Tensor): void;
  noGrad<T>(work: () => T): T;
  withGrad<T>(work: () => T): T;

  /** Queues one kernel on tensors named as in its table row. */
  launch(
    kernel: KernelName,
    tensors: Record<string, Tensor | null | undefined>,
    dims?: Record<string, number>,
    scalars?: Record<string, number>,
  ): void;
  /**
   * Records the launches of `work` instead of queueing them. Tensors live as in `scope`; constants (`from`) are written
   * once, now. Nothing may be read or written while recording.
   * @throws KraitError inside another recording, and what `work` throws; nothing stays allocated then
   */
  record<T>(work: () => T): Recording<T>;
  /** Writes bytes into a block, in order with queued kernels. */
  upload(block: Allocation, byteOffset: number, bytes: Uint8Array): void;
  /** Elements of a block as plain numbers, after everything that was queued before. */
  download(block: Allocation, offset: number, length: number, dtype: DType): Promise<HostArray>;
  /** Resolves when everything queued so far has run. */
  sync(): Promise<void>;
  memory(): MemoryStats;
  close(): void;
}
