/** Safetensors files made by hand, for tests and the fuzzer: nothing here uses the writer. */

export type Header = Record<string, unknown>;

/** A file of a header text and data. */
export function makeFile(
  header: string | Uint8Array,
  data: Uint8Array = new Uint8Array(),
  length?: number | bigint,
): Uint8Array {
  const text = typeof header === 'string' ? new TextEncoder().encode(header) : header;
  const file = new Uint8Array(8 + text.length + data.length);
  new DataView(file.buffer).setBigUint64(0, BigInt(length ?? text.length), true);
  file.set(text, 8);
  file.set(data, 8 + text.length);
  return file;
}

/** A file of header entries and data. */
export const makeEntries = (header: Header, data?: Uint8Array): Uint8Array => makeFile(JSON.stringify(header), data);

/** Two tensors and metadata, 20 bytes of data. */
export const VALID: Header = {
  __metadata__: { format: 'pt' },
  a: { dtype: 'F32', shape: [2, 2], data_offsets: [0, 16] },
  b: { dtype: 'BF16', shape: [2], data_offsets: [16, 20] },
};
export const VALID_DATA = Uint8Array.from({ length: 20 }, (_, i) => i);
