import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { FileFormatError, KraitError } from '../core/index.ts';
import { BlobFileSystem } from '../platform/browser/index.ts';
import { formatJsonl, type LinesOptions, readJsonl, readLines } from './jsonl.ts';
import { parseRecord, readRecords, type TrainingRecord } from './records.ts';

const PATH = 'd/train.jsonl';
const of = (content: string | Uint8Array) => new BlobFileSystem([[PATH, content]]);

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

const lines = (content: string | Uint8Array, options?: LinesOptions) => collect(readLines(of(content), PATH, options));
const fails = (promise: Promise<unknown>, expected: RegExp) =>
  assert.rejects(promise, (error: Error) => {
    assert.ok(error instanceof FileFormatError, String(error.stack));
    assert.match(error.message, expected);
    assert.ok(!error.message.includes('\n'));
    return true;
  });

describe('lines', () => {
  test('ends of every kind, a byte-order mark, blank lines, a last line without an end', async () => {
    const expected = [
      { line: 1, text: '{"a":1}' },
      { line: 3, text: 'é' },
      { line: 6, text: 'last' },
    ];
    const content = '\uFEFF{"a":1}\r\n\né\n  \r\n\r\nlast';
    assert.deepEqual(await lines(content), expected);
    assert.deepEqual(await lines(`${content}\n`), expected);
    assert.deepEqual(await lines(`${content}\r\n`), expected);
    assert.deepEqual(await lines(''), []);
    assert.deepEqual(await lines('\n\n'), []);
    assert.deepEqual(await lines('\uFEFF'), []);
  });

  test('the same for any size of the pieces it is read in', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: 'grapheme' })),
        fc.integer({ min: 1, max: 9 }),
        async (texts, chunkBytes) => {
          const content = texts.map((text) => text.replace(/[\r\n]/g, '_')).join('\n');
          const expected = content
            .replace(/^\uFEFF/, '')
            .split('\n')
            .map((text, i) => ({ line: i + 1, text }))
            .filter(({ text }) => text.trim() !== '');
          assert.deepEqual(await lines(content, { chunkBytes }), expected);
        },
      ),
      { numRuns: 200, seed: 5 },
    );
  });

  test('a line that is too long is an error, before it is held', async () => {
    const options = { mostLineBytes: 10, chunkBytes: 4 };
    assert.equal((await lines('0123456789\n0123456789', options)).length, 2);
    await fails(
      lines('a\n0123456789x\nb', options),
      /^d\/train\.jsonl:2: the line is longer than 10 bytes; write one JSON record/,
    );
    await fails(lines('0123456789x', options), /:1: the line is longer/);
    await fails(lines('0123456789x', { mostLineBytes: 10 }), /:1: the line is longer/);
  });

  test('what is not UTF-8 is an error with its line', async () => {
    await fails(lines(Uint8Array.of(65, 10, 0xff, 10)), /:2: not valid UTF-8; save the file as UTF-8/);
    await fails(lines(Uint8Array.of(0xff, 0xfe, 65, 0, 10, 0)), /:1: UTF-16 text/);
    await fails(lines(Uint8Array.of(0xfe, 0xff, 0, 65, 0, 10)), /:1: UTF-16 text/);
  });

  test('reading can be left early', async () => {
    for await (const { text } of readLines(of('a\nb\nc'), PATH)) {
      assert.equal(text, 'a');
      break;
    }
  });
});

describe('values', () => {
  test('what is written is read', async () => {
    const values = [{ text: 'a\nb\u2028' }, [1, null], 'x'];
    const files = new BlobFileSystem();
    await files.writeAtomic(PATH, formatJsonl(values));
    assert.deepEqual(
      (await collect(readJsonl(files, PATH))).map(({ value }) => value),
      values,
    );
  });

  test('a line that is no JSON is named', async () => {
    await fails(
      collect(readJsonl(of('{"a":1}\n\n{"a":\n'), PATH)),
      /^d\/train\.jsonl:3: not valid JSON: .* in "\{\\"a\\":"; write one/,
    );
  });

  test('any bytes: lines and records, or an error of ours', async () => {
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 20 }),
      fc
        .constantFrom('\n', '\r\n', '{"text":"a"}', '{"prompt":"a","completion":', '"b"}', '[', '\uFEFF')
        .map((text) => new TextEncoder().encode(text)),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(piece, { maxLength: 12 }),
        fc.integer({ min: 1, max: 64 }),
        async (pieces, chunkBytes) => {
          try {
            await collect(
              readRecords(of(Uint8Array.from(pieces.flatMap((part) => [...part]))), PATH, {
                chunkBytes,
                mostLineBytes: 100,
              }),
            );
          } catch (error) {
            assert.ok(error instanceof KraitError, String((error as Error).stack));
          }
        },
      ),
      { numRuns: 500, seed: 9 },
    );
  });
});

describe('records', () => {
  test('the four shapes, other keys ignored', () => {
    const cases: [unknown, TrainingRecord][] = [
      [
        { text: 'a', id: 3 },
        { kind: 'text', text: 'a' },
      ],
      [
        { text: 'a', label: 'spam' },
        { kind: 'labelled', text: 'a', label: 'spam' },
      ],
      [
        { text: 'a', label: 1 },
        { kind: 'labelled', text: 'a', label: '1' },
      ],
      [
        { text: 'a', label: false },
        { kind: 'labelled', text: 'a', label: 'false' },
      ],
      [
        { prompt: 'p', completion: 'c', text: 'x' },
        { kind: 'completion', prompt: 'p', completion: 'c' },
      ],
      [
        {
          messages: [
            { role: 'user', content: 'hi', name: 'x' },
            { role: 'assistant', content: '' },
          ],
        },
        {
          kind: 'chat',
          messages: [
            { role: 'user', content: 'hi' },
            { role: 'assistant', content: '' },
          ],
        },
      ],
    ];
    for (const [value, expected] of cases) assert.deepEqual(parseRecord(value, 'f:1'), expected);
  });

  test('what is none says file, line, what was found and what was expected', () => {
    const cases: [unknown, RegExp][] = [
      [{}, /keys \(none\) make no record/],
      [{ txt: 'a' }, /keys "txt" make no record \(did you mean text by "txt"\?\)/],
      [{ prompt: 'a', completions: 'b' }, /prompt without completion \(did you mean completion by "completions"\?\)/],
      [{ completion: 'a' }, /completion without prompt/],
      [{ text: 3 }, /text 3: expected string/],
      [{ text: 'a', label: null }, /label null: /],
      [{ prompt: 'a', completion: ['b'] }, /completion \["b"\]: expected string/],
      [{ messages: [] }, /messages \[\]: .*>=1 items/],
      [{ messages: 'hi' }, /messages "hi": expected array/],
      [{ messages: [{ role: 'bot', content: 'x' }] }, /messages\[0\]\.role "bot": expected one of "system"\|"user"/],
      [{ messages: [{ role: 'user' }] }, /messages\[0\]\.content is missing \(expected string\)/],
      [[1], /expected an object, got \[1\]/],
      ['text', /expected an object, got "text"/],
      [null, /expected an object, got null/],
    ];
    for (const [value, expected] of cases) {
      assert.throws(
        () => parseRecord(value, 'f:7'),
        (error: Error) => {
          assert.ok(error instanceof FileFormatError);
          assert.match(error.message, expected);
          assert.match(error.message, /^f:7: .*; each line is one of \{"text"\}, \{"text","label"\}/);
          return true;
        },
      );
    }
  });

  test('a file of them, and an empty one', async () => {
    const records = await collect(readRecords(of('{"text":"a"}\n\n{"text":"b"}'), PATH));
    assert.deepEqual(
      records.map(({ line }) => line),
      [1, 3],
    );
    await fails(collect(readRecords(of('\n'), PATH)), /^d\/train\.jsonl: no records; each line is one of/);
    await fails(collect(readRecords(of('{"text":"a"}\n{"texts":1}'), PATH)), /^d\/train\.jsonl:2: keys "texts"/);
  });
});
