/**
 * TensorBoard event files: scalars, appended as they come.
 *
 * A file is a row of records: u64 length, masked CRC-32C of it, data, masked CRC-32C of the data; the data is an Event
 * message: 1 wall_time (double), 2 step (int64), 3 file_version (string), 5 summary { 1 value { 1 tag, 2 float } }.
 * Source: tensorflow/core/util/event.proto, framework/summary.proto and lib/io/record_writer.h.
 */
import { FileFormatError } from '../core/index.ts';
import { maskedCrc32c } from './crc32c.ts';
import { type FileSystem, joinPath, type WritableFile } from './files.ts';

const utf8 = new TextEncoder();
const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

/** Protocol-buffer fields, written in order. */
class Message {
  private readonly bytes: number[] = [];

  private varint(value: number): void {
    for (; value >= 0x80; value = Math.floor(value / 0x80)) this.bytes.push((value % 0x80) | 0x80);
    this.bytes.push(value);
  }

  integer(field: number, value: number): this {
    this.varint((field << 3) | VARINT);
    this.varint(value);
    return this;
  }

  double(field: number, value: number): this {
    this.varint((field << 3) | FIXED64);
    this.bytes.push(...new Uint8Array(Float64Array.of(value).buffer));
    return this;
  }

  float(field: number, value: number): this {
    this.varint((field << 3) | FIXED32);
    this.bytes.push(...new Uint8Array(Float32Array.of(value).buffer));
    return this;
  }

  data(field: number, value: Uint8Array | string): this {
    const bytes = typeof value === 'string' ? utf8.encode(value) : value;
    this.varint((field << 3) | BYTES);
    this.varint(bytes.length);
    for (const byte of bytes) this.bytes.push(byte);
    return this;
  }

  finish(): Uint8Array {
    return Uint8Array.from(this.bytes);
  }
}

/** One framed record. */
export function formatRecord(data: Uint8Array): Uint8Array {
  const record = new Uint8Array(data.length + 16);
  const view = new DataView(record.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedCrc32c(record.subarray(0, 8)), true);
  record.set(data, 12);
  view.setUint32(12 + data.length, maskedCrc32c(data), true);
  return record;
}

function formatScalars(wallTime: number, step: number, values: Readonly<Record<string, number>>): Uint8Array {
  const summary = new Message();
  for (const [tag, value] of Object.entries(values)) {
    summary.data(1, new Message().data(1, tag).float(2, value).finish());
  }
  return new Message().double(1, wallTime).integer(2, step).data(5, summary.finish()).finish();
}

/** Step of an Event message written here; 0 if it has none. */
function stepOf(event: Uint8Array): number {
  let at = 9; // wall_time: one byte of key, eight of double
  if (event[at++] !== ((2 << 3) | VARINT)) return 0;
  let step = 0;
  for (let scale = 1; at < event.length; scale *= 0x80) {
    const byte = event[at++];
    step += (byte & 0x7f) * scale;
    if (byte < 0x80) break;
  }
  return step;
}

/** No event of scalars comes near this; a larger length is damage. */
const MOST_EVENT_BYTES = 1 << 20;

/** Bytes of an existing file to keep: whole, undamaged records up to the first event of a later step. */
async function keptBytes(files: FileSystem, path: string, lastStep: number): Promise<number> {
  const file = await files.open(path);
  try {
    let at = 0;
    let isForeign = false;
    while (at + 12 <= file.size) {
      const head = await file.read(at, 12);
      const view = new DataView(head.buffer, head.byteOffset);
      const length = Number(view.getBigUint64(0, true));
      const isSound = view.getUint32(8, true) === maskedCrc32c(head.subarray(0, 8));
      isForeign = at === 0 && !isSound;
      if (!isSound || length > MOST_EVENT_BYTES || at + 16 + length > file.size) break;
      const body = await file.read(at + 12, length + 4);
      const checksum = new DataView(body.buffer, body.byteOffset + length).getUint32(0, true);
      if (checksum !== maskedCrc32c(body.subarray(0, length)) || stepOf(body) > lastStep) break;
      at += 16 + length;
    }
    if (isForeign) {
      throw new FileFormatError(path, 'not a TensorBoard event file', 'use another folder, or remove it');
    }
    return at;
  } finally {
    await file.close();
  }
}

export interface EventWriterOptions {
  /** Seconds since 1970; by default the clock of this machine. */
  now?: () => number;
  /** On an existing file: events of later steps are dropped, as a resumed run will write them again. */
  lastStep?: number;
}

/** Appends scalars to an event file. */
export class EventWriter {
  private constructor(
    private readonly file: WritableFile,
    private readonly now: () => number,
  ) {}

  /**
   * Opens or makes `<folder>/events.out.tfevents.<name>`. What a killed run left half written is cut off, so that
   * readers, which stop at the first damaged record, see everything after it.
   */
  static async open(
    files: FileSystem,
    folder: string,
    name: string,
    options: EventWriterOptions = {},
  ): Promise<EventWriter> {
    const { now = () => Date.now() / 1000, lastStep = Number.POSITIVE_INFINITY } = options;
    const path = joinPath(folder, `events.out.tfevents.${name}`);
    const kept = (await files.exists(path)) ? await keptBytes(files, path, lastStep) : 0;
    const file = await files.openWritable(path);
    if (file.size > kept) await file.truncate(kept);
    if (kept === 0) {
      await file.write(formatRecord(new Message().double(1, now()).data(3, 'brain.Event:2').finish()));
    }
    return new EventWriter(file, now);
  }

  /** Appends the values of one step under their tags (`train/loss`). */
  async scalars(step: number, values: Readonly<Record<string, number>>): Promise<void> {
    await this.file.write(formatRecord(formatScalars(this.now(), step, values)));
  }

  async sync(): Promise<void> {
    await this.file.sync();
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}
