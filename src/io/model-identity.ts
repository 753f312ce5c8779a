/** Identity of a model's files. Kept results of another model have another identity. */
import { type CacheFileSystem, joinPath } from './files.ts';

/** Weights, configuration and tokenizer: the files that decide what a model answers. */
const MATERIAL = /\.(safetensors|gguf|json)$/;

/** Hashes of files by name: two models with the same hashes give the same results. */
export type ModelIdentity = Readonly<Record<string, string>>;

/**
 * SHA-256 of the files that decide what a model computes, by name and sorted; those of an adapter are named `adapter/NAME`.
 * The names of the folders do not count.
 * @param folder of a model, or of an adapter alone
 */
export async function modelIdentity(files: CacheFileSystem, folder: string, adapter?: string): Promise<ModelIdentity> {
  const identity: Record<string, string> = {};
  const take = async (from: string, prefix: string) => {
    for (const name of await files.list(from)) {
      if (MATERIAL.test(name)) identity[prefix + name] = await files.sha256(joinPath(from, name));
    }
  };
  await take(folder, '');
  if (adapter !== undefined) await take(adapter, 'adapter/');
  return identity;
}
