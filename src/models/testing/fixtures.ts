/** The models and expected results that the oracles wrote (oracles/README.md). */
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { openSafetensors, type SafetensorsFile } from '../../io/index.ts';
import { NodeFileSystem } from '../../platform/node/index.ts';
import type { Device, Tensor } from '../../tensor/index.ts';
import { FLAG_PAD } from '../index.ts';

export const FIXTURES = fileURLToPath(new URL('../../../test/fixtures/', import.meta.url));
export const files = new NodeFileSystem();

/** Folder of a model such as `mamba-a`. */
export const fixture = (name: string): string => `${FIXTURES}${name}`;

export interface LogitsCase {
  readonly name: string;
  /** [b, l] */
  readonly shape: readonly number[];
  readonly ids: Int32Array;
  /** 1 where there is a token. */
  readonly mask: Int32Array;
  readonly logits: Float32Array;
  /** Flat positions of the rows of `logits`; null for all. */
  readonly positions: Int32Array | null;
}

/** Expected values of a fixture folder. */
export class Cases {
  private constructor(private readonly file: SafetensorsFile) {}

  static async open(name: string): Promise<Cases> {
    return new Cases(await openSafetensors(files, `${fixture(name)}/cases.safetensors`));
  }

  close(): Promise<void> {
    return this.file.close();
  }

  get names(): string[] {
    return [...this.file.tensors.keys()];
  }

  shape(name: string): readonly number[] {
    return this.file.info(name).shape;
  }

  async integers(name: string): Promise<Int32Array> {
    return (await this.file.readAs(name, 'i32')) as Int32Array;
  }

  async floats(name: string): Promise<Float32Array> {
    return (await this.file.readAs(name, 'f32')) as Float32Array;
  }

  async logitsCase(name: string): Promise<LogitsCase> {
    const key = `case.${name}`;
    const has = this.file.tensors.has(`${key}.positions`);
    return {
      name,
      shape: this.shape(`${key}.input_ids`),
      ids: await this.integers(`${key}.input_ids`),
      mask: await this.integers(`${key}.attention_mask`),
      logits: await this.floats(name === 'bf16' ? `${key}.f32_logits` : `${key}.logits`),
      positions: has ? await this.integers(`${key}.positions`) : null,
    };
  }
}

/** Ids and flags of a case on a device. */
export function inputsOf(device: Device, { ids, mask, shape }: Pick<LogitsCase, 'ids' | 'mask' | 'shape'>) {
  const flags = Int32Array.from(mask, (m) => (m ? 0 : FLAG_PAD));
  return { ids: device.from(ids, shape, 'i32'), flags: device.from(flags, shape, 'i32') };
}

export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assert.equal(a.length, b.length, 'lengths differ');
  let worst = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i] - b[i]);
    if (!(difference <= worst)) worst = difference; // NaN counts
    if (Number.isNaN(difference)) return Number.NaN;
  }
  return worst;
}

export const largest = (a: ArrayLike<number>): number => {
  let most = 0;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i]));
  return most;
};

/** Reads and disposes. */
export async function take(tensor: Tensor): Promise<Float32Array> {
  const values = (await tensor.read()) as Float32Array;
  tensor.dispose();
  return values;
}
