/**
 * Tensors of a checkpoint into device memory. A device that reads files itself does so, converts and looks for values
 * that are not finite; for others the bytes stream through JavaScript, a part at a time. The results are the same.
 */
import { type DType, dtypeBytes, quantiseRows } from '../../core/index.ts';
import {
  countNonFinite,
  decodeStored,
  STREAM_CHUNK_BYTES,
  type StoredPlace,
  storedBits,
  type TensorSource,
} from '../../io/index.ts';
import type { Device, Tensor } from '../../tensor/index.ts';

/** Bytes that wait to be converted: not a second copy of a model. */
const CONVERTED_BYTES = 16 << 20;

/** Stored types that a device can load and convert. */
const DIRECT: Readonly<Record<string, DType>> = { F32: 'f32', BF16: 'bf16', F16: 'f16' };

const CONVERTED: ReadonlySet<DType> = new Set(Object.values(DIRECT));

/** Writes values that are whole rows, from element `at` on, quantised. */
export function writeQuantised(weight: Tensor, scale: Tensor, values: ArrayLike<number>, at: number): void {
  const rows = quantiseRows(values, weight.cols);
  weight.write(rows.values, at);
  scale.write(rows.scales, at / weight.cols);
}

/** A tensor on its way: whether the device itself got it. Never rejects. */
interface Job {
  readonly name: string;
  readonly target: Tensor;
  readonly scale: Tensor | null;
  readonly isDirect: Promise<boolean>;
}

export class WeightReader {
  private readonly jobs: Job[] = [];
  private readonly sums: Tensor;
  private staging: Tensor | null = null;

  /** `count` is the number of tensors that will be read. */
  constructor(
    private readonly device: Device,
    private readonly source: TensorSource,
    count: number,
  ) {
    this.sums = device.keep(device.zeros([count]));
  }

  /**
   * Begins to read a tensor of the checkpoint into `target`, which nobody else touches until `finish` is done. With
   * `scale` it is quantised.
   */
  begin(name: string, target: Tensor, scale: Tensor | null = null): void {
    const stored = DIRECT[this.source.info(name).dtype];
    const place = this.source.place(name);
    const canLoad = this.device.backend.loadFile && place && stored && CONVERTED.has(target.dtype);
    const parts = canLoad ? this.load(place, stored, target) : [];
    const isDirect = Promise.all(parts).then(
      () => parts.length > 0,
      () => false,
    );
    if (canLoad) this.sumSquares(target, this.jobs.length);
    this.jobs.push({ name, target, scale, isDirect });
  }

  /**
   * Waits for all tensors, in order. `onTensor` gets for each the number of its values that are not finite.
   * @throws FileFormatError, DTypeError naming the file or tensor
   */
  async finish(onTensor: (index: number, nonFinite: number) => void): Promise<void> {
    let sums: ArrayLike<number> | null = null;
    for (const [i, job] of this.jobs.entries()) {
      const { target, isDirect } = job;
      // A file that the device could not read says so here, with its name.
      if (!(await isDirect)) onTensor(i, await this.stream(job));
      else {
        sums ??= await this.sums.read();
        // Terms of a finite sum of squares are finite; only where it is not are the values looked at one by one.
        onTensor(i, Number.isFinite(sums[i]) ? 0 : countNonFinite('f32', await target.read()));
      }
    }
  }

  /** Queues the load of a tensor to the device. The promises are of its parts. */
  private load({ descriptor, offset, bytes }: StoredPlace, stored: DType, target: Tensor): Promise<void>[] {
    const { device } = this;
    const fill = (into: Tensor, from: number, length: number) =>
      device.backend.loadFile!(into.storage.use(), 0, length, descriptor, offset + from);
    if (stored === target.dtype) return [fill(target, 0, bytes)];
    const width = dtypeBytes(stored);
    const most = CONVERTED_BYTES / width;
    const parts: Promise<void>[] = [];
    const staging = this.stagingOf(stored);
    for (let at = 0; at < target.size; at += most) {
      const count = Math.min(most, target.size - at);
      parts.push(fill(staging, at * width, count * width));
      device.scope(() => {
        const [x, y] = [staging.alias([count]), target.alias([count], target.offset + at)];
        device.launch('copy', { x, y }, { rows: 1, cols: count });
      });
    }
    return parts;
  }

  /** Staging block for bytes of a type before their conversion. The queue is in order, so one block serves all. */
  private stagingOf(stored: DType): Tensor {
    if (this.staging?.dtype === stored) return this.staging;
    this.staging?.dispose();
    this.staging = this.device.keep(this.device.empty([CONVERTED_BYTES / dtypeBytes(stored)], stored));
    return this.staging;
  }

  private sumSquares(x: Tensor, index: number): void {
    const { device, sums } = this;
    device.scope(() => {
      const acc = sums.alias([1], index);
      device.launch('sum_squares', { x, acc }, { rows: x.rows, cols: x.cols });
    });
  }

  private async stream({ name, target, scale }: Job): Promise<number> {
    const { dtype } = this.source.info(name);
    const rowBytes = (target.cols * storedBits(dtype)) / 8;
    const chunk = scale ? Math.max(1, Math.floor(STREAM_CHUNK_BYTES / rowBytes)) * rowBytes : STREAM_CHUNK_BYTES;
    const type = scale ? 'f32' : target.dtype;
    let at = 0;
    let nonFinite = 0;
    for await (const bytes of this.source.stream(name, chunk)) {
      const raw = decodeStored(dtype, bytes, type, name);
      nonFinite += countNonFinite(type, raw);
      if (scale) writeQuantised(target, scale, raw, at);
      else target.write(raw, at);
      at += raw.length;
    }
    return nonFinite;
  }

  /** Waits for running loads, so that the file may be closed, and frees memory. */
  async close(): Promise<void> {
    await Promise.all(this.jobs.map(({ isDirect }) => isDirect));
    this.sums.dispose();
    this.staging?.dispose();
  }
}
