import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { FileFormatError } from '../core/index.ts';
import type { TrainingRecord } from '../io/index.ts';
import { NodeFileSystem } from '../platform/node/index.ts';
import type { TokenExample } from './batches/index.ts';
import { isTarget, targetCountOf } from './batches/index.ts';
import { type RecordOptions, tokenizeFile, tokenizeRecord } from './records.ts';
import { CharTokenizer } from './testing/char-tokenizer.ts';

const tokenizer = new CharTokenizer();
const OPTIONS: RecordOptions = { maxLength: 64 };
const read = (record: TrainingRecord, options = OPTIONS) => tokenizeRecord(record, tokenizer, options, 'data.jsonl:3');

/** The text with what carries loss in capitals; `$` ends it. */
const marked = (example: TokenExample) =>
  Array.from(example.ids, (id, t) => {
    const letter = tokenizer.decode([id], { skipSpecialTokens: false });
    return isTarget(example, t) ? letter.toUpperCase().replace('$', '!') : letter;
  }).join('');

test('what carries loss: text, completion, label, what the assistant says', () => {
  const cases: [TrainingRecord, string, number][] = [
    [{ kind: 'text', text: 'abcd' }, 'aBCD!', 3],
    [{ kind: 'completion', prompt: 'ab', completion: 'cd' }, 'abCD!', 2],
    [{ kind: 'completion', prompt: '', completion: 'cd' }, 'cD!', 2],
  ];
  for (const [record, expected, bytes] of cases) {
    const { example, isTruncated } = read(record);
    assert.equal(marked(example), expected);
    assert.equal(example.bytes, bytes);
    assert.equal(isTruncated, false);
  }
  const labelPrompt = { prompt: (text: string) => `${text}:`, completion: (label: string) => ` ${label}` };
  assert.equal(
    marked(read({ kind: 'labelled', text: 'ab', label: 'c' }, { ...OPTIONS, labelPrompt }).example),
    'ab: C!',
  );
  const messages = [
    { role: 'user', content: 'ab' },
    { role: 'assistant', content: 'cd' },
    { role: 'user', content: 'e' },
    { role: 'assistant', content: 'f' },
  ] as const;
  assert.equal(marked(read({ kind: 'chat', messages }).example), '<a>ab\n<b>CD\n<a>e\n<b>F\n');
  const prompted = read({ kind: 'completion', prompt: 'ab', completion: 'cd' }, { ...OPTIONS, trainOnPrompt: true });
  assert.equal(marked(prompted.example), 'aBCD!');
});

test('too long: the prompt is cut on the left, text on the right', () => {
  const cut = (record: TrainingRecord, maxLength: number) => {
    const { example, isTruncated } = read(record, { maxLength });
    assert.equal(isTruncated, true);
    assert.ok(example.ids.length <= maxLength);
    return marked(example);
  };
  assert.equal(cut({ kind: 'completion', prompt: 'abcdef', completion: 'gh' }, 5), 'efGH!');
  assert.equal(cut({ kind: 'completion', prompt: 'ab', completion: 'cdefgh' }, 4), 'bCDE');
  assert.equal(cut({ kind: 'text', text: 'abcdef' }, 3), 'aBC');
});

test('a record without trainable tokens is an error with its line', () => {
  const fails = (record: TrainingRecord, message: RegExp, options = OPTIONS) =>
    assert.throws(
      () => read(record, options),
      (error: Error) => {
        return error instanceof FileFormatError && message.test(error.message);
      },
    );
  fails({ kind: 'completion', prompt: 'ab', completion: '' }, /^data.jsonl:3: no trainable tokens/);
  fails({ kind: 'text', text: '' }, /^data.jsonl:3: no trainable tokens/);
  fails({ kind: 'chat', messages: [{ role: 'user', content: 'ab' }] }, /no trainable tokens/);
  fails({ kind: 'text', text: 'abc' }, /no trainable tokens are left of its 4 at max length 1/, { maxLength: 1 });
});

test('a template that rewrites what was said cannot be masked', () => {
  const messages = ['user', 'assistant', 'user', 'assistant'].map((role) => ({ role, content: 'a' }) as const);
  const rewriting = new CharTokenizer(undefined, true);
  const record = { kind: 'chat', messages: messages as never } as const;
  assert.throws(() => tokenizeRecord(record, rewriting, OPTIONS, 'x:1'), /x:1: the chat template rewrites/);
});

test('a file: counts, cut records, and errors that name the line', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'krait-records-'));
  const path = join(folder, 'data.jsonl');
  const files = new NodeFileSystem();
  const tokenize = async (text: string, vocabSize = 16) => {
    await writeFile(path, text);
    return tokenizeFile(files, path, tokenizer, vocabSize, { maxLength: 4 });
  };
  const result = await tokenize('{"text":"ab"}\n\n{"prompt":"abc","completion":"d"}\n{"text":"abcdefgh"}\n');
  assert.deepEqual([result.examples.length, result.tokens, result.targets, result.truncated], [3, 11, 7, 2]);
  assert.equal(targetCountOf(result.examples[1]), 2);
  await assert.rejects(
    tokenize('{"text":"ab"}\n{"prompt":"a","completion":""}\n'),
    /data.jsonl:2: no trainable tokens/,
  );
  await assert.rejects(tokenize(''), /data.jsonl: no records/);
  await assert.rejects(tokenize('{"text":"ab"}\n', 8), /tokenizer.json: 15 tokens, the model has 8 rows/);
  await rm(folder, { recursive: true });
});
