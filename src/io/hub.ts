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
import { type CacheFileSystem, joinPath } from './files.ts';
import { NetworkError } from './http-exchange.ts';
import { type ClientOptions, HubClient, type RemoteFile } from './hub-client.ts';
import type { HubSettings } from './hub-settings.ts';
import { SIDE_FILES } from './side-files.ts';

export interface DownloadProgress {
  /** The file's name in the repository. */
  readonly file: string;
  readonly receivedBytes: number;
  /** Null if the server does not say. */
  readonly totalBytes: number | null;
}

export interface ResolveOptions extends ClientOptions {
  /** Branch, tag or commit; `main` by default. */
  revision?: string;
  /** Told as bytes arrive. */
  progress?: (progress: DownloadProgress) => void;
  /** Told, in one line, when the cache stands in for a server that cannot be reached. */
  warn?: (line: string) => void;
}

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
class ModelCache {
  readonly folder: string;

  constructor(
    readonly files: CacheFileSystem,
    cacheDir: string,
    id: string,
  ) {
    this.folder = joinPath(cacheDir, `models--${id.replaceAll('/', '--')}`);
  }

  snapshot(commit: string): string {
    return joinPath(this.folder, 'snapshots', commit);
  }

  /** Path of a file in a snapshot. */
  pointer(commit: string, file: string): string {
    return joinPath(this.snapshot(commit), file);
  }

  blob(etag: string): string {
    return joinPath(this.folder, 'blobs', etag);
  }

  async setRef(revision: string, commit: string): Promise<void> {
    const path = joinPath(this.folder, 'refs', revision);
    if ((await this.files.exists(path)) && (await this.files.readText(path)).trim() === commit) return;
    await this.files.writeAtomic(path, commit);
  }

  /** Whether a commit is known not to have a file. */
  isAbsent(commit: string, file: string): Promise<boolean> {
    return this.files.exists(joinPath(this.folder, '.no_exist', commit, file));
  }

  async setAbsent(commit: string, file: string): Promise<void> {
    await this.files.writeAtomic(joinPath(this.folder, '.no_exist', commit, file), '');
  }

  /** Folder of a revision if its configuration and all of its weights are here. */
  async find(revision: string): Promise<string | undefined> {
    const ref = joinPath(this.folder, 'refs', revision);
    const isRef = !COMMIT.test(revision) && (await this.files.exists(ref));
    const commit = isRef ? (await this.files.readText(ref)).trim() : revision;
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
class ModelDownload {
  /** Name of the snapshot's folder, once known. */
  private snapshot = '';
  /** Commit or revision that files are asked for at. */
  private revision = '';
  /** Whether the model was found. */
  private isKnown = false;

  constructor(
    private readonly cache: ModelCache,
    private readonly client: HubClient,
    private readonly id: string,
    private readonly options: ResolveOptions,
  ) {}

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

  private describe(path: string): Promise<RemoteFile | undefined> {
    return this.client.describe({ id: this.id, revision: this.revision, path }, this.isKnown);
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

  private async bringIfThere(file: string): Promise<void> {
    const isVersioned = this.revision === this.snapshot;
    if (await this.cache.files.exists(this.cache.pointer(this.snapshot, file))) return;
    if (isVersioned && (await this.cache.isAbsent(this.snapshot, file))) return;
    const remote = await this.describe(file);
    if (remote) await this.bring(file, remote);
    else if (isVersioned) await this.cache.setAbsent(this.snapshot, file);
  }

  /** One file into the snapshot; `remote` if it has been asked about already. */
  private async bring(file: string, remote?: RemoteFile): Promise<void> {
    const { files } = this.cache;
    const pointer = this.cache.pointer(this.snapshot, file);
    if (await files.exists(pointer)) return;
    const source = remote ?? (await this.describe(file));
    if (!source)
      throw new FileFormatError(`${this.id}/${file}`, 'the index lists it, the model lacks it', 'tell its authors');
    const blob = this.cache.blob(source.etag ?? `${this.snapshot}-${file}`);
    const status = await files.status(blob);
    if (!status || (source.bytes !== null && status.size !== source.bytes)) await this.download(source, blob);
    await files.link(blob, pointer);
  }

  private async bringWeights(file: string, remote?: RemoteFile): Promise<void> {
    await this.bring(file, remote);
    if (file !== WEIGHTS_INDEX_FILE) return;
    const index = this.cache.pointer(this.snapshot, file);
    const shards = new Set(parseWeightMap(index, await this.cache.files.readText(index)).values());
    for (const shard of shards) await this.bring(shard);
  }

  /** Another process that fetches the same content may be first at any point: then its blob serves. */
  private async download(remote: RemoteFile, blob: string): Promise<void> {
    try {
      await this.downloadBlob(remote, blob);
    } catch (error) {
      this.options.signal?.throwIfAborted();
      if (!(await this.cache.files.exists(blob))) throw error;
    }
  }

  /** A blob gets its name only when it is complete, synced and has its checksum. */
  private async downloadBlob(remote: RemoteFile, blob: string): Promise<void> {
    const { files } = this.cache;
    const incomplete = `${blob}.incomplete`;
    const file = remote.at.path;
    const isResumed = await files.exists(incomplete);
    await this.client.download(remote, files, incomplete, (receivedBytes, totalBytes) =>
      this.options.progress?.({ file, receivedBytes, totalBytes }),
    );
    const sha256 = remote.sha256 && (await files.sha256(incomplete));
    if (sha256 !== remote.sha256) {
      await files.remove(incomplete);
      if (isResumed) return this.downloadBlob(remote, blob);
      const problem = `${this.id}/${file}: arrived damaged (sha256 ${sha256}, expected ${remote.sha256})`;
      throw new EnvironmentError(problem, ['run the same command again', 'check HF_ENDPOINT']);
    }
    await files.rename(incomplete, blob);
  }
}
