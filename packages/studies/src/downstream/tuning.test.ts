/** Instruction tuning of a cell: stopped and taken up again; and the files that it learns from. */

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { NodeFileSystem, NpmDataSource } from 'krait';
import { baseModel } from 'krait/cli';
import { loadTokenizer } from 'krait/io';
import { onlyInAll } from '../../../../src/core/testing/only-in-all.ts';
import { tinyTokenizer } from '../../../../src/io/testing/tiny-tokenizer.ts';
import { countingExamples, referenceDevice, tinyModel } from '../../../../src/tune/testing/tiny-runs.ts';
import { episodePieces, loadMicroMaterial, metaEpisodes, microEpisodes } from '../micro/index.ts';
import { alpacaPrompt, fileInstructions, metaInstructions, microInstructions } from './instructions.ts';
import type { Method } from './methods.ts';
import { checkDownstream, PRESETS } from './settings.ts';
import { Diverged, type TuningInput, tuneModel } from './tuning.ts';

const files = new NodeFileSystem();
const work = mkdtempSync(join(tmpdir(), 'krait-tuning-'));
after(() => rmSync(work, { recursive: true }));

const settings = { ...PRESETS.micro, batchSize: 2, maxLength: 12, steps: 6, saveEvery: 2, pairRank: 3, rank: 2 };
const train = countingExamples(20, 10);

/** A fresh model tuned, with what it says after; `stopAt` fires the signal after so many steps. */
async function tune(method: Method, place: TuningInput['place'], stopAt?: number) {
  const model = tinyModel(referenceDevice());
  const stop = new AbortController();
  const steps: number[] = [];
  const plan = { method, precision: 'f32', seed: 1, rate: 1e-2, steps: 6 } as const;
  const onStep = (step: number) => {
    steps.push(step);
    if (step === stopAt) stop.abort();
  };
  const { cost, adapter } = await tuneModel({ model, plan, settings, train, place, signal: stop.signal, onStep });
  const tensors = adapter ? [...adapter.trainable.values()] : [...model.parameters.values()];
  return { cost, steps, values: await Promise.all(tensors.map(async (tensor) => Array.from(await tensor.read()))) };
}

describe('tuning inside a cell', () => {
  for (const method of ['meta', 'full', 'lora-x', 'lora-x-untied'] as const) {
    it(`goes on from its checkpoint to what it would have been: ${method}`, async () => {
      const whole = await tune(method, null);
      assert.deepEqual(whole.steps, [1, 2, 3, 4, 5, 6]);
      const place = { files, folder: join(work, method) };
      await assert.rejects(tune(method, place, 3), { name: 'AbortError' });
      const rest = await tune(method, place);
      assert.ok(rest.steps.length < 6 && rest.steps.at(-1) === 6, `${rest.steps}`);
      assert.deepEqual(rest.values, whole.values);
      assert.equal(rest.cost.loss, whole.cost.loss);
      assert.equal(rest.cost.trainableParameters, whole.cost.trainableParameters);
      const done = await tune(method, place); // stopped while it was asked: nothing is tuned again, and the cost is known
      assert.deepEqual([done.steps, done.values, done.cost], [[], whole.values, rest.cost]);
    });
  }

  it('keeps what its steps cost, where it is stopped while it is evaluated', async () => {
    const place = { files, folder: join(work, 'evaluated') };
    const plan = { method: 'full', precision: 'f32', seed: 1, rate: 1e-2, steps: 6 } as const;
    const validation = countingExamples(40, 10);
    const run = async (signal?: AbortSignal) => {
      const model = tinyModel(referenceDevice());
      return (await tuneModel({ model, plan, settings, train, validation, place, signal })).cost;
    };
    const stop = new AbortController();
    const model = tinyModel(referenceDevice());
    const onStep = (step: number) => {
      if (step === 6) setTimeout(() => stop.abort(), 0);
    };
    const first = tuneModel({ model, plan, settings, train, validation, place, signal: stop.signal, onStep });
    await assert.rejects(first, { name: 'AbortError' });
    const cost = await run();
    assert.ok(cost.loss > 0 && cost.tokensPerSecond! > 0, JSON.stringify(cost));
    assert.ok(cost.validationLoss! > 0);
    assert.deepEqual(await run(), cost, 'a cost that is known is not measured again');
  });

  it('says that it diverged', async () => {
    const model = tinyModel(referenceDevice());
    const plan = { method: 'full', precision: 'f32', seed: 1, rate: 1e30, steps: 6 } as const;
    await assert.rejects(tuneModel({ model, plan, settings, train, place: null }), (error: Error) => {
      assert.ok(error instanceof Diverged, error.message);
      assert.match(error.message, /^step \d: the (loss|gradient norm) is (NaN|Infinity)/);
      return true;
    });
  });
});

describe('episodes as tokens', onlyInAll('reads the corpora'), () => {
  it('carry loss on the answers that are told, and on nothing else', async () => {
    const material = await loadMicroMaterial(new NpmDataSource());
    const tokenizer = await loadTokenizer(files, baseModel());
    const sets = [
      { set: await metaInstructions(material, 80), episodes: metaEpisodes(material.tune, 80) },
      { set: await microInstructions(material, 80), episodes: microEpisodes(material.tune, 80) },
    ];
    for (const { set, episodes } of sets) {
      const asked = episodes.map(episodePieces).filter((pieces) => pieces.some(({ isTold }) => isTold));
      const examples = set.train(tokenizer, 4096);
      assert.equal(examples.length, asked.length);
      examples.forEach(({ ids, targets }, i) => {
        const learned = targets.map(([from, to]) => tokenizer.decode(Array.from(ids).slice(from, to)));
        const told = asked[i].filter(({ isTold }) => isTold).map(({ answer }) => answer);
        assert.deepEqual(learned, told);
        assert.ok(learned.length < asked[i].length || asked[i].every(({ isTold }) => isTold));
      });
    }
  });
});

describe('files of instructions', () => {
  it('are Alpaca’s, OpenHermes’ or records; every text is found again in the tokens', async () => {
    const path = join(work, 'instructions.jsonl');
    const records = [
      { instruction: 'Say it.', input: 'well', output: 'done' },
      { instruction: 'Say it.', output: 'done' },
      {
        conversations: [
          { from: 'human', value: 'one' },
          { from: 'gpt', value: 'two' },
          { from: 'human', value: 'three' },
          { from: 'gpt', value: 'four' },
        ],
      },
      { prompt: 'a', completion: 'b' },
    ];
    writeFileSync(path, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
    writeFileSync(join(work, 'tokenizer.json'), tinyTokenizer());
    const tokenizer = await loadTokenizer(files, work);
    const set = await fileInstructions(files, path);
    const all = [...set.train(tokenizer, 4096), ...set.validation(tokenizer, 4096)];
    assert.deepEqual([set.train(tokenizer, 4096).length, set.validation(tokenizer, 4096).length], [3, 1]);
    const texts = all.map(({ ids, targets: [[from, to]] }) => {
      const own = Array.from(ids);
      return [tokenizer.decode(own.slice(0, from)), tokenizer.decode(own.slice(from, to)).replace(/<[^>]*>$/, '')];
    });
    const expected = [
      [alpacaPrompt({ instruction: 'Say it.', input: 'well' }), 'done'],
      [alpacaPrompt({ instruction: 'Say it.' }), 'done'],
      ['### Instruction:\none\n\n### Response:two\n\n### Instruction:\nthree\n\n### Response:', 'four'],
      ['a', 'b'],
    ];
    assert.deepEqual(texts.sort(), expected.sort());
    assert.match(expected.flat().join('\n'), /### Input:\nwell\n\n### Response:/);
    assert.equal(
      set.train(tokenizer, 12).length,
      set.train(tokenizer, 12).filter(({ ids }) => ids.length <= 12).length,
    );
  });

  it('are refused with their line', async () => {
    const path = join(work, 'bad.jsonl');
    writeFileSync(path, '{"prompt":"a","completion":"b"}\n{"conversations":[{"from":"alien","value":"x"}]}\n');
    await assert.rejects(fileInstructions(files, path), /bad\.jsonl:2: expected turns \{"from": "human" or "gpt"/);
    writeFileSync(path, '{"instruction":"a"}\n');
    await assert.rejects(fileInstructions(files, path), /bad\.jsonl:1: keys "instruction" make no record/);
  });
});

it('settings that cannot be used are named', () => {
  const { micro } = PRESETS;
  checkDownstream(micro);
  checkDownstream(PRESETS.paper);
  assert.throws(() => checkDownstream({ ...micro, pairRank: 8 }), /pair rank: 8 does not share out to three; give 9/);
  assert.throws(() => checkDownstream({ ...micro, seeds: 0 }), /seeds: 0 is not a whole number >= 1/);
  assert.throws(() => checkDownstream({ ...micro, rates: { ...micro.rates, full: [] } }), /rates: none is given/);
});
