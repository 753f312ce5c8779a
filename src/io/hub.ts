/**
 * Models by id or folder. Ids are looked up in the cache that Hugging Face's own libraries use, and fetched into it:
 *
 *   <cache>/models--org--name/refs/<revision>              text: the commit that it stood for when last asked
 *                             blobs/<etag>                 contents; <etag>.incomplete while they arrive
 *                             snapshots/<commit>/<file>    links to blobs
 *                             .no_exist/<commit>/<file>    files known not to be there
 *
 * Only what a language model needs is fetched: configuration, tokenizer, safetensors weights.
 */
import { EnvironmentError, FileFormatError, UsageError } from '../core/index.ts';
import { PICKLE_REMEDY, parseWeightMap, WEIGHTS_FILE, WEIGHTS_INDEX_FILE } from './checkpoint.ts';
import type { CacheFileSystem } from './files.ts';
import { NetworkError } from './http-exchange.ts';
import { HubClient, type RemoteFile } from './hub-client.ts';
import { RepositoryCache, RepositoryDownload, type ResolveOptions } from './hub-repository.ts';
import type { HubSettings } from './hub-settings.ts';
import { SIDE_FILES } from './side-files.ts';

export type { DownloadProgress, ResolveOptions } from './hub-repository.ts';

const CONFIG_FILE = 'config.json';
const PICKLES = ['pytorch_model.bin', 'pytorch_model.bin.index.json', 'consolidated.00.pth'];
const COMMIT = /^[0-9a-f]{40}$/;

const isModelId = (text: string): boolean => /^\w[\w.-]*(\/\w[\w.-]*)?$/.test(text) && !text.includes('..');

/**
 * The local folder of a model.
 * @param idOrPath a folder, or an id such as `state-spaces/mamba-130m-hf`
 * @param settings cache and server (`hubSettings`)
 * @throws UsageError if it is neither; EnvironmentError if it cannot be had: no such model, no right to it, no network
 * and not in the cache, a download that stays cut off; FileFormatError if it has no safetensors weights
 */
export async function resolveModel(
  files: CacheFileSystem,
  idOrPath: string,
  settings: HubSettings,
  options: ResolveOptions = {},
): Promise<string> {
  const { revision = 'main' } = options;
  const status = await files.status(idOrPath);
  if (status?.isFolder) return idOrPath;
  if (status) throw new UsageError(`${idOrPath}: is a file; give the folder of a model, or its id on the hub`);
  if (!isModelId(idOrPath)) {
    throw new UsageError(
      `${idOrPath}: no such folder; give the folder of a model, or an id such as state-spaces/mamba-130m-hf`,
    );
  }
  if (!/^\w[\w./-]*$/.test(revision) || revision.includes('..')) {
    throw new UsageError(
      `--revision: ${JSON.stringify(revision)} is not a branch, tag or commit; use one such as main`,
    );
  }
  const cache = new ModelCache(files, settings.cacheDir, idOrPath);
  const cached = await cache.find(revision);
  if (settings.offline) {
    if (cached) return cached;
    throw new EnvironmentError(
      `model ${idOrPath} (${revision}) is not complete in ${settings.cacheDir} and HF_HUB_OFFLINE is set`,
      ['unset it to download the model', 'give the folder of a model'],
    );
  }
  if (cached && COMMIT.test(revision)) return cached;
  try {
    return await new ModelDownload(cache, new HubClient(settings, options), idOrPath, options).run(revision);
  } catch (error) {
    if (!(error instanceof NetworkError) || !cached) throw error;
    options.warn?.(`${error.message.split(';')[0]}: using ${idOrPath} as it was last fetched`);
    return cached;
  }
}

/** One model's folder in the cache. */
class ModelCache extends RepositoryCache {
  /** Folder of a revision if its configuration and all of its weights are here. */
  async find(revision: string): Promise<string | undefined> {
    const commit = COMMIT.test(revision) ? revision : ((await this.ref(revision)) ?? revision);
    const has = (file: string) => this.files.exists(this.pointer(commit, file));
    if (!(await has(CONFIG_FILE))) return undefined;
    if (await has(WEIGHTS_FILE)) return this.snapshot(commit);
    if (!(await has(WEIGHTS_INDEX_FILE))) return undefined;
    const index = this.pointer(commit, WEIGHTS_INDEX_FILE);
    for (const shard of new Set(parseWeightMap(index, await this.files.readText(index)).values())) {
      if (!(await has(shard))) return undefined;
    }
    return this.snapshot(commit);
  }
}

/** Brings one revision of a model into the cache. */
class ModelDownload extends RepositoryDownload {
  /** The folder of the snapshot. */
  async run(revision: string): Promise<string> {
    this.revision = revision;
    const config = await this.describe(CONFIG_FILE);
    if (!config) {
      const remedy = 'use a repository in the format of transformers';
      throw new EnvironmentError(`model ${this.id} has no ${CONFIG_FILE} at ${revision}`, [remedy]);
    }
    this.isKnown = true;
    if (config.commit) this.revision = config.commit;
    const cached = config.commit ? await this.cachedWeights(config.commit) : undefined;
    const weights = cached ? undefined : await this.describeWeights();
    this.snapshot = config.commit ?? `unversioned-${config.etag}-${weights?.etag}`;
    await this.bring(CONFIG_FILE, config);
    // Weights come last, so that a snapshot with weights is complete.
    for (const file of SIDE_FILES) await this.bringIfThere(file);
    await this.bringWeights(cached ?? weights!.at.path, weights);
    if (revision !== this.snapshot) await this.cache.setRef(revision, this.snapshot);
    return this.cache.snapshot(this.snapshot);
  }

  private async cachedWeights(commit: string): Promise<string | undefined> {
    for (const file of [WEIGHTS_FILE, WEIGHTS_INDEX_FILE]) {
      if (await this.cache.files.exists(this.cache.pointer(commit, file))) return file;
    }
    return undefined;
  }

  private async describeWeights(): Promise<RemoteFile> {
    const found = (await this.describe(WEIGHTS_FILE)) ?? (await this.describe(WEIGHTS_INDEX_FILE));
    if (found) return found;
    for (const file of PICKLES) {
      if (!(await this.describe(file))) continue;
      const problem = 'the model has its weights as a PyTorch pickle only, which can run code';
      throw new FileFormatError(`${this.id}/${file}`, problem, PICKLE_REMEDY);
    }
    throw new EnvironmentError(`model ${this.id} has neither ${WEIGHTS_FILE} nor ${WEIGHTS_INDEX_FILE}`, [
      'use a repository with safetensors weights',
    ]);
  }

  private async bringWeights(file: string, remote?: RemoteFile): Promise<void> {
    await this.bring(file, remote);
    if (file !== WEIGHTS_INDEX_FILE) return;
    const index = this.cache.pointer(this.snapshot, file);
    const shards = new Set(parseWeightMap(index, await this.cache.files.readText(index)).values());
    for (const shard of shards) await this.bring(shard);
  }
}
