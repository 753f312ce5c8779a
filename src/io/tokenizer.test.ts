import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { EnvironmentError, FileFormatError, UsageError } from '../core/index.ts';
import { BlobFileSystem } from '../platform/browser/index.ts';
import { NodeFileSystem } from '../platform/node/index.ts';
import { END_ID, FIRST_BYTE_ID, PAD_ID, tinyTokenizer } from './testing/tiny-tokenizer.ts';
import { loadTokenizer, type Tokenizer } from './tokenizer.ts';

const load = (files: Record<string, string>) =>
  loadTokenizer(new BlobFileSystem(Object.entries(files).map(([name, text]) => [`m/${name}`, text] as const)), 'm');
const tiny = (config: unknown = {}, changes = {}) =>
  load({ 'tokenizer.json': tinyTokenizer(changes), 'tokenizer_config.json': JSON.stringify(config) });

/** Texts with what breaks tokenizers: characters of 2 to 4 bytes, joined emoji, code, controls, spacing. */
const TEXTS = [
  'Hello world',
  ' leading and trailing ',
  'def f(x):\n    return {"a": [x ** 2, -1.5e-3]}  # ok\n\n\n',
  'naïve café — “quotes” … ½ € 漢字 かな Ελληνικά עברית العربية हिन्दी',
  '😀👩‍👩‍👧‍👦🏳️‍🌈 🇩🇪',
  '\t\r\n\u00a0\u2028\u0000\u001f',
  "don't you'll we've , . ! a . b , c",
  '<|endoftext|> as text',
  'a'.repeat(300),
];

/** What the incremental decoder gives, piece by piece. */
function stream(tokenizer: Tokenizer, ids: readonly number[], options?: { skipSpecialTokens?: boolean }): string[] {
  const decoder = tokenizer.decodeStream(options);
  return [...ids.map((id) => decoder.push(id)), decoder.flush()];
}

describe('a small tokenizer', () => {
  test('merges, bytes, special tokens', async () => {
    const tokenizer = await tiny({ eos_token: '<|end|>', pad_token: { content: '<|pad|>' }, bos_token: null });
    const hello = tokenizer.idOf('hello')!;
    const w = tokenizer.idOf('Ġw')!;
    const byte = (text: string) => FIRST_BYTE_ID + text.charCodeAt(0);
    assert.deepEqual(tokenizer.encode('hello wo'), [hello, w, byte('o')]);
    assert.deepEqual(tokenizer.encode('hello<|end|>h'), [hello, END_ID, byte('h')]);
    assert.deepEqual(tokenizer.encode('é'), [FIRST_BYTE_ID + 0xc3, FIRST_BYTE_ID + 0xa9]);
    assert.deepEqual(tokenizer.encode(''), []);
    assert.deepEqual(
      [tokenizer.eosId, tokenizer.padId, tokenizer.bosId, tokenizer.unkId],
      [END_ID, PAD_ID, null, null],
    );
    assert.equal(tokenizer.vocabSize, 2 + 256 + 5);
    assert.equal(tokenizer.tokenOf(w), 'Ġw');
    assert.equal(tokenizer.idOf('nothing of this kind'), undefined);
    assert.equal(tokenizer.path, 'm/tokenizer.json');
  });

  test('decoding: special tokens left out or not, ids beyond the vocabulary are nothing', async () => {
    const tokenizer = await tiny();
    const ids = [...tokenizer.encode('hello'), END_ID, ...tokenizer.encode(' w')];
    assert.equal(tokenizer.decode(ids), 'hello w');
    assert.equal(tokenizer.decode(ids, { skipSpecialTokens: false }), 'hello<|end|> w');
    assert.equal(tokenizer.decode(Int32Array.from(ids)), 'hello w');
    assert.equal(tokenizer.decode([]), '');
    assert.equal(tokenizer.decode([END_ID, 999]), '');
    assert.equal(tokenizer.decode([999, ...tokenizer.encode('a')]), 'a');
  });

  test('any text comes back, whole and streamed', async () => {
    const tokenizer = await tiny();
    const texts = fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme' }), fc.constantFrom(...TEXTS));
    fc.assert(
      fc.property(texts, (text) => {
        const ids = tokenizer.encode(text);
        assert.equal(tokenizer.decode(ids), text);
        assert.equal(stream(tokenizer, ids).join(''), text);
      }),
      { numRuns: 100, seed: 1 },
    );
  });

  test('special ids from special_tokens_map.json, which tokenizer_config.json overrides', async () => {
    const files = {
      'tokenizer.json': tinyTokenizer(),
      'special_tokens_map.json': '{"eos_token":"<|pad|>","bos_token":"<|pad|>"}',
    };
    assert.equal((await load(files)).eosId, PAD_ID);
    const both = await load({ ...files, 'tokenizer_config.json': '{"eos_token":"<|end|>"}' });
    assert.deepEqual([both.eosId, both.bosId], [END_ID, PAD_ID]);
  });

  test('what the post-processor adds can be left out', async () => {
    const post_processor = {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<|end|>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [],
      special_tokens: { '<|end|>': { id: '<|end|>', ids: [END_ID], tokens: ['<|end|>'] } },
    };
    const tokenizer = await tiny({}, { post_processor });
    assert.equal(tokenizer.encode('hello')[0], END_ID);
    assert.equal(tokenizer.encode('hello', { addSpecialTokens: false }).length, 1);
  });
});

describe('streamed decoding', () => {
  const bytes = (...values: number[]) => values.map((value) => FIRST_BYTE_ID + value);

  test('never gives out half a character', async () => {
    const tokenizer = await tiny();
    const pieces = stream(tokenizer, bytes(0x61, 0xf0, 0x9f, 0x98, 0x80, 0x62));
    assert.deepEqual(pieces, ['a', '', '', '', '😀', 'b', '']);
    assert.deepEqual(stream(tokenizer, bytes(0xe2, 0x82)), ['', '', '\uFFFD']);
  });

  test('any bytes: as decoded whole, and a character is given once it is complete', async () => {
    const tokenizer = await tiny();
    const id = fc.oneof(
      fc.constantFrom(...bytes(0xf0, 0x9f, 0x98, 0x80, 0xe2, 0x82, 0xac, 0xc3, 0xa9, 0x61, 0x20, 0xff)),
      fc.nat(tokenizer.vocabSize + 2),
    );
    fc.assert(
      fc.property(fc.array(id, { maxLength: 60 }), fc.boolean(), (ids, skipSpecialTokens) => {
        const pieces = stream(tokenizer, ids, { skipSpecialTokens });
        assert.equal(pieces.join(''), tokenizer.decode(ids, { skipSpecialTokens }));
      }),
      { numRuns: 500, seed: 2 },
    );
  });

  test('damage without end is given out as it comes, and a character after it is whole', async () => {
    const tokenizer = await tiny();
    const ids = [...bytes(...new Array(500).fill(0xbf)), ...bytes(0xe2, 0x82, 0xac)];
    const pieces = stream(tokenizer, ids);
    assert.equal(pieces.join(''), tokenizer.decode(ids));
    assert.ok(pieces.slice(0, 100).join('').length > 80);
    assert.match(pieces.at(-2)!, /^\uFFFD{1,4}€$/);
  });

  test('spacing of decoders that treat the first token apart', async () => {
    const vocab = { '▁a': 0, '▁b': 1, c: 2, '▁': 3, '<s>': 4 };
    const tokenizer = await load({
      'tokenizer.json': JSON.stringify({
        added_tokens: [{ id: 4, content: '<s>', special: true }],
        normalizer: null,
        pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always' },
        post_processor: null,
        decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always' },
        model: { type: 'BPE', vocab, merges: [] },
      }),
    });
    for (const ids of [
      [0, 1, 2, 1],
      [4, 0, 4, 4, 1],
      [3, 0, 3, 3, 1],
      [4, 4, 2, 0],
    ]) {
      assert.equal(stream(tokenizer, ids).join(''), tokenizer.decode(ids), String(ids));
    }
    assert.equal(tokenizer.decode([0, 1, 2]), 'a bc');
  });
});

describe('chat templates', () => {
  const template =
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m['content'] | trim }}{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}[assistant]{{ extra }}{% endif %}";
  const messages = [
    { role: 'user', content: ' hi ' },
    { role: 'assistant', content: 'yes' },
  ] as const;

  test('from tokenizer_config.json, from a list, from chat_template.jinja', async () => {
    const config = { eos_token: '<|end|>', chat_template: template };
    const expected = '[user] hi<|end|>\n[assistant] yes<|end|>\n';
    assert.equal((await tiny(config)).chatTemplate(messages), expected);
    const options = { addGenerationPrompt: true, variables: { extra: '!' } };
    assert.equal((await tiny(config)).chatTemplate(messages, options), `${expected}[assistant]!`);
    const chat_template = [
      { name: 'tool_use', template: 'x' },
      { name: 'default', template },
    ];
    assert.equal((await tiny({ ...config, chat_template })).chatTemplate(messages), expected);
    const files = { 'tokenizer.json': tinyTokenizer(), 'chat_template.jinja': 'own {{ messages|length }}' };
    const own = await load({ ...files, 'tokenizer_config.json': JSON.stringify(config) });
    assert.equal(own.chatTemplate(messages), 'own 2');
    assert.equal(own.hasChatTemplate, true);
  });

  test('none, broken, or complaining: one line that says so', async () => {
    const none = await tiny();
    assert.equal(none.hasChatTemplate, false);
    assert.throws(
      () => none.chatTemplate(messages),
      (error: Error) => {
        assert.ok(error instanceof UsageError);
        assert.match(error.message, /m\/tokenizer\.json: the tokenizer has no chat template; use plain text/);
        return true;
      },
    );
    await assert.rejects(
      tiny({ chat_template: '{% for %}' }),
      /m\/tokenizer_config\.json: chat_template is not valid Jinja: /,
    );
    await assert.rejects(tiny({ chat_template: 5 }), /chat_template must be text, got 5/);
    const strict = await tiny({ chat_template: "{{ raise_exception('roles must alternate') }}" });
    assert.throws(
      () => strict.chatTemplate(messages),
      /tokenizer_config\.json: chat_template: roles must alternate; change/,
    );
  });
});

describe('files that are no tokenizer', () => {
  test('are named, with the way out', async () => {
    await assert.rejects(load({ 'config.json': '{}' }), (error: Error) => {
      assert.ok(error instanceof EnvironmentError);
      assert.match(
        error.message,
        /^m\/tokenizer\.json: no tokenizer in the model's folder; put the tokenizer\.json of its family there/,
      );
      return true;
    });
    const model = JSON.parse(tinyTokenizer()).model;
    const cases: [string, RegExp][] = [
      ['{', /m\/tokenizer\.json: not valid JSON/],
      ['[]', /expected a JSON object/],
      ['{}', /not a tokenizer: model\.vocab is nothing/],
      ['{"model":{"type":"BPE"}}', /not a tokenizer: model\.vocab is nothing/],
      [JSON.stringify({ model: { ...model, merges: 3 } }), /not a tokenizer that can be used: /],
      [tinyTokenizer({ pre_tokenizer: { type: 'Telepathy' } }), /not a tokenizer that can be used: .*Telepathy/],
      [tinyTokenizer({ added_tokens: 7 }), /not a tokenizer that can be used: /],
    ];
    for (const [text, expected] of cases) {
      await assert.rejects(load({ 'tokenizer.json': text }), (error: Error) => {
        assert.ok(error instanceof FileFormatError, String(error.stack));
        assert.match(error.message, expected);
        assert.ok(!error.message.includes('\n'));
        return true;
      });
    }
  });

  test('a word without a token where the unknown token has none either', async () => {
    const model = { type: 'WordPiece', vocab: { a: 0 }, unk_token: '[UNK]', continuing_subword_prefix: '##' };
    const tokenizer = await load({ 'tokenizer.json': tinyTokenizer({ model, added_tokens: [] }) });
    assert.deepEqual(tokenizer.encode('a'), [0]);
    assert.throws(
      () => tokenizer.encode('b'),
      /m\/tokenizer\.json: no token for "\[UNK\]" and no unknown token; use a/,
    );
  });
});

const SHARED = process.env.KRAIT_SHARED_DATA ?? fileURLToPath(new URL('../../../shared/data', import.meta.url));
const NEOX = join(SHARED, 'tokenizers/gpt-neox-20b');
const isThere = existsSync(join(NEOX, 'tokenizer.json'));

describe('the tokenizer of Mamba and Pythia', { skip: !isThere && `no ${NEOX}: set KRAIT_SHARED_DATA` }, () => {
  test('known ids', async () => {
    const tokenizer = await loadTokenizer(new NodeFileSystem(), NEOX);
    assert.deepEqual(tokenizer.encode('Hello, I am'), [12092, 13, 309, 717]);
    assert.deepEqual(tokenizer.encode('<|endoftext|>'), [0]);
    assert.equal(tokenizer.vocabSize, 50277);
    assert.equal(tokenizer.decode([50279]), '');
  });

  test('texts come back, whole and streamed, in the normal form that it prescribes', async () => {
    const tokenizer = await loadTokenizer(new NodeFileSystem(), NEOX);
    const prose = readFileSync(join(SHARED, 'text/tinyshakespeare.txt'), 'utf8').slice(0, 50_000);
    const code = readFileSync(fileURLToPath(import.meta.url), 'utf8');
    for (const text of [...TEXTS, prose, code]) {
      const ids = tokenizer.encode(text);
      assert.equal(tokenizer.decode(ids, { skipSpecialTokens: false }), text.normalize('NFC'));
      assert.equal(stream(tokenizer, ids, { skipSpecialTokens: false }).join(''), text.normalize('NFC'));
      assert.ok(ids.every((id) => id < tokenizer.vocabSize));
    }
    assert.equal(tokenizer.decode(tokenizer.encode('e\u0301')), 'é');
  });
});
