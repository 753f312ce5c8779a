/** Writing safetensors files: atomic, streamed, and the same bytes for the same tensors whatever their order. */
import { FileFormatError, formatShape, type Shape, sizeOf } from '../core/index.ts';
import type { FileSystem } from './files.ts';
import { type StoredDType, storedBits } from './stored-dtype.ts';

/** A tensor to be written. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: Shape;
  /** Its little-endian bytes; called once, when its turn comes, so that only one tensor needs to be in memory. */
  data(): Uint8Array | AsyncIterable<Uint8Array> | Promise<Uint8Array>;
}

/** Wide elements first and then by name, as other writers do: every tensor then starts aligned to its elements. */
const byWidthThenName = (a: TensorEntry, b: TensorEntry): number =>
  storedBits(b.dtype) - storedBits(a.dtype) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);

const bytesOf = ({ dtype, shape }: TensorEntry): number => (sizeOf(shape) * storedBits(dtype)) / 8;

function checkEntries(path: string, sorted: readonly TensorEntry[]): void {
  const seen = new Set<string>();
  for (const entry of sorted) {
    const fail = (problem: string): never => {
      throw new FileFormatError(path, `tensor ${JSON.stringify(entry.name)}: ${problem}`, 'nothing was written');
    };
    if (seen.has(entry.name)) fail('given twice');
    if (entry.name === '__metadata__') fail('this name is reserved');
    if (!entry.shape.every((size) => Number.isSafeInteger(size) && size >= 0) || !Number.isInteger(bytesOf(entry))) {
      fail(`shape ${formatShape(entry.shape)} of ${entry.dtype} cannot be written`);
    }
    seen.add(entry.name);
  }
}

/** Length and JSON, padded with spaces so that the data starts at a multiple of 8. */
function encodeHeader(sorted: readonly TensorEntry[], metadata: Readonly<Record<string, string>>): Uint8Array {
  const header = new Map<string, unknown>();
  const keys = Object.keys(metadata).sort();
  if (keys.length) header.set('__metadata__', Object.fromEntries(keys.map((key) => [key, metadata[key]])));
  let at = 0;
  for (const entry of sorted) {
    const end = at + bytesOf(entry);
    header.set(entry.name, { dtype: entry.dtype, shape: entry.shape, data_offsets: [at, end] });
    at = end;
  }
  // By hand, not of an object: its integer-like keys would come first.
  const json = `{${[...header].map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`;
  const text = new TextEncoder().encode(json);
  const padded = new Uint8Array(8 + Math.ceil(text.length / 8) * 8).fill(0x20);
  new DataView(padded.buffer).setBigUint64(0, BigInt(padded.length - 8), true);
  padded.set(text, 8);
  return padded;
}

async function* contentOf(
  path: string,
  header: Uint8Array,
  sorted: readonly TensorEntry[],
): AsyncGenerator<Uint8Array> {
  yield header;
  for (const entry of sorted) {
    const data = await entry.data();
    let written = 0;
    for await (const chunk of data instanceof Uint8Array ? [data] : data) {
      written += chunk.length;
      yield chunk;
    }
    if (written === bytesOf(entry)) continue;
    const problem = `tensor ${JSON.stringify(entry.name)}: ${formatShape(entry.shape)} of ${entry.dtype} is ${bytesOf(entry)} bytes, its data ${written}`;
    throw new FileFormatError(path, problem, 'nothing was written');
  }
}

/**
 * Writes tensors to a safetensors file, all of it or nothing.
 * @param metadata kept in the header; `format: pt` is what PyTorch's loaders look for
 * @throws FileFormatError for a name given twice, a shape that cannot be, data of another length, a full disk
 */
export async function writeSafetensors(
  files: FileSystem,
  path: string,
  entries: Iterable<TensorEntry>,
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): Promise<void> {
  const sorted = [...entries].sort(byWidthThenName);
  checkEntries(path, sorted);
  await files.writeAtomic(path, contentOf(path, encodeHeader(sorted, metadata), sorted));
}
