/** MambaTS against PyTorch (oracles/forecast_block.py): forecasts and the gradient of every parameter. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createReferenceBackend } from '../../backend/reference/index.ts';
import { createWasmBackend } from '../../backend/wasm/index.ts';
import { openSafetensors } from '../../io/index.ts';
import { NodeFileSystem } from '../../platform/node/index.ts';
import { add, backward, Device, mul, reshape, sum } from '../../tensor/index.ts';
import { normaliseRows } from '../forecaster.ts';
import type { TrainedModelName } from '../names.ts';
import { createForecastModel, type ModelSettings } from './index.ts';

const FIXTURE = fileURLToPath(new URL('../../../test/fixtures/forecast/mambats.safetensors', import.meta.url));

const CASES: Record<string, { name: TrainedModelName; settings: ModelSettings }> = {
  'variable-major': { name: 'mambats', settings: { layers: 2, d: 8, stateSize: 4, patch: 6 } },
  'time-major': { name: 'mambats', settings: { layers: 1, d: 20, stateSize: 3, patch: 5, layout: 'time-major' } },
  plain: { name: 'mamba', settings: { layers: 1, d: 8, stateSize: 4, patch: 6 } },
};

const devices = [new Device(createReferenceBackend()), new Device(await createWasmBackend())];
after(() => devices[1].close());

describe('against PyTorch', () => {
  for (const [title, { name, settings }] of Object.entries(CASES)) {
    for (const device of devices) {
      it(`${title} on ${device.name}: forecasts and gradients within 1e-4`, async () => {
        const source = await openSafetensors(new NodeFileSystem(), FIXTURE);
        const read = async (key: string) => Float32Array.from(await source.readAs(`${title}.${key}`, 'f32'));
        const [b, k, lookback] = source.info(`${title}.input`).shape;
        const horizon = source.info(`${title}.forecast`).shape[2];
        const model = createForecastModel(name, device, { k, lookback, horizon }, settings, 0);
        const own = [...source.tensors.keys()].filter((key) => key.startsWith(`${title}.parameter.`));
        assert.equal(own.length, model.parameters.size);
        for (const [key, tensor] of model.parameters) {
          assert.deepEqual(source.info(`${title}.parameter.${key}`).shape, tensor.shape, key);
          tensor.write(await read(`parameter.${key}`));
        }
        const { normalised, mean, root } = normaliseRows(await read('input'), lookback);
        const toward = device.from(await read('toward'), [b * k, horizon]);
        const y = device.scope(() => {
          const out = reshape(model.forward(device.from(normalised, [b, k, lookback])), [b * k, horizon]);
          const back = add(mul(out, device.from(root, [b * k, 1])), device.from(mean, [b * k, 1]));
          backward(sum(mul(back, toward)));
          return back;
        });
        near(await y.read(), await read('forecast'), 'forecast');
        for (const [key, tensor] of model.parameters)
          near(await tensor.grad!.read(), await read(`gradient.${key}`), key);
        model.dispose();
        await source.close();
      });
    }
  }
});

/** Within 1e-4 of the largest entry. */
function near(got: ArrayLike<number>, expected: Float32Array, what: string): void {
  const largest = expected.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-30);
  let worst = 0;
  for (let i = 0; i < expected.length; i++) worst = Math.max(worst, Math.abs(got[i] - expected[i]) / largest);
  assert.equal(got.length, expected.length);
  assert.ok(worst < 1e-4, `${what}: ${worst}`);
}
