import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { openBackend } from '../../backend/select.ts';
import { loadTokenizer, type Tokenizer } from '../../io/index.ts';
import { type LanguageModel, loadModel, scoreTokens } from '../../models/index.ts';
import { NodeFileSystem } from '../../platform/node/index.ts';
import { Device } from '../../tensor/index.ts';
import type { EvalRequest } from '../index.ts';
import { answerRequests } from './answers.ts';
import { openAnswerCache } from './cache.ts';
import { encodePair, prefixToken, rollingWindows, truncatePair } from './encode.ts';

const BASE = new URL('../../../models/base', import.meta.url).pathname;
const files = new NodeFileSystem();

describe('answers of the base model', () => {
  let device: Device;
  let model: LanguageModel;
  let tokenizer: Tokenizer;
  before(async () => {
    device = new Device((await openBackend({})).backend);
    model = await loadModel(device, files, BASE);
    tokenizer = await loadTokenizer(files, BASE);
  });
  after(() => {
    model.dispose();
    device.close();
  });

  const pair = (context: string, continuation: string) =>
    encodePair(tokenizer, { kind: 'loglikelihood', context, continuation });

  /** Nats of a continuation after a context, from the scores of the whole. */
  const plain = async (context: readonly number[], continuation: readonly number[]) => {
    const scores = await scoreTokens(model, [...context, ...continuation]);
    return scores.slice(context.length).reduce<number>((sum, x) => sum + x!, 0);
  };

  it('white space between context and continuation belongs to the continuation', () => {
    assert.deepEqual(pair('The whale \n', 'swims'), pair('The whale', ' \nswims'));
    for (const space of ['\u2003', '\x1c\x85'])
      assert.deepEqual(pair(`The whale${space}`, 'swims').context, tokenizer.encode('The whale'));
    assert.notDeepEqual(pair('The whale\ufeff', 'swims').context, tokenizer.encode('The whale')); // no space to Python
    const { context, continuation } = pair('The whale', ' swims');
    assert.deepEqual([...context, ...continuation], tokenizer.encode('The whale swims'));
  });

  it('an empty context is the first token, which a text may bring itself', () => {
    const first = prefixToken(tokenizer);
    assert.deepEqual(pair('', 'swims').context, [first]);
    assert.deepEqual(pair('  ', 'swims').context, [first]);
    const spelled = tokenizer.decode([first], { skipSpecialTokens: false });
    assert.deepEqual(pair('', `${spelled}swims`), pair('', 'swims'));
    assert.throws(() => pair('The whale', ''), /the continuation "" adds no token/);
    const nameless = { ...tokenizer, path: 'x', encode: () => [1], decode: () => '', bosId: null, eosId: null };
    assert.throws(() => prefixToken(nameless), /x: names neither bos_token nor eos_token/);
  });

  it('a context too long is cut on the left, and all of a text is scored once, window by window', () => {
    const long = { context: [1, 2, 3, 4, 5], continuation: [6, 7] };
    assert.deepEqual(truncatePair(long, 6), { ...long, isCut: false });
    assert.deepEqual(truncatePair(long, 4), { context: [3, 4, 5], continuation: [6, 7], isCut: true });
    assert.deepEqual(truncatePair(long, 2).context, [5]);
    assert.throws(() => truncatePair(long, 1), /a continuation of 2 tokens does not fit the longest input of 1/);
    const counter = {
      ...tokenizer,
      path: 'x',
      encode: () => [1, 2, 3, 4, 5, 6, 7],
      decode: () => '',
      bosId: 0,
      eosId: 0,
    };
    // utils.get_rolling_token_windows of the harness with max_seq_len 3, made disjoint.
    assert.deepEqual(rollingWindows(counter, 'any', 3), [
      { context: [0], continuation: [1, 2, 3] },
      { context: [3], continuation: [4, 5, 6] },
      { context: [4, 5, 6], continuation: [7] },
    ]);
  });

  it('are those of each request alone, in their order, cut ones counted', async () => {
    const shots = 'Call me Ishmael. Some years ago, never mind how long precisely. '.repeat(3);
    const words = [' whale', ' harpoon and the sea', ' ship'];
    const requests: EvalRequest[] = ['The great', 'He saw the', ''].flatMap((question) =>
      words.map((continuation) => ({
        kind: 'loglikelihood' as const,
        context: question && shots + question,
        continuation,
      })),
    );
    requests.splice(2, 0, { kind: 'rolling', text: shots.repeat(2) });
    requests.push({ kind: 'generate', context: shots, until: ['.'], maxTokens: 5 }, { kind: 'rolling', text: '' });
    const report = await answerRequests(model, tokenizer, requests, { maxLength: 40 });
    assert.equal(report.truncated, 7);
    assert.equal(report.computedTokens < report.tokens, true, `${report.computedTokens} of ${report.tokens}`);
    for (const [i, request] of requests.entries()) {
      const answer = report.answers[i];
      assert.equal(answer.kind, request.kind);
      if (answer.kind === 'generate') assert.equal(answer.text.includes('.'), false);
      else {
        const parts =
          request.kind === 'loglikelihood'
            ? [truncatePair(encodePair(tokenizer, request), 40)]
            : rollingWindows(tokenizer, request.kind === 'rolling' ? request.text : '', 40);
        let expected = 0;
        for (const { context, continuation } of parts) expected += await plain(context, continuation);
        assert.equal(Math.abs(answer.logprob - expected) < 1e-3, true, `request ${i}: ${answer.logprob}, ${expected}`);
      }
    }
    await assert.rejects(answerRequests(model, tokenizer, [], { maxLength: 0 }), /max length: .* got 0/);
    const greedy = report.answers.filter((answer) => answer.kind === 'loglikelihood' && answer.isGreedy);
    assert.equal(greedy.length < 9, true, 'everything is greedy');
  });

  it('are kept as they come: an interrupted run goes on, and a line that was cut is asked again', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'krait-answers-'));
    const path = join(folder, 'answers.jsonl');
    const requests: EvalRequest[] = ['The great', 'He saw', 'On the sea'].flatMap((context) => [
      { kind: 'loglikelihood' as const, context, continuation: ' whale' },
      { kind: 'rolling' as const, text: `${context} there was a whale, and it was white.` },
      { kind: 'generate' as const, context, until: ['.'], maxTokens: 4 },
    ]);
    const alone = await answerRequests(model, tokenizer, requests, { maxLength: 8 });
    const control = new AbortController();
    let cache = await openAnswerCache(files, path, 'base');
    const stopping = {
      ...cache,
      put: async (entries: Parameters<typeof cache.put>[0]) => {
        await cache.put(entries);
        control.abort(new Error('killed'));
      },
    };
    const options = { maxLength: 8, batchSize: 1, signal: control.signal, cache: stopping };
    await assert.rejects(answerRequests(model, tokenizer, requests, options), /killed/);
    const kept = readFileSync(path, 'utf8');
    assert.equal(kept.split('\n').length, 2, kept);
    appendFileSync(path, kept.slice(0, 40));
    cache = await openAnswerCache(files, path, 'base');
    assert.equal(readFileSync(path, 'utf8'), kept);
    const resumed = await answerRequests(model, tokenizer, requests, { maxLength: 8, cache });
    resumed.answers.forEach((answer, i) => {
      const expected = alone.answers[i];
      if (answer.kind === 'generate' || expected.kind === 'generate') assert.deepEqual(answer, expected);
      else assert.equal(Math.abs(answer.logprob - expected.logprob) < 1e-4, true, `request ${i}`);
    });
    assert.deepEqual([resumed.truncated, resumed.tokens], [alone.truncated, alone.tokens]);
    assert.equal(resumed.computedTokens < alone.computedTokens, true, 'nothing was known');
    const again = await openAnswerCache(files, path, 'base');
    assert.equal((await answerRequests(model, tokenizer, requests, { maxLength: 8, cache: again })).computedTokens, 0);
    const other = await openAnswerCache(files, path, 'another model');
    const key = await other.keyOf(requests[0], 8);
    assert.equal(other.get(key), undefined);
    assert.equal(again.get(await again.keyOf(requests[0], 9)), undefined);
    writeFileSync(path, '{"key":"a","answer":{"kind":"rolling"}}\n');
    await assert.rejects(openAnswerCache(files, path, 'base'), /answers.jsonl:1: not a kept answer: .*remove the file/);
    rmSync(folder, { recursive: true });
  });
});
