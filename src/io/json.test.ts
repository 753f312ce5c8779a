import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FileFormatError } from '../core/index.ts';
import { describe as describeValue, findDuplicateKey, parseJson, parseJsonObject } from './json.ts';

test("Python's Infinity is a number, inside of text it stays text", () => {
  const parsed = parseJsonObject(
    'config.json',
    '{"limit": [0.0, Infinity], "low": -Infinity, "say": "Infinity \\" Infinity"}',
  );
  assert.deepEqual(parsed, { limit: [0, Infinity], low: -Infinity, say: 'Infinity " Infinity' });
});

test('errors are one line that names the file', () => {
  for (const text of ['', '{', '{"a": Infinit}', '{"a":\n\n}', '{"a": NaN, "b": Infinity}', 'x'.repeat(5000)]) {
    assert.throws(
      () => parseJson('m/config.json', text),
      (error: Error) => {
        assert.ok(error instanceof FileFormatError);
        assert.match(error.message, /^m\/config\.json: not valid JSON: [^\n]{1,320}$/);
        return true;
      },
    );
  }
  assert.throws(() => parseJsonObject('c', '[1]'), /c: expected a JSON object, got \[1\]/);
});

test('a key that stands twice is found, wherever it is and however it is spelt', () => {
  assert.equal(findDuplicateKey('{"a":1,"b":{"a":2},"c":[{"a":1},{"a":1}]}'), undefined);
  assert.equal(findDuplicateKey('{"a":1,"b":{"c":2,"c":3}}'), 'c');
  assert.equal(findDuplicateKey('[{"x":1},{"y":[{"z":{}, "z" :1}]}]'), 'z');
  assert.equal(findDuplicateKey('{"\\u0061":"a","a":1}'), 'a');
  assert.equal(findDuplicateKey('{"a":"x\\",\\"a\\":","b":"{\\"b\\":1}"}'), undefined);
  assert.equal(findDuplicateKey('"text"'), undefined);
});

test('no document made of an object has one', () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 4 }), (text) => findDuplicateKey(text) === undefined),
    { seed: 3, numRuns: 300 },
  );
});

test('documents of any size and depth', () => {
  const deep = '['.repeat(200_000) + ']'.repeat(200_000);
  const long = `{"${'a\\n'.repeat(5_000_000)}":1,"b":2,"b":3}`;
  assert.equal(findDuplicateKey(deep), undefined);
  assert.equal(findDuplicateKey(long), 'b');
  assert.equal(describeValue(JSON.parse(deep)), 'something nested too deeply');
});

test('values are described in at most 60 characters', () => {
  assert.equal(describeValue(undefined), 'nothing');
  assert.equal(describeValue(Number.NaN), 'NaN');
  assert.equal(describeValue('a\nb'), '"a\\nb"');
  assert.ok(describeValue('x'.repeat(1000)).length <= 60);
});
