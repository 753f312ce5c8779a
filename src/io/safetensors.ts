/**
 * Reading safetensors files. The header is read and checked at once, data only when asked for, in pieces: weights go
 * from the file to where they are used without being held twice.
 */
import { CheckpointError, type DType, formatShape, type NumericArray, type Shape } from '../core/index.ts';
import type { FileSystem, RandomAccessFile } from './files.ts';
import { nearest } from './nearest.ts';
import { headerLength, parseHeader, type SafetensorsHeader, type TensorInfo } from './safetensors-header.ts';
import { decodeStored, storedBits } from './stored-dtype.ts';

/** Bytes a `stream` yields at a time: large enough for the disk, small enough to be nothing beside a model. */
export const STREAM_CHUNK_BYTES = 4 << 20;

/** Bytes of an open file. */
export interface StoredPlace {
  readonly descriptor: number;
  readonly offset: number;
  readonly bytes: number;
}

/** Named tensors in one file or many. Tensors are found by name; an absent one is a CheckpointError. */
export interface TensorSource {
  /** Path that was opened, for messages. */
  readonly path: string;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
  /** The file that holds a tensor. */
  fileOf(name: string): string;
  /**
   * Description of a tensor.
   * @param shape if given, what it must be
   * @throws CheckpointError if it is absent or has another shape
   */
  info(name: string, shape?: Shape): TensorInfo;
  /** All bytes of a tensor as stored. */
  read(name: string): Promise<Uint8Array>;
  /** Fills `target`, which must have the tensor's length in bytes. */
  readInto(name: string, target: Uint8Array): Promise<void>;
  /** A tensor's bytes in order, in fresh pieces of whole elements, at most about `chunkBytes` each. */
  stream(name: string, chunkBytes?: number): AsyncIterable<Uint8Array>;
  /** Position of a tensor's bytes, for a device that reads files itself; undefined if files have no descriptor. */
  place(name: string): StoredPlace | undefined;
  /** A tensor as raw elements of an engine dtype (see `decodeStored`). */
  readAs(name: string, dtype: DType): Promise<NumericArray>;
  close(): Promise<void>;
}

/** One open safetensors file. */
export class SafetensorsFile implements TensorSource {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;

  constructor(
    readonly path: string,
    header: SafetensorsHeader,
    private readonly file: RandomAccessFile,
  ) {
    this.tensors = header.tensors;
    this.metadata = header.metadata;
  }

  fileOf(_name: string): string {
    return this.path;
  }

  info(name: string, shape?: Shape): TensorInfo {
    return findTensor(this, name, shape);
  }

  read(name: string): Promise<Uint8Array> {
    const { begin, end } = this.info(name);
    return this.file.read(begin, end - begin);
  }

  place(name: string): StoredPlace | undefined {
    const { begin, end } = this.info(name);
    const { descriptor } = this.file;
    return descriptor === undefined ? undefined : { descriptor, offset: begin, bytes: end - begin };
  }

  async readInto(name: string, target: Uint8Array): Promise<void> {
    const { begin, end } = this.info(name);
    if (target.length !== end - begin) {
      throw new CheckpointError(name, `a target of ${end - begin} bytes`, `${target.length}`, this.path);
    }
    await this.file.readInto(begin, target);
  }

  async *stream(name: string, chunkBytes = STREAM_CHUNK_BYTES): AsyncGenerator<Uint8Array> {
    const { begin, end, dtype } = this.info(name);
    const elementBytes = Math.max(1, storedBits(dtype) / 8);
    const step = Math.max(1, Math.floor(chunkBytes / elementBytes)) * elementBytes;
    for (let at = begin; at < end; at += step) yield await this.file.read(at, Math.min(step, end - at));
  }

  async readAs(name: string, dtype: DType): Promise<NumericArray> {
    return decodeStored(this.info(name).dtype, await this.read(name), dtype, name);
  }

  close(): Promise<void> {
    return this.file.close();
  }
}

/** As `TensorSource.info`. */
export function findTensor(source: Omit<TensorSource, 'info'>, name: string, shape?: Shape): TensorInfo {
  const info = source.tensors.get(name);
  const wanted = shape ? formatShape(shape) : 'it to be there';
  if (!info) {
    const near = nearest(name, source.tensors.keys());
    const got = `nothing of that name among ${source.tensors.size} tensors${near ? ` (nearest: ${near})` : ''}`;
    throw new CheckpointError(name, wanted, got, source.path, 'use the checkpoint that belongs to the configuration');
  }
  if (shape && formatShape(shape) !== formatShape(info.shape)) {
    const remedy = 'use the configuration that belongs to the checkpoint';
    throw new CheckpointError(name, wanted, formatShape(info.shape), source.fileOf(name), remedy);
  }
  return info;
}

/**
 * Opens a safetensors file and checks its header against its size.
 * @throws FileFormatError naming the file, the value and the remedy, for anything that the format forbids
 */
export async function openSafetensors(files: FileSystem, path: string): Promise<SafetensorsFile> {
  const file = await files.open(path);
  try {
    const start = await file.read(0, Math.min(8, file.size));
    const length = headerLength(path, start, file.size);
    const header = parseHeader(path, await file.read(8, length), file.size);
    return new SafetensorsFile(path, header, file);
  } catch (error) {
    await file.close();
    throw error;
  }
}
