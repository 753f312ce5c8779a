/** The ablation of tied adapters: its gradients, what it covers, and that it is what its formula says. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { openBackend } from '../../backend/select.ts';
import { HostRandom } from '../../core/index.ts';
import type { LanguageModel } from '../../models/index.ts';
import { NodeFileSystem } from '../../platform/node/index.ts';
import { backward, Device, gradCheck, mul, scale, sum } from '../../tensor/index.ts';
import { distance } from '../testing/fixtures.ts';
import { referenceDevice, tinyModel } from '../testing/tiny-runs.ts';
import { attachLora, detachLora, type LoraAdapter, mergeLora, saveAdapter, unmergeLora } from './index.ts';
import { addRowGroups } from './untied.ts';

const IDS = [1, 5, 2, 9, 9, 14, 3];
/** Rows of x_proj in the tiny model: a step of rank 1, B and C of 2 states. */
const GROUPS = [1, 2, 2];

async function logitsOf(model: LanguageModel): Promise<Float32Array> {
  const { device } = model;
  const logits = device.noGrad(() =>
    device.scope(() => model.logits(model.forward(device.from(IDS, [1, IDS.length], 'i32')).hidden)),
  );
  return (await logits.read()) as Float32Array;
}

const attach = (model: LanguageModel, r = 6): LoraAdapter =>
  attachLora(model, { r, loraAlpha: 2 * r, targetModules: ['x_proj'] }, { rowGroupsOf: () => GROUPS });

function disturb({ trainable }: LoraAdapter): void {
  [...trainable.values()].forEach((tensor, i) => {
    const random = new HostRandom(9, i);
    tensor.write(Float32Array.from({ length: tensor.size }, () => random.normal() / 2));
  });
}

/** s U_p V_p in plain numbers, [n, k]. */
function changeOf(A: ArrayLike<number>, B: ArrayLike<number>, k: number, q: number, s: number): number[] {
  const groupOf = GROUPS.flatMap((count, p) => Array.from({ length: count }, () => p));
  return groupOf.flatMap((p, row) =>
    Array.from({ length: k }, (_, c) => {
      let sum = 0;
      for (let j = 0; j < q; j++) sum += B[row * q + j] * A[(p * q + j) * k + c];
      return s * sum;
    }),
  );
}

describe('untied down-projections', () => {
  it('have the gradients that central differences have', async () => {
    const worst = await gradCheck(
      referenceDevice(),
      (y, h, b) => addRowGroups(scale(y, 1), h, b, GROUPS, 1.5), // a fresh y, to be taken over
      [
        [2, 3, 5],
        [2, 3, 6],
        [5, 2],
      ],
    );
    assert.ok(worst < 1e-7, `${worst}`);
  });

  it('change the weight as the formula says, beside it and merged', async () => {
    const model = tinyModel(referenceDevice());
    const base = await logitsOf(model);
    const adapter = attach(model);
    assert.ok(distance(await logitsOf(model), base) < 1e-6, 'a new adapter changes something');
    disturb(adapter);
    const adapted = await logitsOf(model);
    const [{ layer, A, B, scale: s }] = adapter.factors;
    const before = await layer.weight.read();
    const [a, b] = [await A.read(), await B.read()];
    assert.deepEqual(
      [A.shape, B.shape],
      [
        [6, 16],
        [5, 2],
      ],
    );
    const expected = changeOf(a, b, 16, 2, s).map((change, i) => before[i] + change);
    mergeLora(adapter);
    assert.ok(distance(await layer.weight.read(), expected) < 1e-5, 'merged is something else');
    const effect = distance(adapted, base);
    assert.ok(effect > 1e-4, `the adapter changes next to nothing: ${effect}`);
    assert.ok(distance(await logitsOf(model), adapted) < effect / 20, 'merged and beside differ');
    unmergeLora(adapter);
    detachLora(adapter);
    assert.deepEqual(await logitsOf(model), base);
  });

  it('are covered: every number of every factor has a gradient, and all are counted', async () => {
    const model = tinyModel(referenceDevice());
    const adapter = attach(model);
    disturb(adapter);
    const { device } = model;
    device.scope(() => {
      const { hidden } = model.forward(device.from(IDS, [1, IDS.length], 'i32'));
      const targets = device.from([...IDS.slice(1), -100], [1, IDS.length], 'i32');
      backward(model.loss(hidden, targets, { normalizer: 6 }));
    });
    for (const [name, tensor] of adapter.trainable) {
      const gradient = Array.from(await tensor.grad!.read());
      assert.ok(
        gradient.every((x) => x !== 0 && Number.isFinite(x)),
        `${name} is not covered`,
      );
    }
    const { modules, trainableParameters } = adapter.coverage;
    assert.deepEqual(
      modules.map(({ name, parameters }) => [name.split('.').pop(), parameters]),
      [['x_proj', 6 * 16 + 5 * 2]],
    );
    assert.equal(trainableParameters, 6 * 16 + 5 * 2);
  });

  it('compute the same on the native device, strides and all', async (t) => {
    const { backend } = await openBackend({ device: 'auto' });
    if (backend.name === 'reference') return t.skip('no other device here');
    const device = new Device(backend);
    const run = async (on: Device) => {
      const draw = (shape: number[], seed: number) => {
        const random = new HostRandom(seed);
        const size = shape.reduce((a, b) => a * b);
        return on
          .from(
            Array.from({ length: size }, () => random.normal()),
            shape,
          )
          .trainable();
      };
      const [y, h, b] = [draw([40, 44], 1), draw([40, 12], 2), draw([44, 4], 3)];
      const weights = draw([40, 44], 4).trainable(false);
      const out = addRowGroups(scale(y, 1), h, b, [12, 16, 16], 2);
      backward(sum(mul(out, weights)));
      return Promise.all([out.read(), h.grad!.read(), b.grad!.read()]);
    };
    const [ours, reference] = [await run(device), await run(referenceDevice())];
    for (const [i, values] of ours.entries()) assert.ok(distance(values, reference[i]) < 1e-4, `result ${i}`);
    device.close();
  });

  it('refuse ranks that do not share out, layers that are not theirs, and PEFT’s files', async () => {
    assert.throws(() => attach(tinyModel(referenceDevice()), 8), /untied: rank 8 does not share out to 3; give 9/);
    const all = { targetModules: ['in_proj'], r: 6 };
    assert.throws(
      () => attachLora(tinyModel(referenceDevice()), all, { rowGroupsOf: () => GROUPS }),
      /untied: .*in_proj is no linear layer of 5 rows/,
    );
    const folder = mkdtempSync(join(tmpdir(), 'krait-untied-'));
    await assert.rejects(
      saveAdapter(attach(tinyModel(referenceDevice())), new NodeFileSystem(), folder),
      /x_proj has untied down-projections, which PEFT cannot hold; merge the adapter and save the model/,
    );
    rmSync(folder, { recursive: true });
  });
});
