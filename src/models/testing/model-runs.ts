/** Ways to run a model that tests compare with one another. */
import assert from 'node:assert/strict';
import { HostRandom } from '../../core/index.ts';
import { backward, IGNORE_INDEX } from '../../tensor/index.ts';
import type { LanguageModel, ModelState } from '../index.ts';
import { inputsOf, type LogitsCase, take } from './fixtures.ts';

/** Logits of a case, at its positions. */
export async function logitsFor(model: LanguageModel, example: LogitsCase): Promise<Float32Array> {
  const { device } = model;
  const logits = device.noGrad(() =>
    device.scope(() => {
      const { ids, flags } = inputsOf(device, example);
      return model.logits(model.forward(ids, { flags }).hidden);
    }),
  );
  const all = await take(logits);
  if (!example.positions) return all;
  const v = model.vocabSize;
  return Float32Array.from(
    { length: example.positions.length * v },
    (_, i) => all[example.positions![Math.floor(i / v)] * v + (i % v)],
  );
}

export const randomIds = (count: number, vocabSize: number, seed: number): number[] => {
  const random = new HostRandom(seed);
  return Array.from({ length: count }, () => random.integer(vocabSize));
};

/** Logits [l * v] of one sequence, run in pieces of the given lengths with the state carried. */
export async function logitsInPieces(model: LanguageModel, ids: readonly number[], pieces: readonly number[]) {
  const { device } = model;
  const out: number[] = [];
  let state: ModelState | null = null;
  let at = 0;
  for (const length of pieces) {
    const previous: ModelState | null = state;
    const result = device.noGrad(() =>
      device.scope(() => {
        const part = device.from(ids.slice(at, at + length), [1, length], 'i32');
        const { hidden, state: next } = model.forward(part, { state: previous, wantState: true });
        return { logits: model.logits(hidden), next: next! };
      }),
    );
    previous?.dispose();
    state = result.next;
    at += length;
    out.push(...(await take(result.logits)));
  }
  state?.dispose();
  assert.equal(at, ids.length);
  return out;
}

export const run = (
  model: LanguageModel,
  ids: readonly number[],
  flags: readonly number[] | null = null,
): Promise<Float32Array> => {
  const { device } = model;
  return take(
    device.noGrad(() =>
      device.scope(() => {
        const shape = [1, ids.length];
        const marks = flags && device.from(flags, shape, 'i32');
        return model.logits(model.forward(device.from(ids, shape, 'i32'), { flags: marks }).hidden);
      }),
    ),
  );
};

/** Next tokens as targets, none at the end of a row. */
export const shifted = (ids: Int32Array, length: number) =>
  ids.map((_, i) => (i % length === length - 1 ? IGNORE_INDEX : ids[i + 1]));

export interface Batch {
  ids: Int32Array;
  mask: Int32Array;
  targets: Int32Array;
  shape: readonly number[];
}

/** Loss of a batch and the gradient of every parameter, which are left without gradients again. */
export async function gradientsFor(model: LanguageModel, batch: Batch, checkpointing: boolean) {
  const { device } = model;
  const normalizer = batch.targets.filter((t) => t !== IGNORE_INDEX).length;
  const loss = device.scope(() => {
    const { ids, flags } = inputsOf(device, batch);
    const { hidden } = model.forward(ids, { flags, checkpointing });
    return model.loss(hidden, device.from(batch.targets, batch.shape, 'i32'), { normalizer });
  });
  backward(loss);
  const [value] = await take(loss);
  const gradients = new Map<string, Float32Array>();
  for (const [name, weight] of model.parameters) {
    assert.ok(weight.grad, `${name} has no gradient`);
    gradients.set(name, (await weight.grad.read()) as Float32Array);
    weight.zeroGrad();
  }
  return { value, gradients };
}
