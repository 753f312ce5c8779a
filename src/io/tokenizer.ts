/**
 * Text to token ids and back, from `tokenizer.json` (+ `tokenizer_config.json`, `special_tokens_map.json`,
 * `chat_template.jinja`) of a model folder. The algorithms are those of @huggingface/tokenizers; here are the files,
 * the special ids, decoding piece by piece, and errors.
 */
import { Tokenizer as Engine } from '@huggingface/tokenizers';
import { EnvironmentError, FileFormatError, UsageError } from '../core/index.ts';
import { type ChatTemplate, type ChatTemplateOptions, readChatTemplate } from './chat-template.ts';
import { DecodeStream } from './decode-stream.ts';
import { type FileSystem, joinPath } from './files.ts';
import { describe, isRecord, oneLine, parseJsonObject } from './json.ts';
import type { Message } from './records.ts';

export const TOKENIZER_FILE = 'tokenizer.json';
const CONFIG_FILE = 'tokenizer_config.json';
const SPECIAL_TOKENS_FILE = 'special_tokens_map.json';
/** All that decides how a text is encoded; a chat template may stand in a file of its own. */
export const TOKENIZER_FILES: readonly string[] = [TOKENIZER_FILE, CONFIG_FILE, SPECIAL_TOKENS_FILE];

export interface EncodeOptions {
  /** Whether to add what the tokenizer puts around a text (`<bos>` and such); true by default. */
  addSpecialTokens?: boolean;
}

export interface DecodeOptions {
  /** Whether to leave out special tokens; true by default. */
  skipSpecialTokens?: boolean;
}

export interface Tokenizer {
  /** The file it was read from. */
  readonly path: string;
  /** One more than the greatest id: a model needs at least as many rows. */
  readonly vocabSize: number;
  /** Ids that the tokenizer's files name; null where they name none. */
  readonly bosId: number | null;
  readonly eosId: number | null;
  readonly padId: number | null;
  readonly unkId: number | null;
  readonly hasChatTemplate: boolean;
  encode(text: string, options?: EncodeOptions): number[];
  /** Ids that are not in the vocabulary (rows that a model pads its table with) stand for nothing. */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string;
  /** Decodes ids as they come; what it returns, joined, is the `decode` of all of them. */
  decodeStream(options?: DecodeOptions): DecodeStream;
  /** The token of an id as the vocabulary spells it. */
  tokenOf(id: number): string | undefined;
  idOf(token: string): number | undefined;
  /** A conversation as the text that the model was trained on. Throws UsageError if there is no template. */
  chatTemplate(messages: readonly Message[], options?: ChatTemplateOptions): string;
}

type Json = Record<string, unknown>;

/**
 * A cache of words in two generations: least recently used words go, and looking one up costs nothing but looking it
 * up. (The engine's own cache moves a word to the end of a Map on each use, which takes more than half of its time.)
 */
class WordCache {
  private young = new Map<string, string[]>();
  private old = new Map<string, string[]>();

  constructor(private readonly generation: number) {}

  get(word: string): string[] | undefined {
    const found = this.young.get(word);
    if (found) return found;
    const aged = this.old.get(word);
    if (aged) this.put(word, aged);
    return aged;
  }

  put(word: string, tokens: string[]): void {
    if (this.young.size >= this.generation) {
      this.old = this.young;
      this.young = new Map();
    }
    this.young.set(word, tokens);
  }

  clear(): void {
    this.young.clear();
    this.old.clear();
  }
}

/** Words kept: English text has few enough for nearly all to be hits. */
const CACHED_WORDS = 32_768;

class HubTokenizer implements Tokenizer {
  readonly vocabSize: number;
  readonly bosId: number | null;
  readonly eosId: number | null;
  readonly padId: number | null;
  readonly unkId: number | null;
  private readonly specials: ReadonlySet<number>;

  constructor(
    readonly path: string,
    private readonly engine: Engine,
    private readonly config: Json,
    private readonly template: ChatTemplate | null,
  ) {
    const added = [...engine.get_added_tokens_decoder()];
    this.specials = new Set(added.filter(([, token]) => token.special).map(([id]) => id));
    let greatest = -1;
    for (const id of [...engine.get_vocab().values(), ...added.map(([id]) => id)]) greatest = Math.max(greatest, id);
    this.vocabSize = greatest + 1;
    this.bosId = this.specialId('bos_token');
    this.eosId = this.specialId('eos_token');
    this.padId = this.specialId('pad_token');
    this.unkId = this.specialId('unk_token');
  }

  /** The id of a token that the configuration names, as text or as `{ content }`. */
  private specialId(key: string): number | null {
    const token = specialText(this.config[key]);
    return token === undefined ? null : (this.idOf(token) ?? null);
  }

  get hasChatTemplate(): boolean {
    return this.template !== null;
  }

  encode(text: string, { addSpecialTokens = true }: EncodeOptions = {}): number[] {
    const { ids, tokens } = this.engine.encode(text, { add_special_tokens: addSpecialTokens });
    const unknown = ids.findIndex((id: number | undefined | null) => id === undefined || id === null);
    if (unknown < 0) return ids;
    const problem = `no token for ${describe(tokens[unknown])} and no unknown token`;
    throw new FileFormatError(this.path, problem, 'use a tokenizer that covers the text');
  }

  decode(ids: ArrayLike<number>, { skipSpecialTokens = true }: DecodeOptions = {}): string {
    const known = Array.from(ids).filter((id) => this.isSpoken(id, skipSpecialTokens));
    if (known.length === 0) return '';
    return this.engine.decode(known, { skip_special_tokens: false, clean_up_tokenization_spaces: false });
  }

  private isSpoken(id: number, skipSpecialTokens: boolean): boolean {
    return this.tokenOf(id) !== undefined && !(skipSpecialTokens && this.specials.has(id));
  }

  decodeStream(options?: DecodeOptions): DecodeStream {
    return new DecodeStream((ids) => this.decode(ids, options));
  }

  tokenOf(id: number): string | undefined {
    return this.engine.id_to_token(id);
  }

  idOf(token: string): number | undefined {
    return this.engine.token_to_id(token);
  }

  chatTemplate(messages: readonly Message[], options: ChatTemplateOptions = {}): string {
    if (!this.template) {
      throw new UsageError(`${this.path}: the tokenizer has no chat template; use plain text or prompt and completion`);
    }
    const tokens = Object.fromEntries(
      ['bos_token', 'eos_token', 'pad_token', 'unk_token'].map((key) => [key, specialText(this.config[key]) ?? '']),
    );
    return this.template.render(messages, tokens, options);
  }
}

function specialText(value: unknown): string | undefined {
  const text = isRecord(value) ? value.content : value;
  return typeof text === 'string' && text !== '' ? text : undefined;
}

async function readOptional(files: FileSystem, path: string): Promise<Json> {
  return (await files.exists(path)) ? parseJsonObject(path, await files.readText(path)) : {};
}

function makeEngine(path: string, json: Json, config: Json): Engine {
  const model = json.model;
  if (!isRecord(model) || !(isRecord(model.vocab) || Array.isArray(model.vocab))) {
    throw new FileFormatError(
      path,
      `not a tokenizer: model.vocab is ${describe(isRecord(model) ? model.vocab : model)}`,
      REFETCH,
    );
  }
  const parts = { added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };
  let engine: Engine;
  try {
    engine = new Engine({ ...parts, ...json }, config);
  } catch (error) {
    throw new FileFormatError(path, `not a tokenizer that can be used: ${oneLine(error)}`, REFETCH);
  }
  if (engine.model && 'cache' in engine.model) engine.model.cache = new WordCache(CACHED_WORDS);
  return engine;
}

const REFETCH = 'fetch the model again, or use the tokenizer.json of its family';

/**
 * Reads the tokenizer of a model folder.
 * @throws EnvironmentError if there is no `tokenizer.json`; FileFormatError if it is not one
 */
export async function loadTokenizer(files: FileSystem, folder: string): Promise<Tokenizer> {
  const path = joinPath(folder, TOKENIZER_FILE);
  if (!(await files.exists(path))) {
    throw new EnvironmentError(`${path}: no tokenizer in the model's folder`, [
      `put the ${TOKENIZER_FILE} of its family there (Mamba's is that of EleutherAI/gpt-neox-20b)`,
      'give tokens as numbers where the command takes them',
    ]);
  }
  const json = parseJsonObject(path, await files.readText(path));
  const map = await readOptional(files, joinPath(folder, SPECIAL_TOKENS_FILE));
  const config = { ...map, ...(await readOptional(files, joinPath(folder, CONFIG_FILE))) };
  const template = await readChatTemplate(files, folder, config);
  return new HubTokenizer(path, makeEngine(path, json, config), config, template);
}
