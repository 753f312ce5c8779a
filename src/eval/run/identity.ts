/**
 * Everything besides the requests that a model's answers depend on. Kept answers of another model have another
 * identity.
 */
import { textHash } from '../../core/index.ts';
import {
  ADAPTER_CONFIG_FILE,
  ADAPTER_WEIGHTS_FILE,
  type CacheFileSystem,
  isRecord,
  joinPath,
  modelIdentity,
  parseJson,
  TOKENIZER_FILES,
} from '../../io/index.ts';

/** Files of an adapter, as `modelIdentity` names them. */
const ADAPTER_FILES = [ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE].map((name) => `adapter/${name}`);

/**
 * A text that differs for other weights, another adapter, tokenizer or precision.
 * @param folder of the model; of its files the contents count, not the names of folders
 */
export async function answersIdentity(
  files: CacheFileSystem,
  folder: string,
  adapter: string | undefined,
  dtype: string,
): Promise<string> {
  const identity = await modelIdentity(files, folder, adapter);
  const own = Object.keys(identity).filter((name) => /^[^/]+\.(safetensors|gguf)$|^config\.json$/.test(name));
  const names = [...own, ...TOKENIZER_FILES, ...ADAPTER_FILES];
  return textHash([dtype, ...names.flatMap((name) => identity[name] ?? [])].join('\n'));
}

/** Python's `int(1e30)`, or near it: what a tokenizer says that knows no limit. */
const NO_LIMIT = 1e15;

/** The longest input that a tokenizer names (`model_max_length`), which lm-eval takes where the model names none. */
export async function tokenizerLimit(files: CacheFileSystem, folder: string): Promise<number | undefined> {
  const path = joinPath(folder, 'tokenizer_config.json');
  if (!(await files.exists(path))) return undefined;
  const config = parseJson(path, await files.readText(path));
  const limit = isRecord(config) ? config['model_max_length'] : undefined;
  return typeof limit === 'number' && Number.isInteger(limit) && limit > 0 && limit < NO_LIMIT ? limit : undefined;
}
