import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createReferenceBackend } from '../../backend/reference/index.ts';
import { DecodeStream } from '../../io/index.ts';
import { Device } from '../../tensor/index.ts';
import { type LanguageModel, loadModel, prefill, scoreTokens } from '../index.ts';
import { files, fixture } from '../testing/fixtures.ts';
import { randomIds } from '../testing/model-runs.ts';
import { complete, type GenerateOptions, generate, type TextCodec } from './index.ts';

/** Tokens as letters: 0 is `!`, 1 is `"`, and so on. */
const letters: TextCodec = {
  path: 'letters',
  vocabSize: 61,
  eosId: null,
  encode: (text) => Array.from(text, (letter) => letter.charCodeAt(0) - 33),
  decodeStream: () => new DecodeStream((ids) => String.fromCharCode(...ids.map((id) => id + 33))),
};
const spell = (ids: readonly number[]) => String.fromCharCode(...ids.map((id) => id + 33));

for (const name of ['mamba-a', 'gpt_neox-a']) {
  describe(`generate by ${name}`, () => {
    const device = new Device(createReferenceBackend());
    let model: LanguageModel;
    let blocks = 0;
    const prompts = [11, 3, 7].map((length, i) => randomIds(length, 61, i));
    const sampled: GenerateOptions = {
      maxTokens: 14,
      temperature: 1,
      topK: 20,
      topP: 0.95,
      seed: 5,
      eosTokens: [],
      repetitionPenalty: 1.2,
    };

    before(async () => {
      model = await loadModel(device, files, fixture(name));
      await complete(model, null, [1], { maxTokens: 1 });
      blocks = device.memory().blocks;
    });
    after(() => {
      assert.equal(device.memory().blocks, blocks, 'memory stays behind');
      model.dispose();
      device.close();
    });

    it('gives prompts of different lengths in a batch what each gets alone', async () => {
      for (const options of [sampled, { maxTokens: 14, eosTokens: [] }]) {
        const together = await complete(model, letters, prompts, options);
        for (const [i, prompt] of prompts.entries()) {
          const [alone] = await complete(model, letters, prompt, { ...options, stream: i, chunk: 2 });
          assert.deepEqual(together[i], alone);
          assert.equal(alone.text, spell(alone.tokens));
          assert.equal(alone.finish, 'length');
        }
      }
    });

    it('repeats itself for a seed, and differs for another', async () => {
      const tokensFor = async (seed: number) =>
        (await complete(model, null, prompts[0], { ...sampled, seed }))[0].tokens;
      assert.deepEqual(await tokensFor(1), await tokensFor(1));
      assert.notDeepEqual(await tokensFor(1), await tokensFor(2));
    });

    it('chooses the same tokens on the device as from logits, however its sequences end', async () => {
      const told = { maxTokens: 12, eosTokens: [] };
      const [first] = await complete(model, letters, prompts, told);
      const ends: GenerateOptions[] = [
        told,
        { ...told, maxTokens: 1 },
        { ...told, maxTokens: 2 },
        { ...told, eosTokens: first.tokens.slice(1, 2) },
        { ...told, eosTokens: first.tokens.slice(6, 7) },
        { ...told, stop: [spell(first.tokens.slice(3, 5))] },
      ];
      for (const options of ends) {
        const chosen = await complete(model, letters, prompts, options);
        const drawn = await complete(model, letters, prompts, { ...options, logprobs: true });
        assert.deepEqual(
          chosen.map(({ tokens, text, finish }) => [tokens, text, finish]),
          drawn.map(({ tokens, text, finish }) => [tokens, text, finish]),
        );
      }
      assert.equal(device.memory().blocks, blocks);
    });

    it('ends sequences of a batch one by one, at an end-of-text id', async () => {
      const free = await complete(model, null, prompts, sampled);
      const eos = free[1].tokens[4];
      const ended = await complete(model, letters, prompts, { ...sampled, eosTokens: [eos] });
      for (const [i, { tokens, finish, text }] of ended.entries()) {
        const at = free[i].tokens.indexOf(eos);
        assert.deepEqual(tokens, at < 0 ? free[i].tokens : free[i].tokens.slice(0, at + 1));
        assert.equal(finish, at < 0 ? 'length' : 'eos');
        assert.equal(text, spell(at < 0 ? tokens : tokens.slice(0, -1)), 'the end-of-text id has no text');
      }
      assert.equal(ended[1].finish, 'eos');
    });

    it('takes the end-of-text id of the configuration', async () => {
      // Nearly every token is as probable as any other.
      const even = { ...sampled, topK: 0, topP: 1, temperature: 30, repetitionPenalty: 1, seed: 2, maxTokens: 60 };
      const [free] = await complete(model, null, [1, 2], even); // eosTokens is [] there
      const at = free.tokens.indexOf(0);
      assert.ok(at > 0 && free.finish === 'length', `token 0 at ${at}, ${free.finish}`);
      const { eosTokens: _, ...open } = even;
      const [ended] = await complete(model, null, [1, 2], open);
      assert.deepEqual([ended.tokens, ended.finish], [free.tokens.slice(0, at + 1), 'eos']);
    });

    it('stops at a text that spans tokens, and does not give it out', async () => {
      const [free] = await complete(model, letters, prompts[0], sampled);
      const stop = free.text.slice(5, 8);
      const pieces: string[] = [];
      let last = null;
      for await (const event of generate(model, letters, prompts[0], { ...sampled, stop: ['never', stop] })) {
        pieces.push(event.text);
        last = event.finish;
      }
      assert.equal(last, 'stop');
      assert.equal(pieces.join(''), free.text.slice(0, free.text.indexOf(stop)));
      assert.equal(pieces.length, free.text.indexOf(stop) + 3);
      // What was held back in vain is given out at the end.
      const [held] = await complete(model, letters, prompts[0], { ...sampled, stop: [`${free.text.slice(-2)}?`] });
      assert.equal(held.text, free.text);
    });

    it('gives log-probabilities under the model itself', async () => {
      const [{ tokens, logprobs }] = await complete(model, null, prompts[1], { ...sampled, logprobs: true });
      const scores = (await scoreTokens(model, [...prompts[1], ...tokens])).slice(prompts[1].length);
      for (const [i, score] of scores.entries())
        assert.ok(Math.abs(score! - logprobs[i]) < 1e-4, `${score} against ${logprobs[i]}`);
    });

    it('continues from a state', async () => {
      const [whole] = await complete(model, null, prompts[0], sampled);
      const { hidden, state } = await prefill(model, [prompts[0].slice(0, 6)]);
      hidden.dispose();
      const options = { ...sampled, state, repetitionPenalty: 1 };
      const [rest] = await complete(model, null, prompts[0].slice(6), options);
      const [again] = await complete(model, null, prompts[0], { ...sampled, repetitionPenalty: 1 });
      assert.deepEqual(rest.tokens, again.tokens);
      assert.notDeepEqual(whole.tokens, again.tokens, 'the penalty does something');
      state.dispose();
    });

    const growing = name === 'gpt_neox-a' && 'its state grows';
    it('takes the same memory for each token', { skip: growing }, async () => {
      const inUse = new Set<number>();
      let count = 0;
      for await (const _ of generate(model, null, prompts[0], { maxTokens: 40, eosTokens: [] })) {
        if (count++ > 0) inUse.add(device.memory().bytesInUse);
      }
      assert.equal(count, 40);
      assert.equal(inUse.size, 1, `bytes in use were ${[...inUse]}`);
    });

    it('ends by a signal with its reason', async () => {
      const controller = new AbortController();
      let count = 0;
      const work = (async () => {
        for await (const _ of generate(model, null, prompts[0], { ...sampled, signal: controller.signal })) {
          if (++count === 3) controller.abort(new Error('enough'));
        }
      })();
      await assert.rejects(work, /enough/);
      assert.equal(count, 3);
      await assert.rejects(
        complete(model, null, prompts[0], { signal: AbortSignal.abort(new Error('before')) }),
        /before/,
      );
    });

    it('refuses what it cannot do', async () => {
      const fails = (
        message: RegExp,
        prompt: string | number[],
        options: GenerateOptions = {},
        codec: TextCodec | null = letters,
      ) => assert.rejects(complete(model, codec, prompt, options), message);
      await fails(/a prompt as text needs a tokenizer/, 'abc', {}, null);
      await fails(/stop strings need a tokenizer/, [1], { stop: ['x'] }, null);
      await fails(/stop: an empty string/, [1], { stop: [''] });
      await fails(/max tokens: expected a whole number from 0, got -1/, [1], { maxTokens: -1 });
      await fails(/temperature/, [1], { temperature: -1 });
      await fails(/prompt: token 0 is 99/, [99]);
      await assert.rejects(complete(model, letters, [[]]), /prompt: no tokens/);
      await fails(/letters: 62 tokens, the model has 61 rows/, 'a', {}, { ...letters, vocabSize: 62 });
      assert.deepEqual(await complete(model, letters, [], {}), []);
      assert.equal((await complete(model, letters, 'a', { maxTokens: 0 }))[0].tokens.length, 0);
      assert.equal((await complete(model, letters, '', { maxTokens: 2, eosTokens: [] }))[0].tokens.length, 2); // from <bos>
    });
  });
}
