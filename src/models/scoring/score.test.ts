import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createReferenceBackend } from '../../backend/reference/index.ts';
import { isAll } from '../../core/testing/only-in-all.ts';
import { Device } from '../../tensor/index.ts';
import * as M from '../index.ts';
import { testDevices } from '../testing/devices.ts';
import { files, fixture } from '../testing/fixtures.ts';
import { randomIds, run } from '../testing/model-runs.ts';

const near = (a: number, b: number, what = '') => assert.ok(Math.abs(a - b) < 1e-4, `${what}: ${a} against ${b}`);

/** As PIQA asks: a question, two answers that begin alike; lengths all differ, so that nothing is padded by chance. */
const questions = (count: number, vocabSize: number): M.ContinuationRequest[] =>
  Array.from({ length: count }, (_, i) => {
    const context = [1, 2, ...randomIds(3 + i, vocabSize, 70 + i)];
    const common = randomIds(6 + (i % 5), vocabSize, 100 + i);
    const rest = (k: number) => randomIds((7 * i + 3 * k) % 11, vocabSize, 130 + 2 * i + k);
    return [0, 1].map((k) => ({ context, continuation: [...common, k, ...rest(k)] }));
  }).flat();

/** Of questions that share little. */
const COUNT = isAll ? 24 : 10;

for (const name of ['falcon_mamba-a', 'gpt_neox-b']) {
  describe(`scores of ${name}`, () => {
    const device = new Device(createReferenceBackend());
    let model: M.LanguageModel;
    before(async () => {
      model = await M.loadModel(device, files, fixture(name));
      await run(model, [1]); // the decay rates are kept from here on
    });
    after(() => {
      model.dispose();
      device.close();
    });

    /** By the definition: log softmax of the logits of the whole sequence, and whether each token is the largest. */
    const plainScores = async (ids: readonly number[]) => {
      const logits = await run(model, ids);
      const v = model.vocabSize;
      return ids.slice(1).map((token, t) => {
        const row = Array.from(logits.slice(t * v, (t + 1) * v));
        const total = row.reduce((sum, x) => sum + Math.exp(x), 0);
        return { logprob: row[token] - Math.log(total), isBest: row.every((x) => x <= row[token]) };
      });
    };

    it('of tokens are those of the whole sequence, for any chunk', async () => {
      const ids = randomIds(41, model.vocabSize, 1);
      const expected = await plainScores(ids);
      const blocks = device.memory().blocks;
      for (const chunk of [1, 7, 40, 41, 512]) {
        const shares: number[] = [];
        const got = await M.scoreTokens(model, ids, { chunk, onProgress: (share) => shares.push(share) });
        assert.equal(got.length, ids.length);
        assert.equal(got[0], null);
        expected.forEach(({ logprob }, t) => void near(got[t + 1]!, logprob, `token ${t + 1}, chunk ${chunk}`));
        assert.equal(shares.at(-1), 1);
      }
      assert.deepEqual(await M.scoreTokens(model, [4]), [null]);
      await assert.rejects(M.scoreTokens(model, []), /tokens: no tokens/);
      await assert.rejects(M.scoreTokens(model, [-1]), /token 0 is -1/);
      assert.equal(device.memory().blocks, blocks);
    });

    const isConstant = name === 'falcon_mamba-a' ? false : 'its state grows';
    it('of tokens take memory that does not grow with the length', { skip: isConstant }, async () => {
      const peakOf = async (length: number) => {
        device.backend.resetPeak();
        const before = device.memory().bytesInUse;
        await M.scoreTokens(model, randomIds(length, model.vocabSize, 2), { chunk: 16 });
        return device.memory().peakBytes - before;
      };
      assert.equal(await peakOf(320), await peakOf(48));
    });

    it('of continuations are those of the whole sequence, whatever they share', async () => {
      const shots = randomIds(12, model.vocabSize, 3);
      const contexts = [
        [...shots, 1, 2, 3],
        [...shots, 7],
        [...shots, 5, 5, 5, 5, 5],
        [...shots, 1, 2, 3, 4],
      ];
      const requests: M.ContinuationRequest[] = contexts.flatMap((context, i) => [
        { context, continuation: [3] },
        { context, continuation: randomIds(1 + (i % 3) * 4, model.vocabSize, 20 + i) },
      ]);
      // What greedy decoding writes counts as greedy.
      const best = (await run(model, contexts[0])).slice(-model.vocabSize);
      requests.push({ context: contexts[0], continuation: [best.indexOf(Math.max(...best))] });
      const blocks = device.memory().blocks;
      for (const batchSize of [1, 3, 32]) {
        const { scores } = await M.scoreContinuations(model, requests, { batchSize });
        for (const [i, { context, continuation }] of requests.entries()) {
          const expected = (await plainScores([...context, ...continuation])).slice(context.length - 1);
          assert.equal(scores[i].logprobs.length, continuation.length);
          expected.forEach(({ logprob }, t) => void near(scores[i].logprobs[t], logprob, `request ${i}, token ${t}`));
          near(
            scores[i].logprob,
            expected.reduce((sum, { logprob }) => sum + logprob, 0),
          );
          assert.equal(
            scores[i].isGreedy,
            expected.every(({ isBest }) => isBest),
            `request ${i}`,
          );
        }
        assert.ok(scores.at(-1)!.isGreedy);
      }
      assert.equal(device.memory().blocks, blocks);
    });

    it('of continuations are the same with prefixes read once as with every request read whole', async () => {
      const [length, count] = isAll ? [50, 5] : [25, 2];
      const shots = randomIds(length, model.vocabSize, 3);
      const requests: M.ContinuationRequest[] = [];
      for (let question = 0; question < count; question++) {
        const context = [...shots, ...randomIds(30 + 9 * question, model.vocabSize, 40 + question)];
        // More answers than share a row of logits, alike in length and not, and one that is another's beginning.
        for (let answer = 0; answer < 12; answer++) requests.push({ context, continuation: [answer] });
        const long = randomIds(40, model.vocabSize, 60);
        for (const end of [2, 39, 40]) requests.push({ context, continuation: long.slice(0, end) });
        requests.push({ context: context.slice(0, length + 10), continuation: [...context.slice(length + 10), 1] });
      }
      const blocks = device.memory().blocks;
      const whole = await M.scoreContinuations(model, requests, { reusePrefixes: false });
      assert.equal(
        whole.computedTokens,
        requests.reduce((sum, { context, continuation }) => sum + context.length + continuation.length - 1, 0),
      );
      for (const options of [{}, { batchSize: 2 }, { chunk: 7 }]) {
        const told = new Map<number, M.ContinuationScore>();
        const shared = await M.scoreContinuations(model, requests, {
          ...options,
          onScored: (scored) => {
            for (const [request, score] of scored) told.set(request, score);
          },
        });
        assert.equal(shared.computedTokens < whole.computedTokens / 5, true, `${shared.computedTokens} computed`);
        shared.scores.forEach((score, i) => {
          assert.equal(told.get(i), score);
          const expected = whole.scores[i];
          score.logprobs.forEach((x, t) => void near(x, expected.logprobs[t], `request ${i}, token ${t}`));
          assert.equal(score.isGreedy, expected.isGreedy);
        });
      }
      assert.equal(device.memory().blocks, blocks);
    });

    it('of many short continuations are those of each alone, and what two of them begin with is read once', async () => {
      const requests = questions(COUNT, model.vocabSize);
      const blocks = device.memory().blocks;
      const { scores, computedTokens } = await M.scoreContinuations(model, requests);
      const alone = await M.scoreContinuations(model, requests, { reusePrefixes: false, batchSize: 1 });
      assert.ok(computedTokens < 0.75 * alone.computedTokens, `${computedTokens} of ${alone.computedTokens}`);
      scores.forEach((score, i) => {
        score.logprobs.forEach((x, t) => void near(x, alone.scores[i].logprobs[t], `request ${i}, token ${t}`));
        assert.equal(score.isGreedy, alone.scores[i].isGreedy);
      });
      // Stopped between two batches of a level, it keeps no state.
      const control = new AbortController();
      let batches = 0;
      const onProgress = () => {
        batches++;
        if (batches === 2) control.abort(new Error('enough'));
      };
      const options = { onProgress, signal: control.signal, batchSize: 4 };
      await assert.rejects(M.scoreContinuations(model, requests, options), /enough/);
      assert.equal(device.memory().blocks, blocks);
    });

    it('of continuations keep nothing where memory runs out, wherever that is', async () => {
      const requests = questions(6, model.vocabSize);
      await M.scoreContinuations(model, requests);
      const { blocks } = device.memory();
      const { backend } = device;
      const alloc = backend.alloc.bind(backend);
      let failures = 0;
      for (let fatal = 1; ; fatal += isAll ? 5 : 17) {
        let calls = 0;
        backend.alloc = (bytes) => {
          calls++;
          if (calls === fatal) throw new Error('no memory');
          return alloc(bytes);
        };
        const isDone = await M.scoreContinuations(model, requests).then(
          () => true,
          (error: Error) => assert.match(error.message, /no memory/),
        );
        backend.alloc = alloc;
        assert.equal(device.memory().blocks, blocks, `allocation ${fatal}`);
        if (isDone) break;
        failures++;
      }
      assert.ok(failures > (isAll ? 20 : 6), `${failures}`);
    });

    it('of continuations end by a signal, and keep nothing', async () => {
      const shots = randomIds(50, model.vocabSize, 3);
      const requests = [0, 1, 2, 3, 4, 5].map((i) => ({ context: [...shots, i, i], continuation: [i] }));
      const blocks = device.memory().blocks;
      const control = new AbortController();
      let scored = 0;
      const onScored = () => {
        scored++;
        control.abort(new Error('enough'));
      };
      const options = { batchSize: 2, onScored, signal: control.signal };
      await assert.rejects(M.scoreContinuations(model, requests, options), /enough/);
      assert.equal(scored, 1);
      assert.equal(device.memory().blocks, blocks);
    });

    it('of nothing are none, of an empty context an error', async () => {
      assert.deepEqual(await M.scoreContinuations(model, []), { scores: [], computedTokens: 0 });
      const empty = M.scoreContinuations(model, [{ context: [], continuation: [1] }]);
      await assert.rejects(empty, /request 0: context: no tokens/);
      const nothing = M.scoreContinuations(model, [{ context: [1], continuation: [] }]);
      await assert.rejects(nothing, /request 0: continuation: no tokens/);
    });
  });
}

for (const { name, skip, open } of await testDevices()) {
  it(`scores without padding, level by level, are those of each sequence alone on ${name}`, { skip }, async () => {
    const device = await open();
    const model = await M.loadModel(device, files, fixture('mamba-a'));
    const requests = questions(COUNT, model.vocabSize);
    const { scores } = await M.scoreContinuations(model, requests);
    for (const [i, request] of requests.entries()) {
      const { scores: alone } = await M.scoreContinuations(model, [request]);
      scores[i].logprobs.forEach((x, t) => void near(x, alone[0].logprobs[t], `request ${i}, token ${t}`));
    }
    model.dispose();
    device.close();
  });
}
