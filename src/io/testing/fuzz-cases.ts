/**
 * Broken files for the fuzzer, made from (seed, number) alone, and what a reader may do with them: return, or throw a
 * KraitError of one line; never read or allocate more than the file is long.
 */
import assert from 'node:assert/strict';
import { HostRandom, KraitError } from '../../core/index.ts';
import { BlobFileSystem } from '../../platform/browser/index.ts';
import { type FileSystem, openSafetensors, type RandomAccessFile, readRecords } from '../index.ts';
import { makeEntries, makeFile, VALID, VALID_DATA } from './safetensors-cases.ts';

export const READERS = ['safetensors', 'jsonl'] as const;
export type Reader = (typeof READERS)[number];

const NASTY = [
  -1,
  -0,
  0,
  1,
  2,
  3,
  4,
  8,
  16,
  20,
  255,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  1e308,
  0.5,
  null,
  true,
  '',
  '4',
  'F32',
  'BF16',
  'U8',
  'F4',
  'I64',
  '__proto__',
  [],
  {},
  [0],
  [0, 16],
  [16, 20],
  [0, 2 ** 40],
  [[1]],
  { dtype: 'F32', shape: [1], data_offsets: [0, 4] },
  'é\u2028"\\',
];

const pick = <T>(random: HostRandom, items: readonly T[]): T => items[random.integer(items.length)];

function randomBytes(random: HostRandom, most: number): Uint8Array {
  return Uint8Array.from({ length: random.integer(most) }, () => random.integer(256));
}

/** A JSON value: nasty, or an object or list of such. */
function randomValue(random: HostRandom, depth: number): unknown {
  const kind = random.integer(depth > 0 ? 4 : 2);
  if (kind < 2) return pick(random, NASTY);
  const items = Array.from({ length: random.integer(4) }, () => randomValue(random, depth - 1));
  return kind === 2
    ? items
    : Object.fromEntries(
        items.map((item, i) => [pick(random, ['dtype', 'shape', 'data_offsets', 'text', String(i)]), item]),
      );
}

const join = (...parts: Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

/** Mostly a few levels, sometimes more than a stack holds. */
const randomDepth = (random: HostRandom): number => random.integer(random.integer(8) === 0 ? 20_000 : 20);

/** Bytes changed, removed, repeated or put in at random places. */
function damage(random: HostRandom, original: Uint8Array): Uint8Array {
  let bytes = original;
  for (let n = random.integer(4); n >= 0; n--) {
    const at = random.integer(bytes.length + 1);
    const until = Math.min(bytes.length, at + random.integer(12));
    const middle = pick(random, [
      bytes.subarray(at, until).map((byte) => byte ^ (1 << random.integer(8))),
      new Uint8Array(0),
      randomBytes(random, 8),
      join(bytes.subarray(at, until), bytes.subarray(at, until)),
      new TextEncoder().encode(
        pick(random, ['{', '}', '[', ']', '"', ',', ':', '\\', '-', '1e999', 'null', '\n', '\r\n', '\uFEFF']),
      ),
    ]);
    bytes = join(bytes.subarray(0, at), middle, bytes.subarray(until));
  }
  return bytes;
}

function randomSafetensors(random: HostRandom): Uint8Array {
  const valid = makeEntries(VALID, VALID_DATA);
  switch (random.integer(7)) {
    case 0:
      return randomBytes(random, 200);
    case 1:
      return damage(random, valid);
    case 2:
      return valid.subarray(0, random.integer(valid.length));
    case 3: {
      const header = { ...VALID, [pick(random, ['a', 'b', 'c', '__metadata__'])]: randomValue(random, 3) };
      return makeEntries(header, randomBytes(random, 40));
    }
    case 4: {
      const entry = {
        ...(VALID.a as object),
        [pick(random, ['dtype', 'shape', 'data_offsets', 'x'])]: randomValue(random, 2),
      };
      return makeEntries({ ...VALID, a: entry }, VALID_DATA);
    }
    case 5: {
      const sizes = Array.from({ length: random.integer(5) }, () => random.integer(9));
      const ends = sizes.map((_, i) => sizes.slice(0, i + 1).reduce((sum, size) => sum + size, 0));
      const entries = sizes.map((size, i) => ({ dtype: 'U8', shape: [size], data_offsets: [ends[i] - size, ends[i]] }));
      const end = ends.at(-1) ?? 0;
      // One file in three is a byte off.
      return makeEntries({ ...entries }, new Uint8Array(end + (random.integer(3) === 0 ? 1 : 0)));
    }
    default: {
      const depth = randomDepth(random);
      const header = pick(random, [
        `{"a":${'['.repeat(depth)}${']'.repeat(depth)}}`,
        `{${'"a":{'.repeat(depth)}`,
        `{"${'\\\\'.repeat(depth)}":1}`,
      ]);
      return makeFile(header, VALID_DATA, pick(random, [undefined, 0, 1, 2 ** 31, 2n ** 64n - 1n]));
    }
  }
}

function randomJsonl(random: HostRandom): Uint8Array {
  const encoder = new TextEncoder();
  const line = (): string => {
    switch (random.integer(12)) {
      case 0:
        return JSON.stringify({ text: 'some text é', label: pick(random, NASTY) });
      case 1:
        return JSON.stringify({ prompt: 'a', completion: 'b', messages: randomValue(random, 3) });
      case 2:
        return JSON.stringify(randomValue(random, 3));
      case 3: {
        const depth = randomDepth(random);
        return `{"text":${'['.repeat(depth)}${pick(random, ['', `${']'.repeat(depth)}}`])}`;
      }
      default:
        return '{"text":"ok"}';
    }
  };
  const text = Array.from({ length: random.integer(8) }, line).join(pick(random, ['\n', '\r\n', '\n\n', '\r']));
  return random.integer(3) === 0 ? encoder.encode(text) : damage(random, encoder.encode(text));
}

/** The file of a case; the same for the same numbers. */
export function makeCase(reader: Reader, seed: number, number: number): Uint8Array {
  const random = new HostRandom(seed, number);
  return reader === 'safetensors' ? randomSafetensors(random) : randomJsonl(random);
}

/** A file system of one file that refuses to read more than there is, and counts what is read. */
class MeteredFiles extends BlobFileSystem implements FileSystem {
  read = 0;

  constructor(private readonly content: Uint8Array) {
    super();
  }

  override async open(path: string): Promise<RandomAccessFile> {
    const { content } = this;
    const read = async (offset: number, length: number) => {
      assert.ok(Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0);
      assert.ok(offset + length <= content.length, `reads ${offset} + ${length} of ${content.length} bytes`);
      this.read += length;
      return content.slice(offset, offset + length);
    };
    const readInto = async (offset: number, target: Uint8Array) => target.set(await read(offset, target.length));
    return { path, size: content.length, read, readInto, close: async () => {} };
  }
}

/** Bound of memory: the input may be held a few times (bytes, their line, an aligned copy). */
const MOST_COPIES = 4;
const SLACK_BYTES = 64 << 10;

/**
 * Reads a file with one of the readers.
 * @returns whether it was accepted
 * @throws AssertionError if the reader did what it may not
 */
export async function checkCase(reader: Reader, content: Uint8Array): Promise<boolean> {
  const files = new MeteredFiles(content);
  const before = process.memoryUsage().arrayBuffers;
  let isAccepted = true;
  try {
    if (reader === 'safetensors') {
      const file = await openSafetensors(files, 'f');
      for (const name of file.tensors.keys()) await file.read(name);
    } else {
      for await (const _ of readRecords(files, 'f', { chunkBytes: 64, mostLineBytes: 1 << 16 }));
    }
  } catch (error) {
    if (!(error instanceof KraitError)) throw error;
    assert.ok(!error.message.includes('\n') && error.message.length < 2000, `message: ${error.message}`);
    isAccepted = false;
  }
  assert.ok(files.read <= content.length, `read ${files.read} bytes of ${content.length}`);
  const allocated = process.memoryUsage().arrayBuffers - before;
  const most = MOST_COPIES * content.length + SLACK_BYTES;
  assert.ok(allocated <= most, `allocated ${allocated} bytes for a file of ${content.length}`);
  return isAccepted;
}
