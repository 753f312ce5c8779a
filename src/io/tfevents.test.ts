import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FileFormatError } from '../core/index.ts';
import { BlobFileSystem } from '../platform/browser/index.ts';
import { crc32c, maskedCrc32c } from './crc32c.ts';
import { EventWriter } from './tfevents.ts';

const PATH = 'logs/events.out.tfevents.1.krait';

interface Field {
  readonly field: number;
  readonly value: number | Uint8Array;
}

/** Protocol-buffer fields of a message, read by its wire types. */
function fieldsOf(bytes: Uint8Array): Field[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const fields: Field[] = [];
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(value);
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const field = key >> 3;
    const start = at;
    switch (key & 7) {
      case 0:
        fields.push({ field, value: varint() });
        break;
      case 1:
        at += 8;
        fields.push({ field, value: view.getFloat64(start, true) });
        break;
      case 2: {
        const length = varint();
        fields.push({ field, value: bytes.subarray(at, at + length) });
        at += length;
        break;
      }
      case 5:
        at += 4;
        fields.push({ field, value: view.getFloat32(start, true) });
        break;
      default:
        assert.fail(`wire type ${key & 7}`);
    }
  }
  assert.equal(at, bytes.length);
  return fields;
}

interface Event {
  wallTime?: number;
  step?: number;
  version?: string;
  scalars: Record<string, number>;
}

const text = (bytes: number | Uint8Array) => new TextDecoder().decode(bytes as Uint8Array);

function parseEvent(data: Uint8Array): Event {
  const event: Event = { scalars: {} };
  for (const { field, value } of fieldsOf(data)) {
    if (field === 1) event.wallTime = value as number;
    else if (field === 2) event.step = value as number;
    else if (field === 3) event.version = text(value);
    else if (field === 5) {
      for (const item of fieldsOf(value as Uint8Array)) {
        const [tag, scalar] = fieldsOf(item.value as Uint8Array);
        assert.deepEqual([item.field, tag.field, scalar.field], [1, 1, 2]);
        event.scalars[text(tag.value)] = scalar.value as number;
      }
    } else assert.fail(`field ${field}`);
  }
  return event;
}

async function readEvents(files: BlobFileSystem, path = PATH): Promise<Event[]> {
  const file = await files.open(path);
  const bytes = await file.read(0, file.size);
  const view = new DataView(bytes.buffer);
  const events: Event[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(view.getBigUint64(at, true));
    assert.equal(view.getUint32(at + 8, true), maskedCrc32c(bytes.subarray(at, at + 8)));
    const data = bytes.subarray(at + 12, at + 12 + length);
    assert.equal(view.getUint32(at + 12 + length, true), maskedCrc32c(data));
    events.push(parseEvent(data));
    at += 16 + length;
  }
  return events;
}

test('CRC-32C of known vectors (RFC 3720 B.4), and the mask', () => {
  assert.equal(crc32c(new TextEncoder().encode('123456789')), 0xe3069283);
  assert.equal(crc32c(new Uint8Array(0)), 0);
  assert.equal(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assert.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assert.equal(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e);
  assert.equal(crc32c(Uint8Array.from({ length: 32 }, (_, i) => 31 - i)), 0x113fdb5c);
  // TensorBoard's files begin with a record of 24 bytes: 18 00 00 00 00 00 00 00, then a3 7f 4b 22.
  assert.equal(maskedCrc32c(Uint8Array.of(24, 0, 0, 0, 0, 0, 0, 0)), 0x224b7fa3);
});

test('scalars are read back: first the version, then every step', async () => {
  const files = new BlobFileSystem();
  let seconds = 1700000000.25;
  const writer = await EventWriter.open(files, 'logs', '1.krait', { now: () => seconds++ });
  await writer.scalars(1, { 'train/loss': 2.5, größe: 1e-3 });
  await writer.scalars(300_000_000_000, { 'train/loss': Number.NaN });
  await writer.sync();
  await writer.close();
  assert.deepEqual(await readEvents(files), [
    { wallTime: 1700000000.25, version: 'brain.Event:2', scalars: {} },
    { wallTime: 1700000001.25, step: 1, scalars: { 'train/loss': 2.5, größe: Math.fround(1e-3) } },
    { wallTime: 1700000002.25, step: 300_000_000_000, scalars: { 'train/loss': Number.NaN } },
  ]);
});

async function writeSteps(files: BlobFileSystem, steps: number[], options: { lastStep?: number } = {}): Promise<void> {
  const writer = await EventWriter.open(files, 'logs', '1.krait', { now: () => 0, ...options });
  for (const step of steps) await writer.scalars(step, { loss: step });
  await writer.close();
}
const stepsOf = async (files: BlobFileSystem) => (await readEvents(files)).slice(1).map(({ step }) => step);

test('a file that is there is appended to, with one version record', async () => {
  const files = new BlobFileSystem();
  await writeSteps(files, [1, 2]);
  await writeSteps(files, [3]);
  assert.deepEqual(await stepsOf(files), [1, 2, 3]);
});

test('a resumed run drops the steps that it will write again', async () => {
  const files = new BlobFileSystem();
  await writeSteps(files, [1, 2, 200, 300]);
  await writeSteps(files, [201, 202], { lastStep: 200 });
  assert.deepEqual(await stepsOf(files), [1, 2, 200, 201, 202]);
});

test('cut off anywhere, what was whole stays and what follows can be read', async () => {
  const whole = new BlobFileSystem();
  await writeSteps(whole, [1, 2]);
  const file = await whole.open(PATH);
  const bytes = await file.read(0, file.size);
  const record = (file.size - 40) / 2;
  for (let length = 0; length <= bytes.length; length++) {
    const files = new BlobFileSystem([[PATH, bytes.slice(0, length)]]);
    await writeSteps(files, [9]);
    const kept = [1, 2].slice(0, Math.max(0, Math.floor((length - 40) / record)));
    assert.deepEqual(await stepsOf(files), [...kept, 9], `cut at ${length}`);
  }
});

test('a file of another kind is not touched', async () => {
  const files = new BlobFileSystem([[PATH, 'a file of somebody else, longer than a record']]);
  await assert.rejects(writeSteps(files, [1]), (error: Error) => {
    assert.ok(error instanceof FileFormatError);
    assert.match(error.message, /not a TensorBoard event file; use another folder/);
    return true;
  });
  assert.match(await files.readText(PATH), /somebody else/);
});
