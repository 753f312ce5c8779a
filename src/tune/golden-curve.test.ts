/** Ten steps of AdamW with clipping, full and LoRA, against the same ten in PyTorch. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { onlyInAll } from '../core/testing/only-in-all.ts';
import type { LanguageModel } from '../models/index.ts';
import { testDevices } from '../models/testing/devices.ts';
import { type StepReport, type TrainedParameter, type TrainingTask, train } from '../train/index.ts';
import { allParameters } from './language.ts';
import { adapterParameters, attachLora } from './lora/index.ts';
import { distance, loadFixtureModel, readFixture, readFixtureJson } from './testing/fixtures.ts';

interface Golden {
  settings: { betas: [number, number]; clip_norm: number; eps: number; steps: number; weight_decay: number };
  full: Curve & { final_norm_and_sum: Record<string, [number, number]> };
  lora: Curve & { r: number; lora_alpha: number; target_modules: string[] };
}
interface Curve {
  decayed: string[];
  losses: number[];
  gradient_norms: number[];
  learning_rate: number;
}

interface LionCurve extends Curve {
  clip_norm: number;
  final_norm_and_sum: Record<string, [number, number]>;
  weight_decay: number;
}

const golden = readFixtureJson<Golden>('golden-curve.json');
const lion = readFixtureJson<{ curve: LionCurve }>('lion.json').curve;
const tensors = await readFixture('golden-curve.safetensors');

/** Next-token loss over the fixture's batches, one a step. */
function taskOf(model: LanguageModel, parameters: TrainedParameter[]): TrainingTask<number> {
  const { device } = model;
  const { shape, values } = tensors.get('input_ids')!;
  const [, b, l] = shape;
  let next = 0;
  return {
    device,
    parameters,
    nextStep: () => ({ microBatches: [next++], normalizer: b * (l - 1), tokens: b * l }),
    loss(batch, options) {
      const rows = Array.from(values).slice(batch * b * l, (batch + 1) * b * l);
      const targets = rows.map((_, i) => (i % l === l - 1 ? -100 : rows[i + 1]));
      const { hidden } = model.forward(device.from(rows, [b, l], 'i32'));
      return model.loss(hidden, device.from(targets, [b, l], 'i32'), options);
    },
    state: () => ({ json: next }),
    restore() {},
  };
}

async function curveOf(task: TrainingTask<number>, learningRate: number): Promise<StepReport[]> {
  const { betas, clip_norm: clipNorm, eps, steps, weight_decay: weightDecay } = golden.settings;
  const reports: StepReport[] = [];
  const options = { steps, learningRate, betas, eps, clipNorm, weightDecay };
  await train(task, { options, onStep: (report) => reports.push(report) });
  return reports;
}

function checkCurve(reports: StepReport[], curve: Curve): void {
  const losses = reports.map(({ loss }) => loss);
  const norms = reports.map(({ gradNorm }) => gradNorm);
  assert.ok(distance(losses, curve.losses) < 2e-5, `losses ${losses}`);
  assert.ok(distance(norms, curve.gradient_norms) < 2e-5, `norms ${norms}`);
}

const devices = await testDevices();

for (const { name: deviceName, skip, open } of devices) {
  const rare = { skip: skip || (deviceName === 'reference' && onlyInAll('slow on the reference device').skip) };
  test(`${deviceName}: full fine-tuning follows the golden curve`, rare, async () => {
    const device = await open();
    const model = await loadFixtureModel(device, 'mamba-a');
    const parameters = [...model.parameters].map(([name, tensor]) => ({
      name,
      tensor,
      isDecayed: model.isDecayed(name),
    }));
    assert.deepEqual(
      parameters
        .filter((p) => p.isDecayed)
        .map((p) => p.name)
        .sort(),
      [...golden.full.decayed].sort(),
    );
    checkCurve(await curveOf(taskOf(model, parameters), golden.full.learning_rate), golden.full);
    for (const [name, tensor] of model.parameters) {
      const values = Array.from(await tensor.read());
      const [norm, sum] = golden.full.final_norm_and_sum[name];
      assert.ok(Math.abs(Math.hypot(...values) - norm) < 1e-4, `${name}: norm`);
      assert.ok(Math.abs(values.reduce((s, x) => s + x, 0) - sum) < 1e-3, `${name}: sum`);
      const expected = tensors.get(`full.final.${name}`);
      if (expected)
        assert.ok(distance(values, expected.values) < 1e-5, `${name}: ${distance(values, expected.values)}`);
    }
    device.close();
  });

  test(`${deviceName}: full fine-tuning with Lion follows lion-pytorch`, rare, async () => {
    const device = await open();
    const model = await loadFixtureModel(device, 'mamba-a');
    const task = taskOf(model, allParameters(model));
    const reports: StepReport[] = [];
    const { learning_rate: learningRate, weight_decay: weightDecay, clip_norm: clipNorm } = lion;
    const options = { optimizer: 'lion', steps: lion.losses.length, learningRate, weightDecay, clipNorm } as const;
    await train(task, { options, onStep: (report) => reports.push(report) });
    checkCurve(reports, lion);
    for (const [name, tensor] of model.parameters) {
      const values = Array.from(await tensor.read());
      const [norm, sum] = lion.final_norm_and_sum[name];
      assert.ok(Math.abs(Math.hypot(...values) - norm) < 1e-4, `${name}: norm`);
      // Where an average is nearly 0 its sign may differ, which moves a value by twice the rate.
      assert.ok(Math.abs(values.reduce((s, x) => s + x, 0) - sum) < 1e-3, `${name}: sum`);
    }
    device.close();
  });

  test(`${deviceName}: LoRA follows the golden curve`, { skip }, async () => {
    const device = await open();
    const model = await loadFixtureModel(device, 'mamba-a');
    const { r, lora_alpha: loraAlpha, target_modules: targetModules, learning_rate: learningRate } = golden.lora;
    const adapter = attachLora(model, { r, loraAlpha, targetModules });
    for (const [name, tensor] of adapter.trainable) {
      const start = tensors.get(`lora.start.${name}`);
      if (start) device.backend.upload(tensor.storage.use(), 0, new Uint8Array(Float32Array.from(start.values).buffer));
    }
    const parameters = adapterParameters(adapter);
    assert.deepEqual(
      parameters
        .filter((p) => p.isDecayed)
        .map((p) => p.name)
        .sort(),
      [...golden.lora.decayed].sort(),
    );
    checkCurve(await curveOf(taskOf(model, parameters), learningRate), golden.lora);
    for (const [name, tensor] of adapter.trainable) {
      const error = distance(await tensor.read(), tensors.get(`lora.final.${name}`)!.values);
      assert.ok(error < 1e-5, `${name}: ${error}`);
    }
    device.close();
  });
}
