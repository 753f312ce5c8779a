import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createReferenceBackend } from '../../backend/reference/index.ts';
import { openSafetensors, writeSafetensors } from '../../io/index.ts';
import { backward, Device, discardGraph, narrow, type Tensor } from '../../tensor/index.ts';
import * as M from '../index.ts';
import { files, fixture, largestDifference, take } from '../testing/fixtures.ts';
import { randomIds } from '../testing/model-runs.ts';

for (const name of ['mamba-a', 'gpt_neox-a']) {
  describe(`states of ${name}`, () => {
    const device = new Device(createReferenceBackend());
    let model: M.LanguageModel;
    before(async () => {
      model = await M.loadModel(device, files, fixture(name));
    });
    after(() => {
      model.dispose();
      assert.equal(device.memory().blocks, 0);
      device.close();
    });

    /** Hidden state after a prompt and one more token. */
    const hiddenAfter = async (state: M.ModelState, token: number) => {
      const { hidden, state: next } = await M.prefill(model, [[token]], { state });
      next.dispose();
      return take(hidden);
    };

    it('survive the host and a file', async () => {
      const ids = randomIds(30, model.vocabSize, 1);
      const { hidden, state } = await M.prefill(model, [ids]);
      hidden.dispose();
      const expected = await hiddenAfter(state, 5);
      const kind = model.backbone.stateKind;
      const snapshot = await M.snapshotState(state);
      state.dispose();

      const restored = M.restoreState(device, snapshot);
      assert.deepEqual(await hiddenAfter(restored, 5), expected);
      M.checkState(restored, kind);

      const folder = await mkdtemp(join(tmpdir(), 'krait-state-'));
      const path = join(folder, 'state.safetensors');
      await M.saveSnapshot(files, path, snapshot, { model: name });
      const read = await M.loadSnapshot(files, path);
      assert.deepEqual(read, snapshot);
      const source = await openSafetensors(files, path);
      assert.equal(source.metadata.model, name);
      await source.close();

      await writeSafetensors(files, path, [{ name: 'other', dtype: 'F32', shape: [1], data: () => new Uint8Array(4) }]);
      await assert.rejects(M.loadSnapshot(files, path), /state\.safetensors: tensor other: expected a state tensor/);
      await rm(folder, { recursive: true });
      const short = { ...restored, layers: restored.layers.slice(1) };
      assert.throws(() => M.checkState(short, kind), /state: expected 2 layers, got 1/);
      const narrower = { ...restored.layers[1], [name === 'mamba-a' ? 'scan' : 'keys']: device.zeros([1, 30, 7]) };
      const odd = { ...restored, layers: [restored.layers[0], narrower] };
      const wrong = /state: layer 1 (scan: expected \[b, 8, 48\]|keys: expected \[b, p, 24\]), got \[1, 30, 7\]/;
      assert.throws(() => M.checkState(odd, kind), wrong);
      Object.values(narrower)
        .at(name === 'mamba-a' ? 1 : 0)!
        .dispose();
      const other = await M.loadModel(device, files, fixture(name === 'mamba-a' ? 'gpt_neox-a' : 'mamba-a'));
      const foreign =
        name === 'mamba-a' ? /state: layer 0 has no keys; use the/ : /state: layer 0 has no conv; use the/;
      await assert.rejects(M.prefill(other, [[1]], { state: restored }), foreign);
      other.dispose();
      const longer = await M.prefill(model, [[...ids, 1, 2]]);
      longer.hidden.dispose();
      M.checkState(longer.state, kind); // however many positions there were
      longer.state.dispose();
      restored.dispose();
    });

    it('survive a file in half precision', async () => {
      const half = await M.loadModel(device, files, fixture(name), { dtype: 'bf16' });
      const { hidden, state } = await M.prefill(half, [randomIds(9, half.vocabSize, 1)]);
      const snapshot = await M.snapshotState(state);
      const folder = await mkdtemp(join(tmpdir(), 'krait-state-'));
      const path = join(folder, 'state.safetensors');
      await M.saveSnapshot(files, path, snapshot);
      assert.deepEqual(await M.loadSnapshot(files, path), snapshot);
      const types = new Set([...M.namedParts(snapshot).values()].map(({ dtype }) => dtype));
      assert.deepEqual([...types].sort(), name === 'mamba-a' ? ['f32'] : ['bf16', 'f32']);
      await rm(folder, { recursive: true });
      for (const value of [hidden, state, half]) value.dispose();
    });

    it('are shortened to their last positions, where they have any', async () => {
      const ids = randomIds(12, model.vocabSize, 1);
      const { hidden, state } = await M.prefill(model, [ids]);
      hidden.dispose();
      for (const positions of [0, 5, 12, 40]) {
        const shorter = M.keepLast(state, model.backbone.stateKind, positions);
        M.checkState(shorter, model.backbone.stateKind);
        const expected = await hiddenAfter(state, 7);
        const got = await hiddenAfter(shorter, 7);
        const isSame = name === 'mamba-a' || positions >= 12;
        assert.equal(largestDifference(got, expected) === 0, isSame, `${positions} positions`);
        for (const layer of shorter.layers) {
          if (layer.keys) assert.equal(layer.keys.shape[1], Math.min(12, positions));
        }
        shorter.dispose();
      }
      state.dispose();
    });

    it('are picked and repeated by row', async () => {
      const rows = [3, 9, 5].map((length, i) => randomIds(length, model.vocabSize, i));
      const { hidden, state } = await M.prefill(model, rows);
      hidden.dispose();
      const picked = M.selectRows(state, [2, 0, 2]);
      assert.equal(picked.rows, 3);
      for (const [i, row] of [2, 0, 2].entries()) {
        for (const [layer, tensors] of picked.layers.entries()) {
          for (const [name, t] of Object.entries(tensors)) {
            const all = await state.layers[layer][name].read();
            const size = t.size / 3;
            assert.deepEqual((await t.read()).slice(i * size, (i + 1) * size), all.slice(row * size, (row + 1) * size));
          }
        }
      }
      picked.dispose();
      state.dispose();
    });

    it('are read in pieces of any size, rows of any length', async () => {
      const rows = [17, 1, 8].map((length, i) => randomIds(length, model.vocabSize, 10 + i));
      for (const [i, row] of rows.entries()) {
        const alone = await M.prefill(model, [row]);
        const expected = await take(alone.hidden);
        alone.state.dispose();
        for (const chunk of [1, 5, 17, 100]) {
          const { hidden, state } = await M.prefill(model, rows, { chunk });
          const got = (await take(hidden)).slice(i * model.hiddenSize, (i + 1) * model.hiddenSize);
          state.dispose();
          assert.ok(largestDifference(got, expected) < 1e-5, `row ${i}, chunk ${chunk}`);
        }
      }
    });

    it('carry gradients across a cut, with checkpointing too, unless they are detached', async () => {
      const double = await M.loadModel(device, files, fixture(name), { dtype: 'f64', trainable: true });
      const ids = randomIds(12, double.vocabSize, 2);
      const piece = (from: number, to: number) => device.from(ids.slice(from, to), [1, to - from], 'i32');
      const lossOf = (hidden: Tensor, from: number, to: number) =>
        double.loss(hidden, device.from(ids.slice(from + 1, to + 1), [1, to - from], 'i32'), { normalizer: 1 });
      const unused: Tensor[] = [];
      const gradientsOf = async (work: () => Tensor) => {
        const loss = device.scope(work);
        backward(loss);
        loss.dispose();
        discardGraph(...unused.splice(0));
        const all: number[] = [];
        for (const weight of double.parameters.values()) {
          all.push(...(await weight.grad!.read()));
          weight.zeroGrad();
        }
        return all;
      };
      const whole = await gradientsOf(() => {
        const { hidden } = double.forward(piece(0, 11));
        return lossOf(narrow(hidden, 1, 5, 6), 5, 11);
      });
      const inTwo = (checkpointing: boolean, isDetached: boolean) =>
        gradientsOf(() => {
          const first = double.forward(piece(0, 5), { wantState: true, checkpointing });
          const state = isDetached ? M.detachState(first.state!) : first.state!;
          const { hidden } = double.forward(piece(5, 11), { state, checkpointing });
          const loss = lossOf(hidden, 5, 11);
          // What the loss does not depend on is never walked by its backward pass.
          unused.push(first.hidden, ...first.state!.layers.flatMap((layer) => Object.values(layer)));
          return loss;
        });
      assert.ok(largestDifference(await inTwo(false, false), whole) < 1e-12);
      assert.ok(largestDifference(await inTwo(true, false), whole) < 1e-12);
      assert.ok(largestDifference(await inTwo(false, true), whole) > 1e-3);
      double.dispose();
    });

    it('refuse ids that are no rows of the table', async () => {
      await assert.rejects(M.prefill(model, [[1, 61]]), /prompt: token 1 is 61, the model's ids are 0 to 60/);
      await assert.rejects(M.prefill(model, [[1], []]), /prompt: no tokens/);
      assert.throws(
        () => M.checkTokenizer({ vocabSize: 62, path: 'x/tokenizer.json' }, 61),
        /^.*x\/tokenizer\.json: 62 tokens, the model has 61 rows/,
      );
    });
  });
}
