/**
 * The header of a safetensors file, parsed strictly. Layout: u64 length n (little-endian), n bytes of JSON, data.
 * JSON: `{ name: { dtype, shape, data_offsets: [begin, end] }, __metadata__: { string: string } }`, offsets from the
 * start of the data; the tensors cover the data exactly, without overlaps or holes.
 * Source: the format section of huggingface/safetensors' README, and its limits (header at most 100 MB).
 */
import { FileFormatError, formatShape } from '../core/index.ts';
import { describe, findDuplicateKey, isRecord, oneLine } from './json.ts';
import { isStoredDType, STORED_DTYPES, type StoredDType, storedBits } from './stored-dtype.ts';

export const MOST_HEADER_BYTES = 100_000_000;
const METADATA = '__metadata__';
const REFETCH = 'fetch or write the file again';

/** Position of a tensor in the file. */
export interface TensorInfo {
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  /** First byte in the file, and the byte after the last. */
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  /** In the order of the data. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Other kinds of file with a safetensors name, by their first bytes. */
function foreignFormat(start: Uint8Array): [problem: string, remedy: string] | undefined {
  const text = String.fromCharCode(...start);
  if (text.startsWith('version ')) return ['a Git LFS pointer, not the weights', 'run `git lfs pull` in its folder'];
  const isBarePickle = start[0] === 0x80 && start[1] >= 2 && start[1] <= 5; // protocols 2 to 5
  if (text.startsWith('PK\x03\x04') || isBarePickle) {
    return ['a PyTorch pickle, not safetensors', 'convert it with safetensors.torch.save_file'];
  }
  if (text.startsWith('<')) return ['an HTML or XML page, not safetensors', 'fetch the file again'];
  if (text.startsWith('GGUF')) return ['a GGUF file, not safetensors', 'use the safetensors weights of the model'];
  return undefined;
}

/**
 * Length of the header, from the first 8 bytes of a file.
 * @throws FileFormatError if the file cannot hold such a header
 */
export function headerLength(file: string, start: Uint8Array, fileBytes: number): number {
  if (start.length < 8) {
    throw new FileFormatError(file, `${fileBytes} bytes are too few for a safetensors file (at least 8)`, REFETCH);
  }
  const view = new DataView(start.buffer, start.byteOffset, 8);
  const exact = view.getBigUint64(0, true);
  const length = Number(exact);
  const most = Math.min(MOST_HEADER_BYTES, fileBytes - 8);
  if (length >= 2 && length <= most) return length;
  const [problem, remedy] = foreignFormat(start) ?? [];
  if (problem) throw new FileFormatError(file, problem, remedy);
  const reason =
    length < 2
      ? 'is too short for a header'
      : length > MOST_HEADER_BYTES
        ? `is more than the ${MOST_HEADER_BYTES} bytes allowed`
        : `is more than the ${fileBytes - 8} bytes that follow`;
  throw new FileFormatError(file, `header length ${exact} ${reason}`, `the file is cut off or corrupt: ${REFETCH}`);
}

/**
 * Parses the header's JSON and checks it against the file.
 * @param bytes the header, without the length before it
 * @param fileBytes size of the whole file
 * @throws FileFormatError naming the tensor and the value
 */
export function parseHeader(file: string, bytes: Uint8Array, fileBytes: number): SafetensorsHeader {
  const json = parseHeaderJson(file, bytes);
  const dataStart = 8 + bytes.length;
  const dataBytes = fileBytes - dataStart;
  const metadata = parseMetadata(file, json[METADATA]);
  const entries = Object.entries(json)
    .filter(([name]) => name !== METADATA)
    .map(([name, value]) => ({ name, info: parseEntry(file, name, value) }));
  entries.sort((a, b) => a.info.begin - b.info.begin || a.info.end - b.info.end);
  checkCoverage(file, entries, dataBytes);
  const tensors = new Map<string, TensorInfo>();
  for (const { name, info } of entries) {
    tensors.set(name, { ...info, begin: info.begin + dataStart, end: info.end + dataStart });
  }
  return { tensors, metadata };
}

function parseHeaderJson(file: string, bytes: Uint8Array): Record<string, unknown> {
  const fail = (problem: string): never => {
    throw new FileFormatError(file, `header: ${problem}`, `the file is corrupt: ${REFETCH}`);
  };
  let text = '';
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    fail('not valid UTF-8');
  }
  if (text[0] !== '{') fail(`starts with ${describe(text[0])}, not with {`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    fail(`not valid JSON: ${oneLine(error)}`);
  }
  const twice = findDuplicateKey(text);
  if (twice !== undefined) fail(`${describe(twice)} stands there twice`);
  return json as Record<string, unknown>;
}

function parseMetadata(file: string, value: unknown): Record<string, string> {
  if (value === undefined) return {};
  const isValid = isRecord(value) && Object.values(value).every((item) => typeof item === 'string');
  if (isValid) return value as Record<string, string>;
  throw new FileFormatError(file, `header: ${METADATA} must map text to text, got ${describe(value)}`, REFETCH);
}

/** One entry, its offsets still relative to the data. */
function parseEntry(file: string, name: string, value: unknown): TensorInfo {
  const fail = (problem: string): never => {
    throw new FileFormatError(file, `tensor ${describe(name)}: ${problem}`, REFETCH);
  };
  if (!isRecord(value)) return fail(`expected an object with dtype, shape and data_offsets, got ${describe(value)}`);
  const { dtype, shape, data_offsets: offsets } = value;
  const extra = Object.keys(value).find((key) => !['dtype', 'shape', 'data_offsets'].includes(key));
  if (extra !== undefined) fail(`unknown key ${describe(extra)}`);
  if (!isStoredDType(dtype)) return fail(`unknown dtype ${describe(dtype)}, known are ${STORED_DTYPES.join(', ')}`);
  if (!isSizes(shape)) return fail(`shape must be a list of integers >= 0, got ${describe(shape)}`);
  if (!isSizes(offsets) || offsets.length !== 2) {
    return fail(`data_offsets must be two integers >= 0, got ${describe(offsets)}`);
  }
  const [begin, end] = offsets;
  if (begin > end) fail(`data_offsets [${begin}, ${end}] end before they begin`);
  const bits = shape.reduce((product, size) => {
    const next = product * size;
    return Number.isSafeInteger(next)
      ? next
      : fail(`shape ${formatShape(shape)} has more elements than can be counted`);
  }, storedBits(dtype));
  if (bits % 8 !== 0) fail(`shape ${formatShape(shape)} of ${dtype} is not a whole number of bytes`);
  if (end - begin !== bits / 8) {
    fail(`shape ${formatShape(shape)} of ${dtype} needs ${bits / 8} bytes, data_offsets span ${end - begin}`);
  }
  return { dtype, shape, begin, end };
}

const isSizes = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0 && !Object.is(item, -0));

function checkCoverage(file: string, sorted: readonly { name: string; info: TensorInfo }[], dataBytes: number): void {
  const last = sorted.reduce((end, { info }) => Math.max(end, info.end), 0);
  if (last > dataBytes) {
    const problem = `truncated: its tensors need ${last} bytes of data, it has ${dataBytes}`;
    throw new FileFormatError(file, problem, REFETCH);
  }
  let at = 0;
  for (const { name, info } of sorted) {
    if (info.begin !== at) {
      const what =
        info.begin < at ? 'overlap the tensor before' : `leave a hole of ${info.begin - at} bytes before them`;
      const problem = `tensor ${describe(name)}: data_offsets [${info.begin}, ${info.end}] ${what}`;
      throw new FileFormatError(file, problem, `the file is corrupt: ${REFETCH}`);
    }
    at = info.end;
  }
  if (at < dataBytes) {
    const problem = `${dataBytes - at} trailing bytes that belong to no tensor`;
    throw new FileFormatError(file, problem, `the file is corrupt: ${REFETCH}`);
  }
}
