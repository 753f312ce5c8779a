/** Rows of parquet files: what data sets are stored as on the hub. */
import { FileFormatError } from '../core/index.ts';
import type { FileSystem } from './files.ts';
import { oneLine } from './json.ts';

/** A value as JSON has it: 64-bit integers as numbers where those hold them exactly. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') {
    return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value.toString();
  }
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Uint8Array) return value;
  if (value === undefined) return null;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}

/**
 * Every row of a parquet file, as an object from column to value. Structs are objects, lists arrays, integers numbers.
 * @throws FileFormatError for a file that is none, or uses a codec other than snappy or none
 */
export async function readParquet(files: FileSystem, path: string): Promise<Record<string, unknown>[]> {
  const { parquetReadObjects } = await import('hyparquet'); // only for those who read one
  const file = await files.open(path);
  try {
    const buffer = {
      byteLength: file.size,
      async slice(begin: number, end = file.size): Promise<ArrayBuffer> {
        const bytes = await file.read(begin, end - begin);
        return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
      },
    };
    const rows = await parquetReadObjects({ file: buffer });
    return rows.map((row) => plain(row) as Record<string, unknown>);
  } catch (error) {
    if (error instanceof FileFormatError) throw error;
    throw new FileFormatError(path, `not a parquet file that can be read: ${oneLine(error)}`, 'fetch it again');
  } finally {
    await file.close();
  }
}
