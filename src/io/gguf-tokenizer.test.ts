import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BlobFileSystem } from '../platform/browser/index.ts';
import { type GgufVocabulary, ggufVocabulary } from './gguf-tokenizer.ts';
import { END_ID, FIRST_BYTE_ID, PAD_ID, tinyTokenizer } from './testing/tiny-tokenizer.ts';

const NO_IDS = { bos: null, eos: null, pad: null };
const VOCAB = 2 + 256 + 5;
const CONFIG = { bos_token: '<|end|>', eos_token: '<|end|>', pad_token: { content: '<|pad|>' } };

async function vocabulary(
  changes: Record<string, unknown> = {},
  { config = CONFIG as object, size = VOCAB, ids = NO_IDS as Parameters<typeof ggufVocabulary>[3] } = {},
): Promise<GgufVocabulary> {
  const files = new BlobFileSystem();
  await files.writeAtomic('m/tokenizer.json', tinyTokenizer(changes));
  await files.writeAtomic('m/tokenizer_config.json', JSON.stringify(config));
  return ggufVocabulary(files, 'm', size, ids);
}

const get = ({ metadata }: GgufVocabulary, key: string): unknown => metadata.get(`tokenizer.ggml.${key}`)?.value;
const model = (changes: object) => ({ model: { ...JSON.parse(tinyTokenizer()).model, ...changes } });
const split = (Regex: string) => ({
  type: 'Sequence',
  pretokenizers: [
    { type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false },
    { type: 'ByteLevel', add_prefix_space: false, use_regex: false },
  ],
});

describe('a tokenizer as metadata', () => {
  test('tokens, their kinds, merges, special ids', async () => {
    const found = await vocabulary({}, { size: VOCAB + 2 });
    const tokens = get(found, 'tokens') as string[];
    const types = get(found, 'token_type') as number[];
    assert.equal(get(found, 'model'), 'gpt2');
    assert.deepEqual([tokens[END_ID], tokens[PAD_ID]], ['<|end|>', '<|pad|>']);
    assert.equal(tokens[FIRST_BYTE_ID + 97], 'a');
    assert.equal(tokens[FIRST_BYTE_ID + 32], 'Ġ');
    assert.deepEqual(tokens.slice(VOCAB), [`[PAD${VOCAB}]`, `[PAD${VOCAB + 1}]`]); // rows without a token
    assert.deepEqual(types, [3, 3, ...new Array(VOCAB - 2).fill(1), 5, 5]);
    assert.deepEqual(get(found, 'merges'), ['h e', 'l l', 'he ll', 'hell o', 'Ġ w']);
    assert.deepEqual(
      ['bos_token_id', 'eos_token_id', 'padding_token_id', 'unknown_token_id'].map((key) => get(found, key)),
      [END_ID, END_ID, PAD_ID, undefined],
    );
    assert.deepEqual([get(found, 'add_bos_token'), get(found, 'add_eos_token')], [false, false]);
    assert.deepEqual([found.hasText, found.warnings], [true, []]);
  });

  test('no two tokens have one name', async () => {
    const vocab = { ...JSON.parse(tinyTokenizer()).model.vocab, [`[PAD${VOCAB + 1}]`]: VOCAB };
    const tokens = get(await vocabulary(model({ vocab }), { size: VOCAB + 3 }), 'tokens') as string[];
    assert.equal(new Set(tokens).size, tokens.length);
    assert.equal(tokens[VOCAB], `[PAD${VOCAB + 1}]`);
  });

  test('added tokens that are not special, and those that look it', async () => {
    const added = (id: number, content: string, special: boolean) => ({ id, content, special, normalized: true });
    const added_tokens = [added(0, '<|end|>', true), added(VOCAB, '    ', false), added(VOCAB + 1, '<|x|>', false)];
    const found = await vocabulary({ added_tokens }, { size: VOCAB + 2 });
    assert.deepEqual((get(found, 'tokens') as string[]).slice(VOCAB), ['    ', '<|x|>']);
    assert.deepEqual((get(found, 'token_type') as number[]).slice(VOCAB), [4, 3]);
  });

  test('merges as pairs, blanks in them spelt', async () => {
    const found = await vocabulary(
      model({
        merges: [
          ['h', 'e'],
          ['a b', 'c'],
        ],
      }),
    );
    assert.deepEqual(get(found, 'merges'), ['h e', 'aĠb c']);
    await assert.rejects(
      vocabulary(model({ merges: [['h', 'e'], 7] })),
      /merge 1 is 7, not two tokens|not a tokenizer/,
    );
  });

  test('the name of the way of cutting words', async () => {
    const byteLevel = { type: 'ByteLevel', add_prefix_space: false };
    const own = String.raw`'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
    const falcon = [
      { type: 'Punctuation', behavior: 'Contiguous' },
      byteLevel,
      { type: 'Digits', individual_digits: false },
      { type: 'Split', pattern: { Regex: '[0-9][0-9][0-9]' }, behavior: 'Isolated', invert: false },
    ];
    const cases: [unknown, string][] = [
      [byteLevel, 'gpt-2'],
      [{ type: 'Sequence', pretokenizers: [byteLevel] }, 'gpt-2'],
      [split(own), 'gpt-2'],
      [split(String.raw`\p{L}+|\s+`), 'default'],
      [{ type: 'Sequence', pretokenizers: falcon }, 'falcon'],
      [{ ...byteLevel, add_prefix_space: true }, 'default'],
    ];
    for (const [pre_tokenizer, name] of cases) {
      const found = await vocabulary({ pre_tokenizer });
      assert.equal(get(found, 'pre'), name, JSON.stringify(pre_tokenizer));
      assert.equal(found.warnings.length, name === 'default' ? 1 : 0);
    }
    assert.equal(get(await vocabulary(model({ ignore_merges: true })), 'pre'), 'default');
  });

  test('what it puts around a text, found by asking it', async () => {
    const template = (...single: object[]) => ({
      post_processor: {
        type: 'TemplateProcessing',
        single,
        pair: [],
        special_tokens: {
          '<|end|>': { id: '<|end|>', ids: [END_ID], tokens: ['<|end|>'] },
          '<|pad|>': { id: '<|pad|>', ids: [PAD_ID], tokens: ['<|pad|>'] },
        },
      },
    });
    const special = (id: string) => ({ SpecialToken: { id, type_id: 0 } });
    const text = { Sequence: { id: 'A', type_id: 0 } };
    const flags = (found: GgufVocabulary) => [get(found, 'add_bos_token'), get(found, 'add_eos_token')];
    assert.deepEqual(flags(await vocabulary(template(special('<|end|>'), text))), [true, false]);
    assert.deepEqual(flags(await vocabulary(template(text, special('<|end|>')))), [false, true]);
    const foreign = await vocabulary(template(text, special('<|pad|>')));
    assert.deepEqual(flags(foreign), [false, false]);
    assert.match(foreign.warnings[0], /texts get tokens 1 around them, in llama\.cpp they do not/);
  });

  test('the configuration fills in what the tokenizer leaves open', async () => {
    const found = await vocabulary({}, { config: {}, ids: { bos: 3, eos: 4, pad: null } });
    assert.deepEqual([get(found, 'bos_token_id'), get(found, 'eos_token_id')], [3, 4]);
    const open = await vocabulary({}, { config: {} });
    assert.equal(get(open, 'eos_token_id'), undefined);
    assert.match(open.warnings[0], /no end-of-text token is named/);
  });

  test('chat template, and what normalises text', async () => {
    const chat_template = '{% for m in messages %}{{ m.content }}{% endfor %}';
    const found = await vocabulary({}, { config: { ...CONFIG, chat_template } });
    assert.equal(found.metadata.get('tokenizer.chat_template')?.value, chat_template);
    assert.deepEqual((await vocabulary({ normalizer: { type: 'NFC' } })).warnings, []);
    const normalizer = { type: 'Sequence', normalizers: [{ type: 'NFC' }, { type: 'Lowercase' }] };
    assert.match((await vocabulary({ normalizer })).warnings[0], /does not normalise text \(Lowercase\)/);
  });

  test('without a tokenizer, or with one of another kind, ids alone', async () => {
    const nothing = await ggufVocabulary(new BlobFileSystem(), 'm', 4, { bos: null, eos: 2, pad: null });
    assert.deepEqual(get(nothing, 'tokens'), ['[PAD0]', '[PAD1]', '[PAD2]', '[PAD3]']);
    assert.deepEqual([get(nothing, 'token_type'), get(nothing, 'merges')], [[5, 5, 5, 5], []]);
    assert.equal(get(nothing, 'eos_token_id'), 2);
    assert.equal(nothing.hasText, false);
    assert.match(nothing.warnings[0], /m\/tokenizer\.json: there is none; the file takes token ids, not text/);
    const metaspace = await vocabulary({ pre_tokenizer: { type: 'Metaspace', replacement: '_' } });
    assert.equal(metaspace.hasText, false);
    assert.match(metaspace.warnings[0], /not a byte-level BPE/);
  });

  test('more tokens than the model has rows are refused', async () => {
    await assert.rejects(
      vocabulary({}, { size: VOCAB - 1 }),
      /m\/tokenizer\.json: token "Ġw" has id 262, the model has 262 rows/,
    );
  });
});
