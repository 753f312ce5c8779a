/** What a forward pass tells those who watch it, and what it takes from those who nudge it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createReferenceBackend } from '../backend/reference/index.ts';
import { add, Device, exp, permute, type Tensor } from '../tensor/index.ts';
import { type LanguageModel, type LayerDecay, loadModel } from './index.ts';
import { files, fixture, largest, largestDifference } from './testing/fixtures.ts';
import { randomIds } from './testing/model-runs.ts';

async function withModel(name: string, work: (model: LanguageModel, device: Device) => Promise<void>): Promise<void> {
  const device = new Device(createReferenceBackend());
  const model = await loadModel(device, files, fixture(name), { dtype: 'f64' });
  await work(model, device);
  model.dispose();
  assert.equal(device.memory().blocks, 0, 'blocks stay behind');
  device.close();
}

/** Hidden states, flat. */
async function hiddenOf(model: LanguageModel, ids: readonly number[], offset: Tensor | null = null) {
  const { device } = model;
  const rows = () => device.from(ids, [1, ids.length], 'i32');
  const moved = () => add(model.embed(rows()), offset!);
  const run = () => (offset ? model.backbone.forward(moved()) : model.forward(rows()));
  const hidden = device.noGrad(() => device.scope(() => run().hidden));
  const values = await hidden.read();
  hidden.dispose();
  return values;
}

describe('a watched forward pass', () => {
  for (const name of ['mamba-a', 'falcon_mamba-a']) {
    it(`tells steps and rates of every layer of ${name}, and changes nothing`, async () => {
      await withModel(name, async (model, device) => {
        const ids = randomIds(7, model.vocabSize, 1);
        const seen: { layer: number; dt: ArrayLike<number> }[] = [];
        const kept: LayerDecay[] = [];
        const observe = ({ layer, dt, A }: LayerDecay) =>
          void kept.push({ layer, dt: device.keep(dt.alias()), A: device.keep(A.alias()) });
        const run = (watch?: (decay: LayerDecay) => void) =>
          device.noGrad(() =>
            device.scope(() => model.forward(device.from(ids, [1, 7], 'i32'), { observe: watch }).hidden),
          );
        const [watched, alone] = [run(observe), run()];
        assert.deepEqual(await watched.read(), await alone.read());
        for (const { layer, dt, A } of kept) {
          const { intermediate_size: channels, state_size: states } = model.configJson() as Record<string, number>;
          assert.deepEqual(
            [dt.shape, A.shape],
            [
              [1, 7, channels],
              [states, channels],
            ],
          );
          seen.push({ layer, dt: await dt.read() });
          const aLog = model.parameters.get(`backbone.layers.${layer}.mixer.A_log`)!;
          const expected = device.scope(() => permute(exp(aLog), [1, 0]));
          const [ours, theirs] = [await A.read(), await expected.read()];
          assert.deepEqual(
            Array.from(ours),
            Array.from(theirs, (x) => -x),
          );
          for (const tensor of [dt, A, expected]) tensor.dispose();
        }
        assert.deepEqual(
          seen.map(({ layer }) => layer),
          [...Array(model.layerCount).keys()],
        );
        for (const { dt } of seen)
          assert.ok(
            Array.from(dt).every((step) => step > 0),
            'a step is not above 0',
          );
        for (const tensor of [watched, alone]) tensor.dispose();
      });
    });
  }

  it('tells nothing of a Transformer, which has no recurrence', async () => {
    await withModel('gpt_neox-a', async (model, device) => {
      const ids = device.from([1, 2, 3], [1, 3], 'i32');
      const observe = () => assert.fail('a layer was told of');
      device.noGrad(() => model.forward(ids, { observe })).hidden.dispose();
      ids.dispose();
    });
  });
});

describe('an offset of the residual stream', () => {
  for (const name of ['mamba-b', 'gpt_neox-a']) {
    it(`is what another row of the embedding table does, in ${name}`, async () => {
      await withModel(name, async (model, device) => {
        const ids = [3, 9, 4, 1, 5, 2]; // each but once
        const d = model.hiddenSize;
        const offset = device.zeros([1, ids.length, d], 'f64');
        const change = Float64Array.from({ length: d }, (_, i) => Math.sin(i + 1) / 10);
        offset.write(change, 2 * d);
        const nudged = await hiddenOf(model, ids, offset);
        const table = model.embeddings.weight;
        const rows = Float64Array.from(await table.read());
        change.forEach((x, i) => {
          rows[ids[2] * d + i] += x;
        });
        const before = await hiddenOf(model, ids);
        table.write(rows);
        const expected = await hiddenOf(model, ids);
        assert.ok(largestDifference(nudged, expected) < 1e-12, 'not the same');
        assert.deepEqual(nudged.subarray(0, 2 * d), before.subarray(0, 2 * d), 'what is before it changed');
        assert.ok(largestDifference(nudged, before) > 1e-3 * largest(before), 'it changed nothing');
        offset.dispose();
      });
    });
  }
});
