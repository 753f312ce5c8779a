/** Selective recomputation gives the same gradients, to the last bit. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RandomSource } from '../../core/index.ts';
import { detachState, type LanguageModel, type ModelState } from '../../models/index.ts';
import { testDevices } from '../../models/testing/devices.ts';
import { randomIds } from '../../models/testing/model-runs.ts';
import { backward, FLAG_PAD, FLAG_RESET, square, sum } from '../../tensor/index.ts';
import { loadFixtureModel } from '../testing/fixtures.ts';
import { attachLora, detachLora } from './index.ts';

const LENGTH = 9;
const FLAGS = [FLAG_RESET, 0, 0, FLAG_PAD, 0, FLAG_RESET, 0, 0, 0];

/** Gradients of every factor after two blocks, the second from the state of the first, and the most memory in use. */
async function gradientsOf(model: LanguageModel, recomputes: boolean) {
  const { device } = model;
  const adapter = attachLora(model, { r: 4, loraDropout: 0.25, targetModules: 'all-linear' }, { seed: 3 });
  // Factors that start at 0 would hide the others' gradients.
  for (const [name, tensor] of adapter.trainable) {
    if (name.includes('lora_B')) tensor.write(Float32Array.from({ length: tensor.size }, (_, i) => ((i % 7) - 3) / 20));
  }
  const random = new RandomSource(5);
  adapter.random = random;
  device.backend.resetPeak();
  let state: ModelState | null = null;
  for (let block = 0; block < 2; block++) {
    const before: ModelState | null = state;
    state = device.scope(() => {
      const rows = [randomIds(LENGTH, model.vocabSize, block), randomIds(LENGTH, model.vocabSize, 9)];
      const ids = device.from(rows.flat(), [2, LENGTH], 'i32');
      const flags = device.from([...FLAGS, ...FLAGS.map(() => 0)], [2, LENGTH], 'i32');
      const run = model.forward(ids, { flags, state: before, wantState: true, recomputes, random });
      backward(sum(square(run.hidden)));
      const after = detachState(run.state!);
      for (const layer of after.layers) for (const tensor of Object.values(layer)) device.keep(tensor);
      return after;
    });
    before?.dispose();
  }
  state?.dispose();
  const { peakBytes } = device.backend.memory();
  const gradients = new Map<string, ArrayLike<number>>();
  for (const [name, tensor] of adapter.trainable) gradients.set(name, await tensor.grad!.read());
  detachLora(adapter);
  return { gradients, peakBytes };
}

for (const { name, skip, open } of await testDevices()) {
  describe(`selective recomputation on ${name}`, { skip }, () => {
    for (const fixture of ['mamba-a', 'falcon_mamba-a', 'gpt_neox-a', 'gpt_neox-b']) {
      it(`gives the gradients of ${fixture} with dropout, documents, padding and a carried state, in less memory`, async () => {
        const device = await open();
        const runs = [];
        for (const recomputes of [false, true]) {
          const model = await loadFixtureModel(device, fixture);
          runs.push(await gradientsOf(model, recomputes));
          model.dispose();
        }
        const [plain, again] = runs;
        assert.ok(plain.gradients.size > 10);
        for (const [key, gradient] of plain.gradients) assert.deepEqual(again.gradients.get(key), gradient, key);
        assert.ok(again.peakBytes < plain.peakBytes, `${again.peakBytes} against ${plain.peakBytes} bytes`);
        assert.equal(device.memory().blocks, 0, 'blocks stay behind');
        device.close();
      });
    }
  });
}
