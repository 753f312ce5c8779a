import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type Device, mul, reshape, type Tensor } from '../../tensor/index.ts';
import { type LanguageModel, loadModel, type ModelState, prefill } from '../index.ts';
import { testDevices } from '../testing/devices.ts';
import { files, fixture } from '../testing/fixtures.ts';
import { randomIds } from '../testing/model-runs.ts';
import { Decoder } from './decoder.ts';
import { greedyToken } from './sampling.ts';

const PROMPTS = [5, 2, 9].map((length, i) => randomIds(length, 61, i));

/** Step by step without a recording: logits of every step, with sequence 1 left out after half of them. */
async function oneByOne(model: LanguageModel, steps: readonly number[][]): Promise<number[][]> {
  const { device } = model;
  const states = await Promise.all(PROMPTS.map(async (prompt) => readState(model, prompt)));
  const logits: number[][] = [];
  for (const tokens of steps) {
    const rows = tokens.length === PROMPTS.length ? [0, 1, 2] : [0, 2];
    for (const [i, row] of rows.entries()) {
      const ids = device.from([tokens[i]], [1, 1], 'i32');
      const { hidden, state } = device.noGrad(() => model.forward(ids, { state: states[row], wantState: true }));
      const out = device.noGrad(() => device.scope(() => model.logits(reshape(hidden, [1, model.hiddenSize]))));
      logits.push(Array.from(await out.read()));
      states[row].dispose();
      states[row] = state!;
      for (const tensor of [ids, hidden, out]) tensor.dispose();
    }
  }
  for (const state of states) state.dispose();
  return logits;
}

async function readState(model: LanguageModel, ...prompts: number[][]): Promise<ModelState> {
  const { hidden, state } = await prefill(model, prompts);
  hidden.dispose();
  return state;
}

/** The same by a decoder. */
async function decoded(model: LanguageModel, steps: readonly number[][]): Promise<number[][]> {
  const decoder = new Decoder(model, await readState(model, ...PROMPTS));
  const logits: number[][] = [];
  let sequences = PROMPTS.length;
  for (const tokens of steps) {
    if (tokens.length < sequences) decoder.select([0, 2]);
    sequences = tokens.length;
    for (const row of await decoder.next(tokens)) logits.push(Array.from(row));
  }
  decoder.dispose();
  return logits;
}

/** A model whose state has a number more after each position, as a cache of keys and values has. */
function growing(model: LanguageModel): LanguageModel {
  const inner = new WeakMap<ModelState, { state: ModelState; seen: Tensor }>();
  const forward: LanguageModel['forward'] = (ids, options) => {
    const before = options?.state ? inner.get(options.state) : undefined;
    const { hidden, state } = model.forward(ids, { ...options, state: before?.state ?? options?.state });
    const seen = model.device.zeros([1, (before?.seen.shape[1] ?? 0) + 1]);
    const layers = state!.layers.map((layer, i) => (i === 0 ? { ...layer, seen } : layer));
    const dispose = () => {
      state!.dispose();
      seen.dispose();
    };
    const grown: ModelState = { ...state!, layers, dispose };
    inner.set(grown, { state: state!, seen });
    return { hidden, state: grown };
  };
  return new Proxy(model, {
    get: (target, name) => (name === 'forward' ? forward : Reflect.get(target, name, target)),
  });
}

const STEPS = [...Array(12).keys()].map((i) => randomIds(i < 6 ? 3 : 2, 61, 100 + i));

for (const { name, skip, open } of await testDevices()) {
  describe(`decoder on ${name}`, { skip }, () => {
    let device: Device;
    let model: LanguageModel;
    before(async () => {
      device = await open();
      model = await loadModel(device, files, fixture('mamba-a'));
      (await readState(model, [1])).dispose(); // what the model keeps, it has now
    });
    after(() => device.close());

    it('gives what single steps give, also after a sequence ended, and gives its memory back', async () => {
      const start = device.memory();
      const [expected, got] = [await oneByOne(model, STEPS), await decoded(model, STEPS)];
      assert.deepEqual(got.length, expected.length);
      for (const [i, row] of expected.entries()) {
        const worst = Math.max(...row.map((value, j) => Math.abs(value - got[i][j])));
        assert.ok(worst <= 1e-5, `logits ${i} differ by ${worst}`);
      }
      assert.deepEqual(await decoded(model, STEPS), got, 'twice the same');
      const { blocks, bytesInUse } = device.memory();
      assert.deepEqual([blocks, bytesInUse], [start.blocks, start.bytesInUse]);
    });

    it('does so with keys and values, whose recordings are of one step each', async () => {
      const start = device.memory().blocks;
      const neox = await loadModel(device, files, fixture('gpt_neox-a'));
      const [expected, got] = [await oneByOne(neox, STEPS), await decoded(neox, STEPS)];
      for (const [i, row] of expected.entries()) {
        const worst = Math.max(...row.map((value, j) => Math.abs(value - got[i][j])));
        assert.ok(worst <= 1e-5, `logits ${i} differ by ${worst}`);
      }
      neox.dispose();
      assert.equal(device.memory().blocks, start);
    });

    it('launches a list, not kernels, and asks for no memory after the second step', async () => {
      const decoder = new Decoder(model, await readState(model, ...PROMPTS));
      for (const tokens of STEPS.slice(0, 2)) await decoder.next(tokens);
      const { backend } = device;
      const calls: string[] = [];
      for (const method of ['launch', 'alloc', 'list'] as const) {
        const plain = backend[method].bind(backend) as (...args: unknown[]) => unknown;
        const spy = (...args: unknown[]) => {
          calls.push(method);
          return plain(...args);
        };
        Object.assign(backend, { [method]: spy });
      }
      for (const tokens of STEPS.slice(2, 6)) await decoder.next(tokens);
      for (const method of ['launch', 'alloc', 'list'] as const) Reflect.deleteProperty(backend, method);
      decoder.dispose();
      // On the reference device a list is what it is made of.
      assert.deepEqual(new Set(calls), new Set(name === 'reference' ? ['launch'] : []));
    });

    it('chooses tokens itself, some steps ahead of the host, as the host would from logits', async () => {
      const start = device.memory().blocks;
      const best = (rows: readonly ArrayLike<number>[]) => rows.map(greedyToken);
      const plain = new Decoder(model, await readState(model, ...PROMPTS));
      const expected: number[][] = [];
      let tokens = STEPS[0];
      for (let i = 0; i < 9; i++) {
        if (i === 6) {
          plain.select([0, 2]);
          tokens = [tokens[0], tokens[2]];
        }
        tokens = best(await plain.next(tokens));
        expected.push(tokens);
      }
      plain.dispose();
      const ahead = new Decoder(model, await readState(model, ...PROMPTS), true);
      assert.equal(ahead.goesOn, false);
      assert.throws(() => ahead.choose(null), /this decoder has chosen no tokens/);
      const queued = [ahead.choose(STEPS[0])];
      assert.equal(ahead.goesOn, true);
      for (let i = 1; i < 6; i++) queued.push(ahead.choose(null));
      const got = await Promise.all(queued);
      ahead.select([0, 2]);
      got.push(await ahead.choose([got[5][0], got[5][2]]));
      got.push(await ahead.choose(null));
      got.push(await ahead.choose(got[7])); // tokens of the host's, in the middle of a turn
      assert.deepEqual(got, expected);
      void ahead.choose(null); // nobody waits for it
      ahead.dispose();
      assert.equal(device.memory().blocks, start);
    });

    it('says that a logit is NaN', async () => {
      const own = await loadModel(device, files, fixture('mamba-a'));
      const decoder = new Decoder(own, await readState(own, ...PROMPTS), true);
      await decoder.choose(STEPS[0]);
      const table = own.parameters.get('backbone.embeddings.weight')!;
      const [, width] = table.shape;
      table.write(new Float32Array(width).fill(Number.NaN), 7 * width);
      // Tied to the head or not: the sequence that reads the token has nothing but NaN.
      await assert.rejects(decoder.choose([1, 7, 2]), /a logit is NaN; the weights/);
      decoder.dispose();
      own.dispose();
    });

    it('steps anew where the state grows', async () => {
      const start = device.memory().blocks;
      const larger = growing(model);
      const decoder = new Decoder(larger, await readState(larger, ...PROMPTS));
      const got: number[][] = [];
      for (const tokens of STEPS.slice(0, 4)) for (const row of await decoder.next(tokens)) got.push(Array.from(row));
      decoder.dispose();
      assert.deepEqual(got, (await decoded(model, STEPS.slice(0, 4))).slice(0, got.length));
      const choosing = new Decoder(larger, await readState(larger, ...PROMPTS), true);
      for (const [i, tokens] of STEPS.slice(0, 4).entries()) {
        const chosen = await choosing.choose(tokens);
        assert.deepEqual([chosen, choosing.goesOn], [got.slice(3 * i, 3 * i + 3).map(greedyToken), false]);
      }
      choosing.dispose();
      assert.equal(device.memory().blocks, start);
    });

    it('goes on with the weights that it began with, whoever disposes of them', async () => {
      const own = await loadModel(device, files, fixture('mamba-a'));
      const decoder = new Decoder(own, await readState(own, ...PROMPTS));
      const first = (await decoder.next(STEPS[0])).map((row) => Array.from(row));
      own.dispose();
      const taken = Array.from({ length: 40 }, () => mul(device.ones([61, 64]), device.full([1], Number.NaN)));
      const second = (await decoder.next(STEPS[1])).map((row) => Array.from(row));
      assert.deepEqual([...first, ...second], (await decoded(model, STEPS.slice(0, 2))).slice(0, 6));
      for (const tensor of taken) tensor.dispose();
      decoder.dispose();
    });
  });
}
