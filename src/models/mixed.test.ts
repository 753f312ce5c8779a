/** Models of several kinds of mixers: what one kind promises, any order of them keeps, with layers that remember nothing. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { CheckpointError } from '../core/index.ts';
import { onlyInAll } from '../core/testing/only-in-all.ts';
import { openCheckpoint, writeSafetensors } from '../io/index.ts';
import { backward, type Device, IGNORE_INDEX } from '../tensor/index.ts';
import { train as trainTask } from '../train/index.ts';
import { allParameters, LanguageTask } from '../tune/index.ts';
import { complete } from './generate/index.ts';
import * as M from './index.ts';
import { testDevices } from './testing/devices.ts';
import { files, largest, largestDifference, take } from './testing/fixtures.ts';
import { mixedBlueprint } from './testing/mixed-family.ts';
import { logitsInPieces, randomIds, run } from './testing/model-runs.ts';

const TOLERANCE = 2e-5;
const PATTERNS = ['M*M', '-M*-M', '*-'];
/** Longer than the 64 positions between states that a scan's backward pass starts from. */
const LENGTH = 70;

/** Loss of rows of ids, and every parameter's gradient, which is taken off again. */
async function gradientsOf(model: M.LanguageModel, ids: readonly number[], options: M.ForwardOptions) {
  const { device } = model;
  for (const tensor of model.parameters.values()) tensor.trainable();
  const targets = [...ids.slice(1), IGNORE_INDEX];
  const loss = device.scope(() => {
    const { hidden } = model.forward(device.from(ids, [1, ids.length], 'i32'), options);
    return model.loss(hidden, device.from(targets, [1, ids.length], 'i32'), { normalizer: ids.length - 1 });
  });
  backward(loss);
  const gradients = new Map<string, ArrayLike<number>>();
  for (const [name, tensor] of model.parameters) {
    gradients.set(name, await tensor.grad!.read());
    tensor.zeroGrad();
    tensor.trainable(false);
  }
  const value = await loss.item();
  loss.dispose();
  return { value, gradients };
}

const [reference, wasm, native] = await testDevices();
for (const { name: deviceName, skip, open } of [reference, wasm, native]) {
  for (const pattern of PATTERNS) {
    const isRare = deviceName === 'reference' && pattern !== 'M*M';
    const isLeft = skip || (isRare && onlyInAll('on the reference device one order of layers').skip);
    describe(`a model ${pattern} on ${deviceName}`, { skip: isLeft }, () => {
      let device: Device;
      let model: M.LanguageModel;
      before(async () => {
        device = await open();
        model = M.createFrom(mixedBlueprint(pattern), device, 3);
      });
      after(() => {
        model.dispose();
        assert.equal(device.memory().blocks, 0, 'blocks stay behind');
        device.close();
      });

      it('says what it remembers', () => {
        const kinds = { M: ['conv', 'scan'], '*': ['keys', 'values'], '-': [] };
        const { layers, sequence } = model.backbone.stateKind;
        assert.deepEqual(
          layers.map((kind) => Object.keys(kind)),
          [...pattern].map((letter) => kinds[letter as keyof typeof kinds]),
        );
        assert.deepEqual(Object.keys(sequence), ['documents', 'place']);
        assert.equal(model.stateGrows, true);
        assert.equal(model.backbone.takesRagged, false);
      });

      it('gives the same logits wherever a sequence is cut, token by token too', async () => {
        const ids = randomIds(LENGTH, model.vocabSize, 3);
        const whole = await run(model, ids);
        for (const cut of [[1, LENGTH - 1], [LENGTH - 1, 1], [2, 0, 40, LENGTH - 42], ids.map(() => 1)]) {
          const error = largestDifference(await logitsInPieces(model, ids, cut), whole);
          assert.ok(error <= TOLERANCE, `pieces ${cut}: ${error}`);
        }
      });

      it('runs packed documents as if each were alone, and padding as if it were not there', async () => {
        const documents = [7, 1, 12].map((length, i) => randomIds(length, model.vocabSize, 4 + i));
        const alone: number[] = [];
        for (const document of documents) alone.push(...(await run(model, document)));
        const flags = documents.flatMap((d) => d.map((_, t) => (t === 0 ? M.FLAG_RESET : 0)));
        assert.ok(largestDifference(await run(model, documents.flat(), flags), alone) <= TOLERANCE, 'packed');
        const padded = await run(
          model,
          [0, 0, ...documents[0]],
          [M.FLAG_PAD, M.FLAG_PAD, ...documents[0].map(() => 0)],
        );
        const expected = alone.slice(0, 7 * model.vocabSize);
        assert.ok(largestDifference(padded.subarray(2 * model.vocabSize), expected) <= TOLERANCE, 'padded');
      });

      it('goes on from a snapshot, in memory and in a file, and from rows that are picked and joined', async () => {
        const [ids, others] = [randomIds(9, model.vocabSize, 8), randomIds(9, model.vocabSize, 9)];
        const after = async (state: M.ModelState, tokens: number[]) => {
          const next = await M.prefill(
            model,
            tokens.map((token) => [token]),
            { state },
          );
          next.state.dispose();
          return take(next.hidden);
        };
        const { hidden, state } = await M.prefill(model, [ids, others]);
        hidden.dispose();
        M.checkState(state, model.backbone.stateKind);
        const expected = await after(state, [5, 6]);
        const snapshot = await M.snapshotState(state);
        const folder = await mkdtemp(join(tmpdir(), 'krait-mixed-'));
        const path = join(folder, 'state.safetensors');
        await M.saveSnapshot(files, path, snapshot);
        const read = await M.loadSnapshot(files, path);
        await rm(folder, { recursive: true });
        assert.deepEqual(read, snapshot);
        const restored = M.restoreState(device, read);
        assert.deepEqual(await after(restored, [5, 6]), expected);
        const [first, second] = [M.selectRows(restored, [0]), M.selectRows(restored, [1])];
        const turned = M.joinRows([second, first]);
        assert.equal(turned.rows, 2);
        const d = model.hiddenSize;
        const back = await after(turned, [6, 5]);
        assert.ok(largestDifference(back.subarray(d), expected.subarray(0, d)) <= TOLERANCE);
        const shorter = M.keepLast(turned, model.backbone.stateKind, 4);
        M.checkState(shorter, model.backbone.stateKind);
        for (const layer of shorter.layers) if (layer.keys) assert.equal(layer.keys.shape[1], 4);
        for (const one of [state, restored, first, second, turned, shorter]) one.dispose();
      });

      it('has one gradient, however much of the forward pass is kept', async () => {
        const ids = randomIds(LENGTH, model.vocabSize, 7);
        const whole = await gradientsOf(model, ids, {});
        for (const options of [{ checkpointing: true }, { recomputes: true }]) {
          const again = await gradientsOf(model, ids, options);
          assert.equal(again.value, whole.value);
          for (const [name, expected] of whole.gradients) {
            assert.ok(largest(expected) > 0, `${name} has no gradient`);
            const error = largestDifference(again.gradients.get(name)!, expected) / largest(expected);
            assert.ok(error <= 1e-5, `${name} with ${JSON.stringify(options)}: ${error}`);
          }
        }
      });

      it('scores continuations and writes several at once as it does one by one', async () => {
        const shared = randomIds(12, model.vocabSize, 11);
        const requests = [[3, 4], [3, 9, 1], [7]].map((continuation) => ({ context: shared, continuation }));
        const { scores } = await M.scoreContinuations(model, requests);
        for (const [i, request] of requests.entries()) {
          const alone = await M.scoreContinuations(model, [request]);
          assert.ok(Math.abs(alone.scores[0].logprob - scores[i].logprob) <= 1e-4);
        }
        const prompts = [shared, shared.slice(0, 3)];
        const options = { maxTokens: 6, eosTokens: [] };
        const together = await complete(model, null, prompts, options);
        for (const [i, prompt] of prompts.entries()) {
          const [alone] = await complete(model, null, [prompt], options);
          assert.deepEqual(together[i].tokens, alone.tokens);
        }
      });

      it('is saved and loaded, in int8 too', async () => {
        const folder = await mkdtemp(join(tmpdir(), 'krait-mixed-'));
        await M.saveModel(model, files, folder);
        const source = await openCheckpoint(files, folder);
        const ids = randomIds(20, model.vocabSize, 12);
        const expected = await run(model, ids);
        const same = await M.loadFrom(mixedBlueprint(pattern), device, source);
        assert.deepEqual(await run(same, ids), expected);
        same.dispose();
        const small = await M.loadFrom(mixedBlueprint(pattern), device, source, { dtype: 'i8' });
        assert.equal(small.scales.size, [...small.parameters.values()].filter(({ dtype }) => dtype === 'i8').length);
        assert.ok(small.scales.size > pattern.length);
        const error = largestDifference(await run(small, ids), expected) / largest(expected);
        assert.ok(error > 0 && error < 0.05, `${error}`);
        small.dispose();
        await source.close();
        await rm(folder, { recursive: true });
      });
    });
  }
}

describe('a model of mixed layers', () => {
  it('is refused a state of another kind, by name', async () => {
    const device = await reference.open();
    const [mixed, plain] = ['M*M', 'MMM'].map((pattern) => M.createFrom(mixedBlueprint(pattern), device, 1));
    const { hidden, state } = await M.prefill(plain, [[1, 2]]);
    hidden.dispose();
    await assert.rejects(M.prefill(mixed, [[1]], { state }), /state: layer 1 has no keys; use the model it came from/);
    assert.throws(
      () => M.checkState(M.stateOf(1, state.layers.slice(1)), plain.backbone.stateKind),
      /expected 3 layers, got 2/,
    );
    assert.equal(plain.stateGrows, false);
    const { layers } = state;
    const more = M.stateOf(1, [layers[0], { ...layers[1], keys: layers[1].conv }, layers[2]]);
    assert.throws(() => M.checkState(more, plain.backbone.stateKind), /layer 1 has a keys, which this model does not/);
    for (const one of [state, mixed, plain]) one.dispose();
    assert.equal(device.memory().blocks, 0);
    device.close();
  });

  it('learns packed documents by the trainer', async () => {
    const device = await reference.open();
    const model = M.createFrom(mixedBlueprint('M*-M'), device, 1);
    const train = Array.from({ length: 8 }, (_, i) => {
      const ids = Array.from({ length: 9 }, (_, t) => (3 * i + 2 * t) % 40);
      return { ids, targets: [[1, ids.length] as const], bytes: 0 };
    });
    const parameters = allParameters(model);
    const task = new LanguageTask({ model, parameters, train, batchSize: 2, maxLength: 20, batching: 'packing' });
    const losses: number[] = [];
    const options = { steps: 30, learningRate: 1e-2 };
    await trainTask(task, { options, onStep: ({ loss }) => void losses.push(loss) });
    assert.ok(losses[29] < losses[0] / 2, `${losses[0]} to ${losses[29]}`);
    task.dispose();
    model.dispose();
    device.close();
  });

  it('is not read from a state file that lies about its size', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'krait-mixed-'));
    const path = join(folder, 'state.safetensors');
    const entry = { name: 'layers.0.scan', dtype: 'F32' as const, shape: [1, 1], data: () => new Uint8Array(4) };
    for (const metadata of [{ layers: '300000000' }, { layers: '1.5' }, { rows: '5' }, { rows: 'many' }]) {
      await writeSafetensors(files, path, [entry], { krait: 'state', layers: '1', rows: '1', ...metadata } as Record<
        string,
        string
      >);
      await assert.rejects(M.loadSnapshot(files, path), CheckpointError);
    }
    await rm(folder, { recursive: true });
  });
});
