/**
 * A device of the engine: a backend with two values of state. One is the scope that owns new tensors. The other says whether
 * gradients are recorded. Nothing here is global to the process.
 * The interface in `tensor.ts` describes the members.
 */
import type { Allocation, Backend, BinaryOp, KernelName, MemoryStats, TensorArg } from '../backend/index.ts';
import { commandOf } from '../backend/index.ts';
import {
  asMatrix,
  type DType,
  decode,
  dtypeBytes,
  encode,
  KraitError,
  type Shape,
  ShapeError,
  sizeOf,
  viewAs,
} from '../core/index.ts';
import { Recorder, type Recording } from './recording.ts';
import { Storage } from './storage.ts';
import { type HostArray, Tensor, type Device as TensorDevice } from './tensor.ts';

export type { BinaryOp };

/** Visits the tensors inside a value: a tensor, an array or a plain object of such values. */
function visitTensors(value: unknown, visit: (tensor: Tensor) => void): void {
  if (value instanceof Tensor) visit(value);
  else if (Array.isArray(value)) for (const item of value) visitTensors(item, visit);
  else if (value && typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype) {
    for (const name in value) visitTensors((value as Record<string, unknown>)[name], visit);
  }
}

const argumentOf = (t: Tensor): TensorArg => ({ block: t.storage.use(), offset: t.offset, ld: t.ld, dtype: t.dtype });

/** Interface of `Device`. `tensor.ts` stands below this file and needs the type. */
export type Device = TensorDevice;

export const Device: {
  new (backend: Backend): TensorDevice;
  readonly prototype: TensorDevice;
} = class implements TensorDevice {
  private scopes: Set<Tensor>[] = [];
  private recording = true;
  private nextId = 1;
  private recorder: Recorder | null = null;

  constructor(readonly backend: Backend) {}

  get name(): string {
    return this.backend.name;
  }

  get gradEnabled(): boolean {
    return this.recording;
  }

  newNodeId(): number {
    return this.nextId++;
  }

  // --- making tensors ---------------------------------------------------------------------------------------

  empty(shape: Shape, dtype: DType = 'f32'): Tensor {
    const memory = this.recorder?.memory ?? this.backend;
    const block = memory.alloc(sizeOf(shape) * dtypeBytes(dtype));
    return new Tensor(this, new Storage(memory, block), [...shape], dtype);
  }

  full(shape: Shape, value: number, dtype: DType = 'f32'): Tensor {
    const y = this.empty(shape, dtype);
    this.launch('fill', { y }, asMatrix([sizeOf(shape)]), { value });
    return y;
  }

  zeros(shape: Shape, dtype: DType = 'f32'): Tensor {
    return this.full(shape, 0, dtype);
  }

  ones(shape: Shape, dtype: DType = 'f32'): Tensor {
    return this.full(shape, 1, dtype);
  }

  from(values: ArrayLike<number>, shape: Shape = [values.length], dtype: DType = 'f32'): Tensor {
    if (values.length !== sizeOf(shape)) {
      throw new ShapeError('from', 'values', `${sizeOf(shape)} numbers for shape [${shape}]`, `${values.length}`);
    }
    const raw = encode(dtype, values);
    const bytes = new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength);
    const recording = this.recorder?.memory;
    const block = recording ? recording.allocFixed(bytes.length) : this.backend.alloc(bytes.length);
    this.backend.upload(block, 0, bytes);
    return new Tensor(this, new Storage(recording ?? this.backend, block), [...shape], dtype);
  }

  uniform(shape: Shape, key: { seed: number; stream: number }, low = 0, high = 1, dtype: DType = 'f32'): Tensor {
    const y = this.empty(shape, dtype);
    this.launch('random_uniform', { y }, { ...asMatrix([sizeOf(shape)]), ...key }, { low, high });
    return y;
  }

  // --- lifetimes and recording --------------------------------------------------------------------------------

  scope<T>(work: () => T): T {
    const mine = new Set<Tensor>();
    this.scopes.push(mine);
    let result: T | undefined;
    try {
      result = work();
      if (result instanceof Promise)
        throw new KraitError('[scope] work must not be async; read tensors after the scope');
      return result;
    } finally {
      this.scopes.pop();
      const outer = this.scopes.at(-1);
      visitTensors(result, (kept) => {
        if (mine.delete(kept)) outer?.add(kept);
      });
      for (const tensor of mine) tensor.dispose();
    }
  }

  keep<T extends Tensor | null>(tensor: T): T {
    if (tensor) for (const scope of this.scopes) scope.delete(tensor);
    return tensor;
  }

  adopt(tensor: Tensor): void {
    this.scopes.at(-1)?.add(tensor);
  }

  release(tensor: Tensor): void {
    for (const scope of this.scopes) scope.delete(tensor);
  }

  noGrad<T>(work: () => T): T {
    return this.withRecording(false, work);
  }

  withGrad<T>(work: () => T): T {
    return this.withRecording(true, work);
  }

  private withRecording<T>(on: boolean, work: () => T): T {
    const before = this.recording;
    this.recording = on;
    try {
      return work();
    } finally {
      this.recording = before;
    }
  }

  // --- the queue ------------------------------------------------------------------------------------------------

  launch(
    kernel: KernelName,
    tensors: Record<string, Tensor | null | undefined>,
    dims: Record<string, number> = {},
    scalars: Record<string, number> = {},
  ): void {
    const cmd = commandOf(kernel, tensors, dims, scalars, argumentOf);
    if (this.recorder) this.recorder.add(cmd, Object.values(tensors));
    else this.backend.launch(cmd);
  }

  record<T>(work: () => T): Recording<T> {
    if (this.recorder) throw new KraitError('[record] a recording is under way; end it first');
    const recorder = new Recorder(this.backend);
    this.recorder = recorder;
    let result: T;
    try {
      result = this.scope(work);
    } catch (error) {
      recorder.abandon();
      throw error;
    } finally {
      this.recorder = null;
    }
    return recorder.finish(result);
  }

  private checkNotRecording(what: string): void {
    if (this.recorder) throw new KraitError(`[${what}] not while work is being recorded; do it before or after`);
  }

  upload(block: Allocation, byteOffset: number, bytes: Uint8Array): void {
    this.checkNotRecording('write');
    this.backend.upload(block, byteOffset, bytes);
  }

  async download(block: Allocation, offset: number, length: number, dtype: DType): Promise<HostArray> {
    this.checkNotRecording('read');
    const size = dtypeBytes(dtype);
    const bytes = await this.backend.download(block, offset * size, length * size);
    const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
    return decode(dtype, viewAs(dtype, aligned.buffer, aligned.byteOffset, length));
  }

  async sync(): Promise<void> {
    this.checkNotRecording('sync');
    return this.backend.sync();
  }

  memory(): MemoryStats {
    return this.backend.memory();
  }

  close(): void {
    this.backend.close();
  }
};
