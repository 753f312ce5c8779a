/** Fixtures of the oracles: models, adapters, the golden curve. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { openSafetensors } from '../../io/index.ts';
import { type LanguageModel, loadModel } from '../../models/index.ts';
import { NodeFileSystem } from '../../platform/node/index.ts';
import type { Device } from '../../tensor/index.ts';

const ROOT = fileURLToPath(new URL('../../../test/fixtures/', import.meta.url));

export const fixturePath = (name: string): string => `${ROOT}${name}`;

/** All tensors of a safetensors fixture as plain numbers, with their shapes. */
export async function readFixture(
  name: string,
): Promise<Map<string, { shape: readonly number[]; values: ArrayLike<number> }>> {
  const source = await openSafetensors(new NodeFileSystem(), fixturePath(name));
  const tensors = new Map<string, { shape: readonly number[]; values: ArrayLike<number> }>();
  for (const [key, { shape, dtype }] of source.tensors) {
    tensors.set(key, { shape, values: await source.readAs(key, dtype === 'I32' ? 'i32' : 'f32') });
  }
  await source.close();
  return tensors;
}

export const readFixtureJson = <T>(name: string): T => JSON.parse(readFileSync(fixturePath(name), 'utf8')) as T;

/** A fixture model, all its parameters trainable. */
export const loadFixtureModel = (device: Device, name: string): Promise<LanguageModel> =>
  loadModel(device, new NodeFileSystem(), fixturePath(name), { trainable: true });

/** Largest absolute difference. */
export function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let most = a.length === b.length ? 0 : Number.POSITIVE_INFINITY;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i] - b[i]);
    most = difference <= most ? most : difference; // NaN counts as far
  }
  return most;
}

/** Largest difference relative to the largest entry of `expected`. */
export function relativeDistance(got: ArrayLike<number>, expected: ArrayLike<number>): number {
  let largest = 1e-30;
  for (let i = 0; i < expected.length; i++) largest = Math.max(largest, Math.abs(expected[i]));
  return distance(got, expected) / largest;
}
