import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { RandomSource } from '../core/index.ts';
import { type LanguageModel, scoreTokens } from '../models/index.ts';
import { backward, type Device } from '../tensor/index.ts';
import { type StepReport, train } from '../train/index.ts';
import type { TokenExample } from './batches/index.ts';
import { allParameters, LanguageTask, type LanguageTaskInput } from './language.ts';
import { evaluateLanguage } from './language-loss.ts';
import { adapterParameters, attachLora } from './lora/index.ts';
import type { Batching } from './settings.ts';
import { distance } from './testing/fixtures.ts';
import { countingExamples, referenceDevice, type TinyFamily, tinyModel } from './testing/tiny-runs.ts';

/** Sum of the losses of a text in nats, by scoring it alone. */
async function natsOf(model: LanguageModel, { ids }: TokenExample): Promise<number> {
  const scores = await scoreTokens(model, Array.from(ids));
  return -scores.slice(1).reduce<number>((sum, score) => sum + score!, 0);
}

const LOSS = { gradScale: 1, random: new RandomSource(0), checkpointing: false };

/** Loss of a task's next step, its gradients left in the model. */
async function stepLoss(task: LanguageTask, options: Partial<typeof LOSS> = {}): Promise<number> {
  const { microBatches, normalizer } = task.nextStep();
  let loss = 0;
  for (const batch of microBatches) {
    const value = task.device.scope(() => {
      const scalar = task.loss(batch, { ...LOSS, ...options, normalizer });
      backward(scalar);
      return scalar;
    });
    loss += await value.item();
    value.dispose();
  }
  return loss;
}

async function gradientsOf(model: LanguageModel): Promise<Map<string, ArrayLike<number>>> {
  const gradients = new Map<string, ArrayLike<number>>();
  for (const [name, tensor] of model.parameters) gradients.set(name, await tensor.grad!.read());
  for (const tensor of model.parameters.values()) tensor.zeroGrad();
  return gradients;
}

function assertClose(a: Map<string, ArrayLike<number>>, b: Map<string, ArrayLike<number>>, tolerance: number): void {
  for (const [name, values] of a) {
    const error = distance(values, b.get(name)!);
    assert.ok(error < tolerance, `${name}: ${error}`);
  }
}

for (const family of ['mamba', 'gpt_neox'] as const satisfies TinyFamily[]) {
  describe(`language modelling with ${family}`, () => {
    test('packed, padded or streamed, the loss is that of the documents by themselves', async () => {
      const model = tinyModel(referenceDevice(), 1, family);
      const examples = countingExamples(6, 12);
      const nats = await Promise.all(examples.map((example) => natsOf(model, example)));
      const targets = examples.reduce((sum, { ids }) => sum + ids.length - 1, 0);
      const expected = nats.reduce((sum, n) => sum + n, 0) / targets;
      const tokens = examples.reduce((sum, { ids }) => sum + ids.length, 0);
      const gradients: Map<string, ArrayLike<number>>[] = [];
      const cases: [Batching, Partial<LanguageTaskInput>][] = [
        ['padding', { batchSize: 6, maxLength: 12 }],
        ['padding', { batchSize: 2, maxLength: 12, gradAccumulation: 3 }],
        ['stream', { batchSize: 1, maxLength: tokens }],
      ];
      for (const [batching, options] of cases) {
        const task = new LanguageTask({ model, train: examples, batching, isShuffled: false, ...options });
        assert.ok(Math.abs((await stepLoss(task)) - expected) < 1e-5, batching);
        gradients.push(await gradientsOf(model));
        task.dispose();
      }
      assertClose(gradients[0], gradients[1], 1e-6);
      assertClose(gradients[0], gradients[2], 1e-6);
      const packed = new LanguageTask({ model, train: examples, batchSize: 1, maxLength: tokens, isShuffled: false });
      const { microBatches, normalizer } = packed.nextStep();
      assert.ok(normalizer >= targets, 'several documents in the row');
      // Every document of the row by itself.
      const row = Array.from(microBatches[0].ids);
      const starts = row.flatMap((_, t) => (microBatches[0].flags![t] === 1 ? [t] : []));
      let sum = 0;
      for (const [i, start] of starts.entries()) {
        sum += await natsOf(model, { ids: row.slice(start, starts[i + 1]), targets: [], bytes: 0 });
      }
      const loss = model.device.scope(() => packed.loss(microBatches[0], { ...LOSS, normalizer }));
      assert.ok(Math.abs((await loss.item()) - sum / normalizer) < 1e-5, 'packing');
    });

    test('truncated back-propagation: blocks with a carried state lose as much as the whole document', async () => {
      const model = tinyModel(referenceDevice(), 1, family);
      const [document] = countingExamples(1, 40, 8);
      const nats = await natsOf(model, document);
      const task = new LanguageTask({ model, train: [document], batching: 'stream', batchSize: 1, maxLength: 4 });
      let sum = 0;
      const blocks = Math.floor(document.ids.length / 4);
      for (let i = 0; i < blocks; i++) {
        const step = task.nextStep();
        const loss = model.device.noGrad(() =>
          model.device.scope(() => task.loss(step.microBatches[0], { ...LOSS, normalizer: 1 })),
        );
        sum += await loss.item();
      }
      const rest = document.ids.length - 4 * blocks;
      const whole = await natsOf(model, {
        ...document,
        ids: document.ids.slice(0, document.ids.length - rest + (rest ? 1 : 0)),
      });
      assert.ok(Math.abs(sum - whole) < 1e-4 && whole <= nats + 1e-6, `${sum} ${whole}`);
      task.dispose();
    });

    test('activation checkpointing changes no gradient', async () => {
      const model = tinyModel(referenceDevice(), 1, family);
      const make = () => new LanguageTask({ model, train: countingExamples(4, 9), batchSize: 4, maxLength: 9 });
      const plain = await stepLoss(make());
      const expected = await gradientsOf(model);
      assert.equal(await stepLoss(make(), { checkpointing: true }), plain);
      assertClose(await gradientsOf(model), expected, 1e-9);
    });

    test('with checkpointing dropout is drawn the same the second time', async () => {
      const model = tinyModel(referenceDevice(), 1, family);
      const adapter = attachLora(model, {
        r: 2,
        targetModules: 'all-linear',
        loraDropout: 0.4,
        initLoraWeights: false,
      });
      const gradients: ArrayLike<number>[][] = [];
      for (const checkpointing of [false, true]) {
        const parameters = adapterParameters(adapter);
        const task = new LanguageTask({
          model,
          parameters,
          mode: adapter,
          train: countingExamples(4, 9),
          maxLength: 9,
        });
        await stepLoss(task, { random: new RandomSource(5), checkpointing });
        gradients.push(await Promise.all(parameters.map(({ tensor }) => tensor.grad!.read())));
        for (const { tensor } of parameters) tensor.zeroGrad();
      }
      for (const [i, values] of gradients[0].entries()) assert.ok(distance(values, gradients[1][i]) < 1e-9);
    });

    test('evaluation is the mean over targets, in pieces or not; bits per byte come from the bytes', async () => {
      const model = tinyModel(referenceDevice(), 1, family);
      const validation = countingExamples(7, 20);
      const nats = (await Promise.all(validation.map((e) => natsOf(model, e)))).reduce((sum, n) => sum + n, 0);
      const targets = validation.reduce((sum, { ids }) => sum + ids.length - 1, 0);
      for (const maxLength of [5, 20]) {
        const task = new LanguageTask({ model, train: countingExamples(2, 5), validation, batchSize: 3, maxLength });
        const { loss, bits_per_byte: bits } = await task.evaluate!();
        assert.ok(Math.abs(loss - nats / targets) < 1e-5);
        assert.ok(Math.abs(bits - nats / targets / Math.LN2) < 1e-5); // one byte a token here
      }
    });

    async function lossesOf(device: Device, settings: { lora?: boolean; batching?: Batching; steps?: number }) {
      const model = tinyModel(device, 1, family);
      const adapter = settings.lora ? attachLora(model, { r: 4, targetModules: 'all-linear', loraDropout: 0.1 }) : null;
      const task = new LanguageTask({
        model,
        parameters: adapter ? adapterParameters(adapter) : allParameters(model),
        mode: adapter,
        train: countingExamples(40, 12),
        batching: settings.batching,
        batchSize: 4,
        maxLength: 16,
      });
      const reports: StepReport[] = [];
      const blocks: number[] = [];
      const onStep = (report: StepReport) => {
        reports.push(report);
        blocks.push(device.memory().blocks);
      };
      await train(task, { options: { steps: settings.steps ?? 40, learningRate: 0.02, warmup: 3 }, onStep });
      task.dispose();
      assert.equal(adapter?.random ?? null, null, 'dropout is off after training');
      return { losses: reports.map(({ loss }) => loss), blocks };
    }

    for (const [name, settings] of [
      ['full', {}],
      ['LoRA', { lora: true }],
      ['streamed', { batching: 'stream' }],
    ] as const) {
      test(`${name} training learns to count, in flat memory, the same each time`, async () => {
        const { losses, blocks } = await lossesOf(referenceDevice(), settings);
        const mean = (part: number[]) => part.reduce((sum, loss) => sum + loss, 0) / part.length;
        assert.ok(mean(losses.slice(-5)) < mean(losses.slice(0, 3)) - 0.5, `${losses}`);
        assert.equal(blocks[38], blocks[4], `${blocks}`);
        const again = await lossesOf(referenceDevice(), { ...settings, steps: 6 });
        assert.deepEqual(again.losses.slice(0, 6), losses.slice(0, 6));
      });
    }

    test('the head is computed for the positions that carry loss alone, up to nine in ten: the same loss and gradients', async () => {
      const model = tinyModel(referenceDevice(), 1, family);
      const widths: number[] = [];
      const { loss } = model;
      model.loss = (hidden, targets, options) => {
        widths.push(targets.size);
        return loss.call(model, hidden, targets, options);
      };
      const { device } = model;
      const ids = Array.from({ length: 12 }, (_, i) => 1 + i);
      // Of 72 positions 5, 60 and 66 carry loss.
      for (const [counting, to, width] of [
        [5, 2, 5],
        [6, 11, 60],
        [6, 12, 72],
      ]) {
        const examples: TokenExample[] = Array.from({ length: 6 }, (_, i) => ({
          ids,
          targets: i < counting ? [[1, to]] : [],
          bytes: 0,
        }));
        const input = { model, isShuffled: false, batchSize: 6, maxLength: 12, batching: 'padding' } as const;
        const task = () => new LanguageTask({ ...input, train: examples });
        const normalizer = counting * (to - 1);
        widths.length = 0;
        const found = await stepLoss(task());
        const gradients = await gradientsOf(model);
        const evaluated = await evaluateLanguage(model, examples, { batchSize: 6, maxLength: 12 });
        assert.deepEqual(widths, [width, width]);
        const { rows, length, ids: read, targets, flags } = task().nextStep().microBatches[0];
        const whole = device.scope(() => {
          const block = (values: Int32Array) => device.from(values, [rows, length], 'i32');
          const { hidden } = model.forward(block(read), { flags: flags && block(flags) });
          const value = loss.call(model, hidden, block(targets), { normalizer, gradScale: 1 });
          backward(value);
          return value;
        });
        const expected = await whole.item();
        assert.ok(Math.abs(expected - found) < 1e-12, `${found}, expected ${expected}`);
        assert.ok(Math.abs(expected - evaluated.loss) < 1e-6, `${evaluated.loss}, expected ${expected}`);
        assertClose(gradients, await gradientsOf(model), 1e-9);
      }
    });

    test('blocks without a position that carries loss add nothing', async () => {
      const model = tinyModel(referenceDevice(), 1, family);
      const ids = Array.from({ length: 8 }, (_, i) => 1 + i);
      const answer = { ids, targets: [[5, 8] as const], bytes: 0 };
      const input = { model, batchSize: 1, isShuffled: false, batching: 'padding' } as const;
      const examples = [{ ...answer, targets: [] }, answer];
      for (const choices of [undefined, [6, 7, 8]]) {
        const alone = await stepLoss(new LanguageTask({ ...input, train: [answer], choices }));
        const expected = await gradientsOf(model);
        const both = await stepLoss(new LanguageTask({ ...input, train: examples, gradAccumulation: 2, choices }));
        assert.equal(both, alone);
        assertClose(await gradientsOf(model), expected, 1e-12);
      }
      const options = { batchSize: 1, maxLength: 4 }; // of the answer's first piece none counts
      const { loss } = await evaluateLanguage(model, examples, options);
      const scores = await scoreTokens(model, ids);
      assert.ok(Math.abs(loss + scores.slice(5).reduce<number>((sum, score) => sum + score!, 0) / 3) < 1e-5);
    });

    test('a choice among label tokens costs the cross-entropy of their logits alone', async () => {
      const model = tinyModel(referenceDevice(), 1, family);
      const ids = [3, 1, 4, 1, 5];
      const example: TokenExample = { ids, targets: [[4, 5]], bytes: 0 };
      const task = (choices: number[]) =>
        new LanguageTask({ model, train: [example], batchSize: 1, maxLength: 5, choices });
      const { device } = model;
      const logits = device.noGrad(() => model.logits(model.forward(device.from(ids, [1, 5], 'i32')).hidden));
      const last = Array.from(await logits.read()).slice(3 * model.vocabSize, 4 * model.vocabSize);
      const expected = Math.log(Math.exp(last[2]) + Math.exp(last[5])) - last[5];
      const found = await stepLoss(task([2, 5]));
      assert.ok(Math.abs(found - expected) < 1e-6, `${found}, expected ${expected}`);
      const gradients = await gradientsOf(model);
      assert.equal(await stepLoss(task([5])), 0, 'nothing to choose');
      const none = await gradientsOf(model);
      const size = (all: typeof gradients) => Math.max(...[...all.values()].flatMap((v) => Array.from(v, Math.abs)));
      assert.ok(size(gradients) > 0 && size(none) === 0, `${size(gradients)}, without choice ${size(none)}`);
      await assert.rejects(stepLoss(task([2, 3])), /choices: 2,3 lack the target 5/);
    });
  });
}

test('a state that grows is carried as far as the memory of the model reaches', async () => {
  const memory = { max_position_embeddings: 8 };
  const model = tinyModel(referenceDevice(), 1, 'gpt_neox', memory);
  const { device } = model;
  const ids = Array.from({ length: 14 }, (_, i) => 1 + ((5 * i) % 15));
  const document = { ids, targets: [[1, ids.length] as const], bytes: 0 };
  /** Losses of the targets of positions `from` to `to`, where nothing before `start` is known. */
  const natsFrom = async (start: number, from: number, to: number) => {
    const scores = await scoreTokens(model, ids.slice(start, to + 1));
    return -scores.slice(from - start + 1).reduce<number>((sum, score) => sum + score!, 0);
  };
  const blocks = [await natsFrom(0, 0, 4), await natsFrom(0, 4, 8), await natsFrom(4, 8, 12)];
  const task = new LanguageTask({ model, train: [document], batching: 'stream', batchSize: 1, maxLength: 4 });
  const { blocks: start } = device.memory();
  for (const [i, expected] of blocks.entries()) {
    const [batch] = task.nextStep().microBatches;
    const loss = device.noGrad(() => device.scope(() => task.loss(batch, { ...LOSS, normalizer: 1 })));
    const found = await loss.item();
    loss.dispose();
    assert.ok(Math.abs(found - expected) < 1e-5, `block ${i}: ${found}, expected ${expected}`);
  }
  assert.deepEqual(task.state().tensors!.get('layers.0.keys')!.shape, [1, 4, 8]);
  task.dispose();
  assert.equal(device.memory().blocks, start);
  // An evaluation reads the same way, to the end.
  const { loss } = await evaluateLanguage(model, [document], { batchSize: 1, maxLength: 4 });
  const rest = await natsFrom(8, 12, 13);
  const whole = blocks.reduce((sum, nats) => sum + nats, rest) / 13;
  assert.ok(Math.abs(loss - whole) < 1e-5, `${loss}, expected ${whole}`);
  assert.equal(device.memory().blocks, start);
});
