/**
 * A tokenizer as metadata of a GGUF file: tokens, merges and special ids under the keys that llama.cpp reads.
 *
 * llama.cpp has its own code for each way of cutting text into words and finds it by name (`tokenizer.ggml.pre`).
 * It does not normalise text: where a tokenizer does (GPT-NeoX: to NFC), text has to come normalised.
 * Source: docs/gguf.md of ggml-org/ggml @ d99724f, section Tokenizer; src/llama-vocab.cpp of ggml-org/llama.cpp @ 00ad355.
 */
import { FileFormatError } from '../core/index.ts';
import { readChatTemplate } from './chat-template.ts';
import { type FileSystem, joinPath } from './files.ts';
import type { GgufMetadata, GgufValue } from './gguf-writer.ts';
import { describe, isRecord, parseJsonObject } from './json.ts';
import { loadTokenizer, TOKENIZER_FILE, type Tokenizer } from './tokenizer.ts';

type Json = Record<string, unknown>;

/** Kinds of tokens, as numbers in `tokenizer.ggml.token_type`. */
const TOKEN = { normal: 1, control: 3, userDefined: 4, unused: 5 } as const;

/** Special ids of a model's configuration, for what the tokenizer's files leave open. */
export interface SpecialIds {
  readonly bos: number | null;
  readonly eos: number | null;
  readonly pad: number | null;
}

export interface GgufVocabulary {
  readonly metadata: GgufMetadata;
  /** Whether text can be cut into tokens; otherwise the file takes ids alone. */
  readonly hasText: boolean;
  /** One line for each thing that llama.cpp will do otherwise than the tokenizer. */
  readonly warnings: readonly string[];
}

/**
 * Patterns that cut as GPT-2 does, or finer in a way that its pattern gives the same tokens: merges were learned inside
 * the finer pieces, so none joins two of them.
 */
const GPT2_PATTERNS: readonly string[] = [
  String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
  String.raw`'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
  String.raw`'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`, // Krait's own: digits one by one
];

const partsOf = (step: unknown): Json[] => {
  if (!isRecord(step)) return [];
  return step.type === 'Sequence' && Array.isArray(step.pretokenizers) ? step.pretokenizers.flatMap(partsOf) : [step];
};

const patternOf = ({ pattern }: Json): unknown => (isRecord(pattern) ? (pattern.Regex ?? pattern.String) : undefined);

/** Name of the code in llama.cpp that cuts text as `tokenizer.json` says; undefined if there is none that Krait knows. */
function preTokenizerName(json: Json): string | undefined {
  const parts = partsOf(json.pre_tokenizer);
  const kinds = parts.map((part) => part.type).join(' ');
  const byteLevel = parts.find((part) => part.type === 'ByteLevel');
  const model = json.model as Json;
  if (!byteLevel || byteLevel.add_prefix_space === true || model.ignore_merges === true) return undefined;
  const cutsItself = byteLevel.use_regex !== false;
  if (kinds === 'ByteLevel' && cutsItself) return 'gpt-2';
  if (kinds === 'Split ByteLevel' && !cutsItself) {
    const { behavior, invert } = parts[0];
    const isGpt2 = GPT2_PATTERNS.includes(String(patternOf(parts[0]))) && behavior === 'Isolated' && invert !== true;
    return isGpt2 ? 'gpt-2' : undefined;
  }
  // Falcon: runs of punctuation, GPT-2's words, runs of digits in threes.
  const isFalcon = kinds === 'Punctuation ByteLevel Digits Split' && patternOf(parts[3]) === '[0-9][0-9][0-9]';
  return isFalcon && cutsItself ? 'falcon' : undefined;
}

/** Whether it is a byte-level byte-pair encoding, which llama.cpp calls `gpt2`. */
function isByteLevelBpe(json: Json): boolean {
  const model = json.model as Json;
  const isBpe = model.type === 'BPE' || (model.type === undefined && Array.isArray(model.merges));
  return isBpe && isRecord(model.vocab) && partsOf(json.pre_tokenizer).some((part) => part.type === 'ByteLevel');
}

/** `<|...|>` is taken for a control token even where the file does not call it special. */
const looksSpecial = (text: string): boolean => text.startsWith('<|') && text.endsWith('|>');

interface TokenTable {
  readonly tokens: string[];
  readonly types: number[];
}

/** Every row of the model's embedding with its token; without a vocabulary all are unused. */
function tokenTable(path: string, json: Json, size: number): TokenTable {
  const tokens = new Array<string>(size);
  const types = new Array<number>(size).fill(TOKEN.unused);
  const put = (id: unknown, text: string, type: number) => {
    if (typeof id !== 'number' || !(Number.isInteger(id) && id >= 0 && id < size)) {
      const problem = `token ${describe(text)} has id ${describe(id)}, the model has ${size} rows`;
      throw new FileFormatError(path, problem, 'use the tokenizer that belongs to the model');
    }
    tokens[id] = text;
    types[id] = type;
  };
  const vocab = isRecord(json.model) ? (json.model.vocab as Json) : {};
  for (const [text, id] of Object.entries(vocab)) put(id, text, TOKEN.normal);
  for (const added of Array.isArray(json.added_tokens) ? json.added_tokens : []) {
    if (!isRecord(added) || typeof added.content !== 'string') continue;
    const isControl = added.special === true || looksSpecial(added.content);
    put(added.id, added.content, isControl ? TOKEN.control : TOKEN.userDefined);
  }
  const known = new Set(tokens);
  for (let id = 0; id < size; id++) {
    if (tokens[id] !== undefined) continue;
    // A row that the model has beyond its tokenizer.
    tokens[id] = `[PAD${id}]`;
    while (known.has(tokens[id])) tokens[id] = `[${tokens[id]}]`; // readers refuse two tokens of one name
  }
  return { tokens, types };
}

/** Merges as `left right`; a blank inside of one is spelt as byte-level vocabularies spell it. */
function mergesOf(path: string, json: Json): string[] {
  const { merges } = json.model as Json;
  const items = Array.isArray(merges) ? merges : [];
  return items.map((merge, i) => {
    if (typeof merge === 'string') return merge;
    const isPair = Array.isArray(merge) && merge.length === 2 && merge.every((part) => typeof part === 'string');
    if (isPair) return merge.map((part: string) => part.replaceAll(' ', '\u0120')).join(' ');
    throw new FileFormatError(path, `merge ${i} is ${describe(merge)}, not two tokens`, 'fetch the tokenizer again');
  });
}

/** Tokens that the tokenizer puts around a text, found by encoding one. */
function surroundings(tokenizer: Tokenizer): { before: number[]; after: number[] } {
  const bare = tokenizer.encode('a', { addSpecialTokens: false });
  const full = tokenizer.encode('a');
  const at = full.findIndex((_, i) => bare.every((id, j) => full[i + j] === id));
  return at < 0 ? { before: [], after: [] } : { before: full.slice(0, at), after: full.slice(at + bare.length) };
}

function idEntries(ids: SpecialIds & { readonly unknown: number | null }): [string, GgufValue][] {
  const named = { bos: ids.bos, eos: ids.eos, unknown: ids.unknown, padding: ids.pad };
  return Object.entries(named).flatMap(([name, id]) =>
    id === null ? [] : [[`tokenizer.ggml.${name}_token_id`, { type: 'u32', value: id }]],
  );
}

const eosWarning = (path: string, { eos }: SpecialIds): string[] =>
  eos === null ? [`${path}: no end-of-text token is named; llama.cpp takes token 11 for it`] : [];

function specialEntries(tokenizer: Tokenizer, fallback: SpecialIds, warnings: string[]): [string, GgufValue][] {
  const ids = {
    bos: tokenizer.bosId ?? fallback.bos,
    eos: tokenizer.eosId ?? fallback.eos,
    pad: tokenizer.padId ?? fallback.pad,
    unknown: tokenizer.unkId,
  };
  warnings.push(...eosWarning(tokenizer.path, ids));
  const entries = idEntries(ids);
  const { before, after } = surroundings(tokenizer);
  for (const [name, added, own] of [
    ['bos', before, ids.bos],
    ['eos', after, ids.eos],
  ] as const) {
    const isOwn = added.length === 1 && added[0] === own;
    entries.push([`tokenizer.ggml.add_${name}_token`, { type: 'bool', value: isOwn }]);
    if (added.length === 0 || isOwn) continue;
    warnings.push(`${tokenizer.path}: texts get tokens ${added.join(' ')} around them, in llama.cpp they do not`);
  }
  return entries;
}

/** Normalisers that llama.cpp omits. NFC is not listed, because most text is in NFC. */
function normalizerWarning(path: string, { normalizer }: Json): string[] {
  const steps = isRecord(normalizer) && Array.isArray(normalizer.normalizers) ? normalizer.normalizers : [normalizer];
  const kinds = steps.filter(isRecord).map((step) => String(step.type));
  const others = kinds.filter((kind) => kind !== 'NFC');
  return others.length ? [`${path}: llama.cpp does not normalise text (${others.join(', ')})`] : [];
}

/** Tokens and how text becomes them. */
function tokenEntries(pre: string, { tokens, types }: TokenTable, merges: readonly string[]): [string, GgufValue][] {
  return [
    ['tokenizer.ggml.model', { type: 'string', value: 'gpt2' }],
    ['tokenizer.ggml.pre', { type: 'string', value: pre }],
    ['tokenizer.ggml.tokens', { type: 'array', of: 'string', value: tokens }],
    ['tokenizer.ggml.token_type', { type: 'array', of: 'i32', value: types }],
    ['tokenizer.ggml.merges', { type: 'array', of: 'string', value: merges }],
  ];
}

/**
 * A vocabulary that no text is made of: ids in, ids out. llama.cpp has a kind of its own for that, `no_vocab`, which
 * node-llama-cpp dies of.
 */
function idsAlone(path: string, problem: string, size: number, special: SpecialIds): GgufVocabulary {
  const table = tokenTable(path, {}, size);
  const metadata = new Map([...tokenEntries('gpt-2', table, []), ...idEntries({ ...special, unknown: null })]);
  const warning = `${path}: ${problem}; the file takes token ids, not text`;
  return { metadata, hasText: false, warnings: [warning, ...eosWarning(path, special)] };
}

/**
 * The tokenizer of a model folder as metadata.
 * @param size rows of the model's embedding; those beyond the tokenizer become unused tokens
 * @param fallback special ids for what the tokenizer's files leave open
 * @throws FileFormatError if it has more tokens than the model has rows, or is broken
 */
export async function ggufVocabulary(
  files: FileSystem,
  folder: string,
  size: number,
  fallback: SpecialIds,
): Promise<GgufVocabulary> {
  const path = joinPath(folder, TOKENIZER_FILE);
  if (!(await files.exists(path))) return idsAlone(path, 'there is none', size, fallback);
  const tokenizer = await loadTokenizer(files, folder);
  const json = parseJsonObject(path, await files.readText(path));
  if (!isByteLevelBpe(json)) return idsAlone(path, 'not a byte-level BPE', size, fallback);
  const pre = preTokenizerName(json);
  const warnings = normalizerWarning(path, json);
  if (!pre) warnings.push(`${path}: its way of cutting words has no known name in llama.cpp, which may cut otherwise`);
  const metadata = new Map([
    ...tokenEntries(pre ?? 'default', tokenTable(path, json, size), mergesOf(path, json)),
    ...specialEntries(tokenizer, fallback, warnings),
  ]);
  const template = await chatTemplate(files, folder);
  if (template) metadata.set('tokenizer.chat_template', { type: 'string', value: template });
  return { metadata, hasText: true, warnings };
}

async function chatTemplate(files: FileSystem, folder: string): Promise<string | undefined> {
  const path = joinPath(folder, 'tokenizer_config.json');
  const config = (await files.exists(path)) ? parseJsonObject(path, await files.readText(path)) : {};
  return (await readChatTemplate(files, folder, config))?.source;
}
