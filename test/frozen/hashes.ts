/** Hashes of raw bytes: two results have the same one if and only if they are the same to the last bit. */
import { createHash } from 'node:crypto';
import type { Tensor } from 'krait';

type Numbers = Float32Array | Float64Array | Int32Array | Uint8Array;

/** SHA-256 of the bytes of arrays, one after the other: its first 16 hexadecimal digits. */
export function hashOf(...arrays: readonly Numbers[]): string {
  const hash = createHash('sha256');
  for (const { buffer, byteOffset, byteLength } of arrays) hash.update(new Uint8Array(buffer, byteOffset, byteLength));
  return hash.digest('hex').slice(0, 16);
}

/** Of plain numbers, as f64. */
export const hashNumbers = (numbers: Iterable<number>): string => hashOf(Float64Array.from(numbers));

/** Of named tensors, in the order of their names. What is stored in half precision is exact in the f32 that is read. */
export async function hashTensors(tensors: Iterable<readonly [name: string, tensor: Tensor]>): Promise<string> {
  const sorted = [...tensors].sort(([a], [b]) => (a < b ? -1 : 1));
  const values: Numbers[] = [];
  for (const [, tensor] of sorted) values.push(await tensor.read());
  return hashOf(...values);
}

/** Of named tensors, a hash for each name; numbers in a name, which count layers, are `*`, and such tensors have one hash. */
export async function hashEach(
  tensors: Iterable<readonly [name: string, tensor: Tensor]>,
  prefix: string,
): Promise<Record<string, string>> {
  const groups = new Map<string, [string, Tensor][]>();
  for (const [name, tensor] of tensors) {
    const group = name.replace(/\.\d+\./g, '.*.');
    groups.set(group, [...(groups.get(group) ?? []), [name, tensor]]);
  }
  const hashes: Record<string, string> = {};
  for (const [group, members] of groups) hashes[`${prefix} ${group}`] = await hashTensors(members);
  return hashes;
}
