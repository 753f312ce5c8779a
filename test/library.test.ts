/** The class of the package, as a program uses it. What it runs (trainer, adapters, generation) is tested where it is. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fineTune, Krait, KraitError, NodeFileSystem, parseTuneConfig, type TuneOptions, type TuneRecord } from 'krait';
import { writeTinyModel } from './tiny-model.ts';

const work = mkdtempSync(join(tmpdir(), 'krait-library-'));
after(() => rmSync(work, { recursive: true, force: true }));
const modelFolder = join(work, 'base');
await writeTinyModel(modelFolder);
writeFileSync(join(modelFolder, 'tokenizer_config.json'), '{"eos_token":"<|end|>"}');

const records: TuneRecord[] = Array.from({ length: 24 }, (_, i) => ({
  prompt: `${i} is`,
  completion: i % 2 ? ' odd' : ' even',
}));
const data = join(work, 'data.jsonl');
writeFileSync(data, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
const SETTINGS = { batchSize: 4, maxLength: 24, learningRate: 0.01, seed: 3 } as const;
const TEXT = '7 is odd';

const opened: Krait[] = [];
after(() => {
  for (const krait of opened) krait.close();
});
async function open(...args: Parameters<typeof Krait.load> | []): Promise<Krait> {
  const krait = await Krait.load(args[0] ?? modelFolder, args[1]);
  opened.push(krait);
  return krait;
}
const tune = (krait: Krait, options: Partial<TuneOptions> = {}) =>
  krait.tune({ data: records, steps: 6, ...SETTINGS, ...options });
const near = (a: (number | null)[], b: (number | null)[], tolerance = 1e-4) =>
  assert.ok(
    a.length === b.length && a.every((value, i) => Math.abs((value ?? 0) - (b[i] ?? 0)) <= tolerance),
    `${a} is not near ${b}`,
  );
const fails = (work: Promise<unknown> | (() => unknown), message: RegExp) =>
  assert.rejects(typeof work === 'function' ? async () => work() : work, (error: Error) => {
    assert.ok(error instanceof KraitError, error.stack);
    assert.match(error.message, message);
    assert.ok(!error.message.includes('\n'), error.message);
    return true;
  });
const tuneFails = (options: Record<string, unknown>, message: RegExp) => (krait: Krait) =>
  fails(tune(krait, options), message);
const bytesOf = (folder: string, name = 'adapter_model.safetensors') => readFileSync(join(folder, name));

describe('an adapter through its life', () => {
  it('is trained, generated with, saved, merged, unmerged, taken off', async () => {
    const krait = await open();
    const base = await krait.score(TEXT);
    const steps: number[] = [];
    const result = await tune(krait, {
      rank: 4,
      targetModules: ['in_proj', 'out_proj'],
      onStep: (s) => steps.push(s.step),
    });
    assert.deepEqual(steps, [1, 2, 3, 4, 5, 6]);
    assert.equal(result.status, 'completed');
    assert.equal(result.plan.train.examples.length, 24);
    assert.equal(result.plan.trainableParameters, krait.adapter?.coverage.trainableParameters);
    assert.deepEqual([...new Set(krait.adapter?.coverage.modules.map(({ rank }) => rank))], [4]);
    assert.equal(krait.adapter?.config.baseModelNameOrPath, modelFolder);
    const tuned = await krait.score(TEXT);
    assert.notDeepEqual(tuned, base, 'the adapter takes part');

    const folder = join(work, 'adapter');
    await krait.saveAdapter(folder);
    const other = await open();
    await other.loadAdapter(folder);
    assert.deepEqual(await other.score(TEXT), tuned, 'loaded on the base');

    const saved = join(work, 'merged');
    await fails(
      krait.save(saved),
      /^save: .*merged: the model has an adapter that would be lost; merge\(\) first, or saveA/,
    );
    assert.equal(existsSync(saved), false);
    krait.merge();
    near(await krait.score(TEXT), tuned);
    await krait.save(saved);
    krait.unmerge();
    assert.deepEqual(await krait.score(TEXT), tuned, 'unmerged');
    krait.removeAdapter();
    assert.deepEqual(await krait.score(TEXT), base, 'taken off');
    assert.equal(krait.adapter, null);
    await krait.save(join(work, 'same'));
    assert.deepEqual(bytesOf(join(work, 'same'), 'model.safetensors'), bytesOf(modelFolder, 'model.safetensors'));

    const merged = await open(saved);
    near(await merged.score(TEXT), tuned);
    assert.equal(merged.tokenizer.eosId, 0, 'the tokenizer is saved with all its files');
  });

  it('can be merged for good, and another trained on top', async () => {
    const krait = await open();
    await tune(krait);
    const tuned = await krait.score(TEXT);
    krait.merge();
    krait.merge({ permanent: true });
    assert.equal(krait.adapter, null);
    near(await krait.score(TEXT), tuned);
    await fails(
      () => krait.unmerge(),
      /^unmerge: the model has no adapter; tune\(\) it with LoRA or loadAdapter\(\) first/,
    );
    await tune(krait, { rank: 2 });
    assert.equal(krait.adapter!.config.r, 2);
  });

  it('is trained further by another call, and loaded ones are too', async () => {
    const krait = await open();
    const first = await tune(krait, { steps: 12 });
    const { adapter } = krait;
    const folder = join(work, 'halfway');
    await krait.saveAdapter(folder);
    const second = await tune(krait, { steps: 12 });
    assert.equal(krait.adapter, adapter);
    assert.ok(second.loss < first.loss, `${first.loss} ${second.loss}`);
    const other = await open();
    await other.loadAdapter(folder);
    assert.equal((await tune(other, { steps: 12 })).loss, second.loss);
    assert.deepEqual(await other.score(TEXT), await krait.score(TEXT));
  });
});

describe('tuning', () => {
  it('from memory, from a file and by fineTune gives the same bytes', async () => {
    const same = { steps: 8, rank: 4, alpha: 16, dropout: 0.1, warmup: 0.25, schedule: 'cosine' } as const;
    const options = { ...same, trainOnPrompt: true };
    const memory = join(work, 'from-memory');
    await tune(await open(), { ...options, out: memory });
    const file = join(work, 'from-file');
    await tune(await open(), { ...options, data, out: file });
    assert.deepEqual(bytesOf(file), bytesOf(memory));
    const reference = join(work, 'from-fine-tune');
    const { model, tokenizer } = await open();
    const config = parseTuneConfig('test', {
      model: modelFolder,
      batch_size: 4,
      max_length: 24,
      lr: 0.01,
      seed: 3,
      ...same,
      mask_prompt: false,
    });
    await fineTune({ model, tokenizer, files: new NodeFileSystem(), data, out: reference, config });
    for (const name of ['adapter_model.safetensors', 'adapter_config.json']) {
      assert.deepEqual(bytesOf(reference, name), bytesOf(memory, name), name);
    }
  });

  it('stops at the signal with a model that works, and goes on from the folder to the same bytes', async () => {
    const whole = join(work, 'whole');
    await tune(await open(), { out: whole, steps: 9 });
    const krait = await open();
    const base = await krait.score(TEXT);
    const out = join(work, 'stopped');
    const stop = new AbortController();
    const onStep = ({ step }: { step: number }) => step === 3 && stop.abort();
    const { status, step } = await tune(krait, { out, steps: 9, signal: stop.signal, onStep });
    assert.equal(status, 'aborted');
    assert.ok(step >= 3 && step < 9, `${step}`);
    assert.equal(existsSync(join(out, 'adapter_config.json')), false, 'nothing is saved as a result');
    assert.notDeepEqual(await krait.score(TEXT), base);
    assert.equal((await krait.complete(TEXT, { maxTokens: 3, eosTokens: [] }))[0].tokens.length, 3);
    assert.equal((await tune(await open(), { out, steps: 9, resume: true })).step, 9);
    assert.deepEqual(bytesOf(out), bytesOf(whole));
  });

  it('of all weights changes them, evaluates, and saves a whole model', async () => {
    const krait = await open();
    const losses: number[] = [];
    const out = join(work, 'full');
    const { best, evaluation, plan } = await tune(krait, {
      method: 'full',
      steps: 8,
      validation: records.slice(0, 4),
      evalEvery: 4,
      onEval: (_, { loss }) => losses.push(loss),
      out,
    });
    assert.equal(losses.length, 2);
    assert.ok(losses[1] < losses[0]);
    assert.equal(best?.loss, losses[1]);
    assert.equal(evaluation?.loss, losses[1]);
    assert.equal(plan.trainableParameters, plan.totalParameters);
    assert.equal(krait.adapter, null);
    for (const [name, tensor] of krait.model.parameters) assert.equal(tensor.requiresGrad, false, name);
    const tuned = await krait.score(TEXT);
    assert.deepEqual(await (await open(out)).score(TEXT), tuned, 'the folder of the result');
    const resumed = await open();
    await resumed.score(TEXT); // so that the model keeps what it computes from the old weights
    const options = { steps: 8, validation: records.slice(0, 4), evalEvery: 4, out, resume: true };
    assert.equal((await tune(resumed, { method: 'full', ...options })).tokens, 0, 'it was complete');
    await tune(resumed, { steps: 1, learningRate: 1e-12 });
    near(await resumed.score(TEXT), tuned);
    await krait.save(join(work, 'full-saved'));
    assert.deepEqual(bytesOf(join(work, 'full-saved'), 'model.safetensors'), bytesOf(out, 'model.safetensors'));
  });

  it('ends early by patience, after an evaluation before the first step', async () => {
    const krait = await open();
    const evaluated: number[] = [];
    const { isEarly, step, best } = await tune(krait, {
      steps: 9,
      learningRate: 1e-12,
      validation: records.slice(0, 4),
      evalEvery: 1,
      evalOnStart: true,
      patience: 2,
      onEval: (at) => evaluated.push(at),
    });
    assert.deepEqual([isEarly, step, best?.step], [true, 2, 0]);
    assert.deepEqual(evaluated, [0, 1, 2]);
  });

  it('with Lion learns, and evaluates on valid.jsonl of a folder', async () => {
    const folder = join(work, 'folder');
    mkdirSync(folder);
    for (const name of ['train.jsonl', 'valid.jsonl']) writeFileSync(join(folder, name), readFileSync(data));
    const krait = await open();
    const losses: number[] = [];
    await tune(krait, {
      data: folder,
      optimizer: 'lion',
      learningRate: 0.003,
      steps: 12,
      evalEvery: 4,
      onEval: (_, { loss }) => losses.push(loss),
    });
    assert.ok(losses.length === 3 && losses[2] < losses[0], `${losses}`);
  });

  for (const [dtype, precision] of [
    ['f32', 'bf16'],
    ['f32', 'f16'],
    ['bf16', undefined],
    ['bf16', 'f32'],
  ] as const) {
    it(`weights in ${dtype}, activations in ${precision ?? 'the same'}: both methods learn`, async () => {
      for (const method of ['lora', 'full'] as const) {
        const krait = await open(modelFolder, { dtype });
        const losses: number[] = [];
        const onStep = ({ loss }: { loss: number }) => losses.push(loss);
        await tune(krait, { method, precision, steps: 20, batching: 'padding', onStep });
        assert.ok(losses[19] < losses[0], `${method}: ${losses}`);
        assert.equal(krait.model.activations, dtype, 'as loaded');
        if (method === 'lora') krait.merge();
        await krait.save(join(work, `${method}-${dtype}`));
        assert.ok((await krait.score(TEXT)).slice(1).every(Number.isFinite));
      }
    });
  }

  it('that fails leaves the model as it was, and none leaves memory behind', async () => {
    const krait = await open();
    const base = await krait.score(TEXT);
    const { blocks } = krait.device.memory();
    const failing = [
      tuneFails(
        { learningRate: 1e30, steps: 30 },
        /^step \d+: the (loss|gradient norm) is .*; lower the learning rate/,
      ),
      tuneFails(
        { batching: 'padding', maxLength: 2, trainOnPrompt: true, data: [{ text: '' }] },
        /^data\[0\]: no trainable/,
      ),
      tuneFails(
        { targetModules: 'in_porj' },
        /^target_modules: "in_porj" matches no module \(did you mean in_proj\?\)/,
      ),
    ];
    for (const attempt of failing) await attempt(krait);
    const onStep = () => {
      throw new Error('from the callback');
    };
    await assert.rejects(tune(krait, { onStep }), /^Error: from the callback$/);
    assert.equal(krait.adapter, null);
    assert.deepEqual(await krait.score(TEXT), base);
    assert.equal((await tune(krait)).status, 'completed');
    krait.merge();
    krait.merge({ permanent: true });
    assert.equal(krait.device.memory().blocks, blocks);
  });
});

describe('errors', () => {
  it('name the option, its value and what to do', async () => {
    const krait = await open();
    const wrong: [Record<string, unknown>, RegExp][] = [
      [{ lerningRate: 1 }, /^tune: there is no option lerningRate \(did you mean learningRate\?\); leave it out$/],
      [{ steps: -1 }, /^tune: steps: max_steps -1: /],
      [{ steps: 2, epochs: 2 }, /^tune: max_steps and num_train_epochs are both given; give one$/],
      [{ precision: 'f64' }, /^tune: precision: dtype "f64": expected one of "f32"\|"bf16"\|"f16"/],
      [{ evalEvery: 2 }, /^tune: evalEvery is 2 but there is nothing to evaluate on; give validation too$/],
      [{ patience: 2 }, /^tune: patience is 2 but nothing is evaluated; give evalEvery too$/],
      [
        { optimizer: 'lion', adamEpsilon: 1e-6 },
        /^tune: adam_epsilon: the optimizer lion does not take it; leave it out$/,
      ],
      [{ saveEvery: 2 }, /^tune: saveEvery is 2 but no folder is given to save to; give out too$/],
      [{ method: 'full', rank: 2 }, /^tune: rank is of LoRA, the method is full; leave one out$/],
      [{ data: [] }, /^data: expected records, or the path of a JSONL file, got none; give at least one$/],
      [{ data: 3 }, /^data: expected records, or the path of a JSONL file, got 3; /],
      [
        { data: join(work, 'none.jsonl') },
        /none\.jsonl: no such file or folder; give a JSONL file or a folder with train\.jsonl$/,
      ],
      [
        { data: [{ text: 'a' }, { promt: 'a', completion: 'b' }] },
        /^data\[1\]: completion without prompt \(did you mean/,
      ],
      [{ data: [{ prompt: 'a', completion: '' }] }, /^data\[0\]: no trainable tokens/],
      [{ data: records, validation: [{}] }, /^validation\[0\]: /],
    ];
    for (const [options, message] of wrong)
      await fails(krait.tune({ data: records, ...options } as TuneOptions), message);
    await fails(krait.loadAdapter(join(work, 'none')), /none\/adapter_config\.json: no such file/);
    for (const method of ['saveAdapter', 'merge', 'unmerge', 'removeAdapter'] as const) {
      await fails(
        () => krait[method](work as never),
        new RegExp(`^${method}: the model has no adapter; tune\\(\\) it`),
      );
    }
    assert.equal(krait.adapter, null);
  });

  it('say what an adapter on the model is in the way of', async () => {
    const krait = await open();
    await tune(krait, { steps: 1 });
    const folder = join(work, 'one');
    await krait.saveAdapter(folder);
    await fails(
      tune(krait, { rank: 2 }),
      /^tune: rank is of a new adapter and the model has one; leave it out, or merge\(/,
    );
    await fails(
      tune(krait, { method: 'full' }),
      /^tune: the model has an adapter, which method full does not train; merge/,
    );
    await fails(
      krait.loadAdapter(folder),
      /one: an adapter is on the model already; merge\(\{ permanent: true \}\) or rem/,
    );
    krait.merge();
    await fails(() => krait.merge(), /^the adapter is merged already; unmerge it first$/);
    await fails(
      tune(krait),
      /^tune: the adapter is merged; unmerge\(\) to train it on, or merge\(\{ permanent: true \}\)/,
    );
    krait.removeAdapter();
    await tune(krait, { method: 'full', steps: 1 });
  });

  it('while it is being tuned, and after it is closed', async () => {
    const krait = await open();
    const uses: [string, () => unknown][] = [
      ['generate', async () => (await krait.generate('a').next()).value],
      ['complete', () => krait.complete('a')],
      ['score', () => krait.score('a')],
      ['tune', () => tune(krait)],
      ['save', () => krait.save(join(work, 'never'))],
      ['loadAdapter', () => krait.loadAdapter(work)],
      ['merge', () => krait.merge()],
    ];
    const running = krait.generate('a', { eosTokens: [] });
    await running.next();
    const tuning = tune(krait);
    for (const [name, use] of [
      ...uses,
      ['generate', () => running.next()],
      ['close', () => krait.close()],
    ] as typeof uses) {
      await fails(use, new RegExp(`^${name}: tune is running on .*base; await it, or abort it by its signal, first$`));
    }
    assert.equal((await tuning).status, 'completed');
    const half = krait.generate('a', { eosTokens: [] });
    await half.next();
    krait.close();
    krait.close();
    for (const [name, use] of [...uses, ['generate', () => half.next()]] as typeof uses) {
      await fails(use, new RegExp(`^${name}: .*base is closed; load it again with Krait\\.load$`));
    }
    assert.equal(existsSync(join(work, 'never')), false);
  });
});
