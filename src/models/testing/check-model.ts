/** Checks of every architecture, for each of its fixtures on each device. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { onlyInAll } from '../../core/testing/only-in-all.ts';
import type { Device, Tensor } from '../../tensor/index.ts';
import { generate } from '../generate/index.ts';
import { FLAG_RESET, type LanguageModel, loadModel, saveModel } from '../index.ts';
import type { TestDevice } from './devices.ts';
import { Cases, files, fixture, largest, largestDifference } from './fixtures.ts';
import { gradientsFor, logitsFor, logitsInPieces, randomIds, run, shifted } from './model-runs.ts';

const TOLERANCE = 1e-4;
const CASES = ['len1', 'len2', 'len37', 'len300', 'left', 'right'];

async function checkGradients(model: LanguageModel, cases: Cases, prefix: 'grad' | 'padgrad', checkpointing: boolean) {
  const shape = cases.shape(`${prefix}.input_ids`);
  const ids = await cases.integers(`${prefix}.input_ids`);
  const isPadded = prefix === 'padgrad';
  const mask = isPadded ? await cases.integers('padgrad.attention_mask') : ids.map(() => 1);
  const labels = isPadded ? await cases.integers('padgrad.labels') : ids;
  const batch = { ids, mask, targets: shifted(labels, shape[1]), shape };
  const { value, gradients } = await gradientsFor(model, batch, checkpointing);
  const [expectedLoss] = await cases.floats(`${prefix}_loss`);
  assert.ok(Math.abs(value - expectedLoss) <= 2e-5, `loss ${value} against ${expectedLoss}`);
  let compared = 0;
  for (const [name, got] of gradients) {
    const key = `${prefix}.${name}`;
    if (!cases.names.includes(key)) {
      assert.ok(isPadded, `no expected gradient of ${name}`);
      continue;
    }
    const expected = await cases.floats(key);
    const error = largestDifference(got, expected) / largest(expected);
    assert.ok(error <= TOLERANCE, `${key}: relative error ${error}`);
    compared++;
  }
  assert.ok(compared > (isPadded ? 4 : 15), `compared ${compared} gradients`);
  return gradients;
}

function checkParity(fixtureName: string, model: () => LanguageModel, cases: () => Cases): void {
  for (const name of CASES) {
    it(`has the logits of transformers: ${name}`, async () => {
      const example = await cases().logitsCase(name);
      const error = largestDifference(await logitsFor(model(), example), example.logits);
      assert.ok(error <= TOLERANCE, `${fixtureName} ${name}: largest difference ${error}`);
    });
  }

  it('writes the greedy tokens of transformers', async () => {
    const prompt = Array.from(await cases().integers('gen.greedy.prompt'));
    const expected = Array.from(await cases().integers('gen.greedy.tokens'));
    const got: number[] = [];
    const options = { maxTokens: expected.length, eosTokens: [] };
    for await (const { token } of generate(model(), null, prompt, options)) got.push(token);
    assert.deepEqual(got, expected);
  });
}

function checkLaws(model: () => LanguageModel): void {
  it('gives the same logits wherever a sequence is cut', async () => {
    const ids = randomIds(23, model().vocabSize, 3);
    const whole = await run(model(), ids);
    const cuts = [Array.from(ids, () => 1), ...ids.slice(1).map((_, i) => [i + 1, ids.length - i - 1]), [2, 0, 13, 8]];
    for (const pieces of cuts) {
      const error = largestDifference(await logitsInPieces(model(), ids, pieces), whole);
      assert.ok(error <= TOLERANCE, `pieces ${pieces}: ${error}`);
    }
  });

  it('runs packed documents as if each were alone', async () => {
    const documents = [
      randomIds(7, model().vocabSize, 4),
      randomIds(1, model().vocabSize, 5),
      randomIds(12, model().vocabSize, 6),
    ];
    const alone: number[] = [];
    for (const document of documents) alone.push(...(await run(model(), document)));
    const flags = documents.flatMap((d) => d.map((_, t) => (t === 0 ? FLAG_RESET : 0)));
    const error = largestDifference(await run(model(), documents.flat(), flags), alone);
    assert.ok(error <= 1e-5, `${error}`);
  });

  it('is causal, and every token matters to those after it', async () => {
    const ids = randomIds(16, model().vocabSize, 7);
    const before = await run(model(), ids);
    const v = model().vocabSize;
    for (const t of [0, 6, 15]) {
      const changed = ids.map((id, i) => (i === t ? (id + 1) % v : id));
      const after = await run(model(), changed);
      assert.deepEqual(after.subarray(0, t * v), before.subarray(0, t * v), `token ${t} changed what is before it`);
      assert.ok(largestDifference(after.subarray(t * v), before.subarray(t * v)) > 1e-3, `token ${t} changed nothing`);
    }
  });

  it('takes a batch without positions', () => {
    const { device, hiddenSize } = model();
    device.scope(() => {
      const { hidden, state } = model().forward(device.empty([2, 0], 'i32'), { wantState: true });
      assert.deepEqual(hidden.shape, [2, 0, hiddenSize]);
      state!.dispose();
    });
  });
}

/** Weights as bits, to compare exactly. */
async function bitsOf(weights: ReadonlyMap<string, Tensor>): Promise<Map<string, number[]>> {
  const bits = new Map<string, number[]>();
  for (const [name, t] of weights) bits.set(name, Array.from(await t.read()));
  return bits;
}

function checkSaving(fixtureName: string, device: () => Device, model: () => LanguageModel): void {
  it('saves what it loaded: the same files, and the same logits from shards', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'krait-model-'));
    try {
      await saveModel(model(), files, folder);
      const original = await readFile(join(fixture(fixtureName), 'model.safetensors'));
      assert.ok(original.equals(await readFile(join(folder, 'model.safetensors'))), 'model.safetensors differs');
      const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8'));
      assert.deepEqual(config, JSON.parse(await readFile(join(fixture(fixtureName), 'config.json'), 'utf8')));

      await saveModel(model(), files, folder, { shardBytes: 8000 });
      const names = await files.list(folder);
      assert.ok(names.length > 4 && !names.includes('model.safetensors'), names.join(' '));
      const again = await loadModel(device(), files, folder);
      assert.deepEqual(await bitsOf(again.parameters), await bitsOf(model().parameters));
      again.dispose();
    } finally {
      await rm(folder, { recursive: true });
    }
  });
}

function checkTraining(model: () => LanguageModel, cases: () => Cases): void {
  it('has the gradients of PyTorch, with and without checkpointing', async () => {
    for (const weight of model().parameters.values()) weight.trainable();
    try {
      const plain = await checkGradients(model(), cases(), 'grad', false);
      const again = await checkGradients(model(), cases(), 'grad', true);
      assert.deepEqual(again, plain, 'checkpointing changes gradients');
      await checkGradients(model(), cases(), 'padgrad', false);
    } finally {
      for (const weight of model().parameters.values()) weight.trainable(false);
    }
  });
}

function checkMemory(device: () => Device, model: () => LanguageModel): void {
  it('gives its memory back', async () => {
    const blocks = device().memory().blocks;
    const ids = randomIds(9, model().vocabSize, 8);
    await run(model(), ids);
    const after = device().memory().blocks;
    assert.ok(after - blocks <= model().layerCount, 'a forward pass leaves memory'); // the cached decay rates may stay
    const training = async (checkpointing: boolean) => {
      for (const weight of model().parameters.values()) weight.trainable();
      const batch = {
        ids: Int32Array.from(ids),
        mask: new Int32Array(9).fill(1),
        targets: shifted(Int32Array.from(ids), 9),
        shape: [1, 9],
      };
      await gradientsFor(model(), batch, checkpointing);
      for (const weight of model().parameters.values()) weight.trainable(false);
    };
    await training(false);
    await training(true);
    for await (const _ of generate(model(), null, [ids, ids.slice(4)], { maxTokens: 5 })) {
      // Only what stays behind is of interest.
    }
    for await (const _ of generate(model(), null, ids, { maxTokens: 50, eosTokens: [] })) break;
    assert.ok(device().memory().blocks <= after, `${device().memory().blocks - after} blocks stay behind`);
  });
}

/** Registers the tests of one fixture on one device. */
function checkFixture(name: string, target: TestDevice): void {
  describe(`${name} on ${target.name}`, { skip: target.skip }, () => {
    let device: Device;
    let model: LanguageModel;
    let cases: Cases;
    let blocks = 0;
    before(async () => {
      device = await target.open();
      blocks = device.memory().blocks;
      model = await loadModel(device, files, fixture(name), { onWarning: assert.fail });
      cases = await Cases.open(name);
    });
    after(async () => {
      model.dispose();
      assert.equal(device.memory().blocks, blocks, 'blocks left after dispose');
      await cases.close();
      device.close();
    });
    checkParity(
      name,
      () => model,
      () => cases,
    );
    checkLaws(() => model);
    checkTraining(
      () => model,
      () => cases,
    );
    checkMemory(
      () => device,
      () => model,
    );
    checkSaving(
      name,
      () => device,
      () => model,
    );
  });
}

/** Registers the tests of an architecture, on every device. */
export function checkModel(family: string, fixtureNames: readonly string[], devices: readonly TestDevice[]): void {
  describe(family, () => {
    for (const target of devices) {
      for (const name of fixtureNames) {
        const isRepeated = !target.name.startsWith('native') && name !== fixtureNames[0];
        const skip = target.skip || (isRepeated && onlyInAll('but on native one fixture of a family').skip);
        checkFixture(name, { ...target, skip });
      }
    }
  });
}
