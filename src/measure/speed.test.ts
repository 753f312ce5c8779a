/** Rounds of work on the reference device, and costs of a model against what its kernels were launched with. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Profile } from '../backend/index.ts';
import { createReferenceBackend } from '../backend/reference/index.ts';
import { createModel, type MambaConfig, parameterCount, parseConfig } from '../models/index.ts';
import { Device, type Tensor } from '../tensor/index.ts';
import { decodeBytes, LORA_RANK, workFlops } from './model-cost.ts';
import { measureSpeed, randomModel, shapeConfig } from './speed.ts';
import { SHAPE_NAMES, WORKS } from './works.ts';

const JSON_CONFIG = {
  model_type: 'mamba',
  hidden_size: 16,
  num_hidden_layers: 2,
  vocab_size: 40,
  state_size: 4,
  time_step_rank: 2,
  use_bias: false,
  use_conv_bias: true,
  tie_word_embeddings: true,
};
const config = parseConfig(JSON_CONFIG, 'config.json') as MambaConfig;
const size = { tokens: 5, batch: 2 };

const launched = ({ shapes }: Profile, kernel: string): number =>
  shapes.filter((shape) => shape.kernel === kernel).reduce((sum, { calls, flops }) => sum + calls * flops, 0);

describe('measureSpeed', () => {
  it('times rounds of every kind of work, profiles one more, and leaves no memory in use', async () => {
    const device = new Device(createReferenceBackend());
    const model = randomModel(device, config, 'f32');
    const heads = { prefill: 2 * 40 * 16 * 2, decode: 2 * 40 * 16 * 10 };
    for (const work of WORKS) {
      const before = device.memory().blocks;
      let rounds = 0;
      const options = { ...size, rounds: 3, isProfiled: true, onRound: () => void rounds++ };
      const result = await measureSpeed(model, work, options);
      assert.deepEqual([result.seconds.length, rounds], [3, 5]);
      const middle = [...result.seconds].sort((a, b) => a - b)[1];
      assert.equal(result.tokensPerSecond, 10 / middle);
      // What the model keeps of its weights (-exp(A_log) of a frozen layer) may come and go.
      assert.ok(device.memory().blocks <= before + 2, `${work}: ${device.memory().blocks} blocks, ${before} before`);
      const profile = result.profile!;
      assert.equal(device.backend.profiler.isOn, false);
      if (work === 'prefill' || work === 'decode') {
        const scan = 10 * 32 * (7 * 4 + 8);
        const conv = 10 * 32 * (2 * config.convKernel + 4);
        const matrices = 2 * 2 * 10 * (16 * 64 + 32 * 10 + 2 * 32 + 32 * 16) + heads[work];
        assert.equal(launched(profile, 'matmul'), matrices);
        assert.equal(workFlops(config, work, size), matrices + 2 * (scan + conv) + launched(profile, 'rms_norm'));
      }
    }
    model.dispose();
    device.close();
  });

  it('counts three passes of training, and spares LoRA the gradients of frozen weights', async () => {
    const device = new Device(createReferenceBackend());
    const model = createModel(device, config, 1);
    const matrices = 2 * 10 * (2 * (16 * 64 + 32 * 10 + 2 * 32 + 32 * 16) + 40 * 16);
    const adapters = 2 * 2 * 10 * LORA_RANK * (16 + 64 + 32 + 10 + 2 + 32 + 32 + 16);
    const rest = workFlops(config, 'decode', size) - matrices; // norms, convolutions and scans of a forward pass
    assert.equal(workFlops(config, 'train', size), 3 * (matrices + rest));
    assert.equal(workFlops(config, 'lora', size), 2 * matrices + 3 * (adapters + rest));
    for (const work of ['train', 'lora'] as const) {
      const { profile } = await measureSpeed(model, work, { ...size, rounds: 1, isProfiled: true });
      const counted = work === 'train' ? 3 * matrices : 2 * matrices + 3 * adapters;
      const share = launched(profile!, 'matmul') / counted;
      assert.ok(share > 0.8 && share < 1.1, `${work}: launched ${share} of what was counted`);
    }
    device.close();
  });

  it('counts what a Transformer does, with all that attention sees', async () => {
    const device = new Device(createReferenceBackend());
    const json = { vocab_size: 40, hidden_size: 16, num_hidden_layers: 2, intermediate_size: 24, rotary_pct: 0.5 };
    const neox = parseConfig({ model_type: 'gpt_neox', num_attention_heads: 2, ...json }, 'config.json');
    const model = randomModel(device, neox, 'f32');
    const layer = 2 * 10 * 16 * (3 * 16 + 16 + 2 * 24);
    // Of 5 positions the first sees itself, the last all; after 16 of a prompt as many more.
    const attention = { prefill: 2 * 15 * (4 * 16 + 3 * 2), decode: 2 * (5 * 16 + 15) * (4 * 16 + 3 * 2) };
    const heads = { prefill: 2 * 40 * 16 * 2, decode: 2 * 40 * 16 * 10 };
    for (const work of ['prefill', 'decode'] as const) {
      const { profile } = await measureSpeed(model, work, { ...size, rounds: 1, isProfiled: true });
      assert.equal(launched(profile!, 'matmul'), 2 * layer + heads[work]);
      const rest = attention[work] + 10 * (2 * 3 * 8 + 16 + 24); // attention, rotation, sum and activation of a layer
      assert.equal(workFlops(neox, work, size), 2 * layer + heads[work] + 2 * rest + launched(profile!, 'layer_norm'));
    }
    const table = 40 * 16;
    const weights = [...model.parameters.values()].reduce((sum, { size: count }) => sum + count, -table);
    assert.equal(decodeBytes(model, 3), 4 * (weights + 3 * 2 * 2 * 17 * 16));
    for (const work of ['train', 'lora'] as const) {
      const { seconds } = await measureSpeed(model, work, { ...size, rounds: 1, isProfiled: false });
      assert.equal(seconds.length, 1);
    }
    model.dispose();
    assert.equal(device.memory().blocks, 0);
    device.close();
  });

  it('ends after the round in which its signal fires', async () => {
    const device = new Device(createReferenceBackend());
    const model = randomModel(device, config, 'f32');
    const abort = new AbortController();
    let rounds = 0;
    const onRound = () => void (++rounds === 2 && abort.abort());
    const options = { ...size, rounds: 100, isProfiled: true, signal: abort.signal, onRound };
    await assert.rejects(measureSpeed(model, 'prefill', options), { name: 'AbortError' });
    assert.equal(rounds, 2);
    device.close();
  });
});

describe('models for measuring', () => {
  it('have the shapes of their names', () => {
    assert.deepEqual(
      SHAPE_NAMES.map((name) => parameterCount(shapeConfig(name))),
      [129_135_360, 2_800_320, 162_322_944],
    );
  });

  it('are finite, and stored as they are asked for', async () => {
    const device = new Device(createReferenceBackend());
    const model = randomModel(device, config, 'bf16');
    assert.equal(model.embeddings.weight.dtype, 'bf16');
    assert.equal(model.parameters.get('backbone.layers.0.mixer.A_log')!.dtype, 'f32');
    for (const weight of model.parameters.values()) {
      const values = Array.from(await weight.read());
      assert.ok(values.every(Number.isFinite) && values.some((value) => value !== 0));
    }
    const half = [...model.parameters.values()].reduce(
      (sum, { size, dtype }) => sum + size * (dtype === 'bf16' ? 2 : 4),
      0,
    );
    const state = 2 * 32 * (4 + 3) * 4; // layers, channels, state and inputs of the convolution, f32
    assert.equal(decodeBytes(model, 3), half + 2 * 3 * state);
    device.close();
  });

  it('are quantised, too, and decode', async () => {
    const device = new Device(createReferenceBackend());
    const model = randomModel(device, config, 'i8');
    assert.deepEqual([model.embeddings.weight.dtype, model.activations], ['i8', 'f32']);
    const stored = (tensors: Iterable<Tensor>) =>
      [...tensors].reduce((sum, { size, dtype }) => sum + size * (dtype === 'i8' ? 1 : 4), 0);
    const state = 2 * 32 * (4 + 3) * 4;
    assert.equal(
      decodeBytes(model, 3),
      stored(model.parameters.values()) + stored(model.scales.values()) + 2 * 3 * state,
    );
    assert.equal(model.scales.size, 1 + 2 * 4);
    const { seconds } = await measureSpeed(model, 'decode', { ...size, rounds: 1, isProfiled: false });
    assert.equal(seconds.length, 1);
    const hidden = device.scope(() => model.forward(device.from([1, 2, 3], [1, 3], 'i32')).hidden);
    assert.ok(Array.from(await model.logits(hidden).read()).every(Number.isFinite));
    device.close();
  });
});
