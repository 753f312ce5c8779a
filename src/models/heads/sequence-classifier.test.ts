/** Classifiers of sequences of vectors, over backbones of both families. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { HostRandom } from '../../core/index.ts';
import { backward, type Device, type Tensor } from '../../tensor/index.ts';
import { type TrainingTask, train } from '../../train/index.ts';
import {
  createClassifier,
  loadClassifier,
  parseClassifierConfig,
  type SequenceClassifier,
  saveModel,
} from '../index.ts';
import { testDevices } from '../testing/devices.ts';
import { files, largest, largestDifference } from '../testing/fixtures.ts';

const FAMILIES = {
  mamba: { model_type: 'mamba', state_size: 4, time_step_rank: 2 },
  gpt_neox: { model_type: 'gpt_neox', num_attention_heads: 2, intermediate_size: 32, rotary_pct: 0.5 },
};
const LABELS = 3;
const LENGTH = 20;

const configOf = (family: keyof typeof FAMILIES, pooling: 'last' | 'mean') =>
  parseClassifierConfig(
    {
      model_type: 'sequence_classifier',
      num_features: 2,
      num_labels: LABELS,
      pooling,
      backbone: { ...FAMILIES[family], hidden_size: 16, num_hidden_layers: 2 },
    },
    'config.json',
  );

interface Batch {
  readonly x: Float32Array;
  readonly lengths: number[];
  readonly classes: number[];
}

/** Circles at one of three speeds, from any angle, with noise: a class shows in how vectors follow each other alone. */
function circles(rows: number, random: HostRandom): Batch {
  const x = new Float32Array(rows * LENGTH * 2);
  const lengths = Array.from({ length: rows }, () => 12 + random.integer(LENGTH - 11));
  const classes = Array.from({ length: rows }, () => random.integer(LABELS));
  for (let i = 0; i < rows; i++) {
    const start = 2 * Math.PI * random.uniform();
    for (let t = 0; t < lengths[i]; t++) {
      const angle = start + t * [0.3, 0.9, 1.8][classes[i]];
      x[2 * (i * LENGTH + t)] = Math.cos(angle) + 0.1 * random.normal();
      x[2 * (i * LENGTH + t) + 1] = Math.sin(angle) + 0.1 * random.normal();
    }
  }
  return { x, lengths, classes };
}

const logitsOf = (model: SequenceClassifier, { x, lengths }: Pick<Batch, 'x' | 'lengths'>): Tensor =>
  model.forward(model.device.from(x, [lengths.length, x.length / lengths.length / 2, 2]), { lengths });

async function read(model: SequenceClassifier, batch: Pick<Batch, 'x' | 'lengths'>): Promise<ArrayLike<number>> {
  const logits = model.device.noGrad(() => model.device.scope(() => logitsOf(model, batch)));
  const values = await logits.read();
  logits.dispose();
  return values;
}

async function accuracyOf(model: SequenceClassifier, batch: Batch): Promise<number> {
  const values = Array.from(await read(model, batch));
  const right = batch.classes.filter((c, i) => {
    const row = values.slice(i * LABELS, (i + 1) * LABELS);
    return row.indexOf(Math.max(...row)) === c;
  });
  return right.length / batch.classes.length;
}

/** Steps of 32 circles each. */
function taskOf(model: SequenceClassifier, seed: number): TrainingTask<Batch> {
  const random = new HostRandom(seed);
  const { device } = model;
  return {
    device,
    parameters: [...model.parameters].map(([name, tensor]) => ({
      name,
      tensor: tensor.trainable(),
      isDecayed: model.isDecayed(name),
    })),
    nextStep: () => ({ microBatches: [circles(32, random)], normalizer: 32, tokens: 32 * LENGTH }),
    loss: (batch, { normalizer, gradScale }) =>
      model.loss(logitsOf(model, batch), device.from(batch.classes, [32], 'i32'), { normalizer, gradScale }),
    state: () => ({ json: null }),
    restore: () => undefined,
  };
}

const devices = (await testDevices()).slice(0, 3);
const fast = devices.findLast(({ skip }) => !skip)!;

describe('a classifier of vector sequences', () => {
  let root: string;
  let device: Device;
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'krait-classifier-'));
    device = await fast.open();
  });
  after(async () => {
    assert.equal(device.memory().blocks, 0, 'blocks stay behind');
    device.close();
    await rm(root, { recursive: true });
  });

  for (const [family, pooling] of [
    ['mamba', 'last'],
    ['gpt_neox', 'mean'],
  ] as const) {
    it(`learns what a single vector does not show: ${family}, ${pooling}; saved, loaded, in int8`, async () => {
      const model = createClassifier(device, configOf(family, pooling), 1);
      const test = circles(96, new HostRandom(99));
      assert.ok((await accuracyOf(model, test)) < 0.7, 'an untrained one should not know');
      await train(taskOf(model, 5), { options: { steps: 150, learningRate: 1e-2, schedule: 'cosine' } });
      const accuracy = await accuracyOf(model, test);
      assert.ok(accuracy >= 0.95, `${accuracy}`);
      const folder = join(root, family);
      await saveModel(model, files, folder);
      const again = await loadClassifier(device, files, folder);
      assert.deepEqual(again.config, { ...model.config, backbone: again.config.backbone });
      assert.deepEqual(await read(again, test), await read(model, test));
      const small = await loadClassifier(device, files, folder, { dtype: 'i8' });
      assert.ok(small.scales.size >= 2 && (await accuracyOf(small, test)) >= accuracy - 0.05);
      for (const one of [model, again, small]) one.dispose();
    });

    it(`reads positions up to each length alone: ${family}, ${pooling}`, async () => {
      const model = createClassifier(device, configOf(family, pooling), 2);
      const batch = circles(3, new HostRandom(4));
      const together = await read(model, batch);
      for (const [i, length] of batch.lengths.entries()) {
        const x = batch.x.slice(2 * i * LENGTH, 2 * (i * LENGTH + length));
        const alone = await read(model, { x, lengths: [length] });
        const row = Array.from(together).slice(i * LABELS, (i + 1) * LABELS);
        assert.ok(largestDifference(row, alone) <= 1e-5 * Math.max(1, largest(row)), `sequence ${i}`);
      }
      model.dispose();
    });
  }

  it('has the gradients of central differences', async () => {
    const model = createClassifier(device, configOf('mamba', 'last'), 3);
    const batch = circles(2, new HostRandom(7));
    const lossOf = () =>
      device.scope(() => model.loss(logitsOf(model, batch), device.from(batch.classes, [2], 'i32'), { normalizer: 2 }));
    for (const tensor of model.parameters.values()) tensor.trainable();
    const loss = lossOf();
    backward(loss);
    loss.dispose();
    for (const name of ['read_in.weight', 'classifier.bias', 'backbone.layers.0.mixer.in_proj.weight']) {
      const tensor = model.parameters.get(name)!;
      const values = Float32Array.from(await tensor.read());
      const gradient = await tensor.grad!.read();
      const at = gradient.indexOf(Math.max(...gradient) as never);
      const shifted = async (by: number) => {
        tensor.write(Float32Array.from(values, (x, i) => (i === at ? x + by : x)));
        const moved = device.noGrad(lossOf);
        const value = await moved.item();
        moved.dispose();
        return value;
      };
      const slope = ((await shifted(1e-2)) - (await shifted(-1e-2))) / 2e-2;
      tensor.write(values);
      assert.ok(Math.abs(slope - gradient[at]) <= 2e-2 * Math.abs(gradient[at]), `${name}: ${slope}, ${gradient[at]}`);
      tensor.zeroGrad();
    }
    for (const tensor of model.parameters.values()) tensor.zeroGrad();
    model.dispose();
  });

  it('refuses what does not fit, in one line', () => {
    const model = createClassifier(device, configOf('mamba', 'last'), 1);
    const x = device.zeros([2, 4, 2]);
    const wide = device.zeros([2, 4, 3]);
    assert.throws(() => model.forward(wide), /x: expected \[b, l, 2\], got \[2, 4, 3\]/);
    for (const lengths of [[4], [4, 5], [0, 1], [1.5, 1]]) {
      assert.throws(() => model.forward(x, { lengths }), /lengths: expected 2 whole numbers from 1 to 4/);
    }
    for (const one of [x, wide, model]) one.dispose();
    const json = {
      model_type: 'sequence_classifier',
      num_features: 2,
      num_labels: 3,
      backbone: { model_type: 'mamba' },
    };
    assert.throws(() => parseClassifierConfig(json, 'c.json'), /c\.json: backbone: hidden_size/);
    assert.throws(() => parseClassifierConfig({ ...json, pooling: 'max' }, 'c.json'), /c\.json: pooling/);
  });
});
