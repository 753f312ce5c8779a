import assert from 'node:assert/strict';
import { it } from 'node:test';
import { parseCsv } from './csv.ts';

const fields = (text: string, delimiter?: string) => parseCsv(text, 'a.csv', delimiter).map((record) => record.fields);

it('CSV: quotes, commas and line ends inside of them, both kinds of line end, empty fields', () => {
  const text = 'a,"b, ""c""\nd",e\r\n,x y,\r\n\n"",",",z\n"last"';
  assert.deepEqual(fields(text), [['a', 'b, "c"\nd', 'e'], ['', 'x y', ''], ['', ',', 'z'], ['last']]);
  assert.deepEqual(
    parseCsv(text, 'a.csv').map(({ line }) => line),
    [1, 3, 5, 6],
  );
  assert.deepEqual(fields('a;"b";c', ';'), [['a', 'b', 'c']]);
  assert.deepEqual(fields('"a"\r\nb 5" c\r\n'), [['a'], ['b 5" c']]);
  assert.deepEqual(fields(''), []);
});

it('CSV: a quote without an end, or with text after it, names its line', () => {
  assert.throws(() => fields('a,b\n"c\n'), /a\.csv:2: a quoted field has no end/);
  assert.throws(() => fields('a\n\n"b"c'), /a\.csv:3: text goes on after a closing quote/);
});
