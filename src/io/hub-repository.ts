/**
 * One repository of the hub and its folder in the cache that Hugging Face's own libraries use (its layout: hub.ts).
 * Ids are as in addresses: `org/name` is a model, `datasets/org/name` a data set.
 */
import { EnvironmentError, FileFormatError } from '../core/index.ts';
import { type CacheFileSystem, joinPath } from './files.ts';
import type { ClientOptions, HubClient, RemoteFile } from './hub-client.ts';

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
  /** Called as bytes arrive. */
  progress?: (progress: DownloadProgress) => void;
  /** Called with one line when the cache is used because the server cannot be reached. */
  warn?: (line: string) => void;
}

const DATASETS = 'datasets/';

/** A repository's folder in the cache. */
export class RepositoryCache {
  readonly folder: string;

  constructor(
    readonly files: CacheFileSystem,
    cacheDir: string,
    id: string,
  ) {
    const name = id.startsWith(DATASETS) ? `datasets--${id.slice(DATASETS.length)}` : `models--${id}`;
    this.folder = joinPath(cacheDir, name.replaceAll('/', '--'));
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

  /** The commit that a branch or tag stood for when last asked. */
  async ref(revision: string): Promise<string | undefined> {
    const path = joinPath(this.folder, 'refs', revision);
    return (await this.files.exists(path)) ? (await this.files.readText(path)).trim() : undefined;
  }

  async setRef(revision: string, commit: string): Promise<void> {
    if ((await this.ref(revision)) === commit) return;
    await this.files.writeAtomic(joinPath(this.folder, 'refs', revision), commit);
  }

  /** Whether a commit is known not to have a file. */
  isAbsent(commit: string, file: string): Promise<boolean> {
    return this.files.exists(joinPath(this.folder, '.no_exist', commit, file));
  }

  async setAbsent(commit: string, file: string): Promise<void> {
    await this.files.writeAtomic(joinPath(this.folder, '.no_exist', commit, file), '');
  }
}

/** Brings files of one revision into the cache. */
export class RepositoryDownload {
  /** Name of the snapshot's folder, once known. */
  protected snapshot = '';
  /** Commit or revision that files are asked for at. */
  protected revision = '';
  /** Whether the repository was found. */
  protected isKnown = false;

  constructor(
    protected readonly cache: RepositoryCache,
    protected readonly client: HubClient,
    protected readonly id: string,
    protected readonly options: ResolveOptions,
  ) {}

  protected describe(path: string): Promise<RemoteFile | undefined> {
    return this.client.describe({ id: this.id, revision: this.revision, path }, this.isKnown);
  }

  /** Brings a file if the repository has it; returns whether it does. */
  protected async bringIfThere(file: string): Promise<boolean> {
    const isVersioned = this.revision === this.snapshot;
    if (await this.cache.files.exists(this.cache.pointer(this.snapshot, file))) return true;
    if (isVersioned && (await this.cache.isAbsent(this.snapshot, file))) return false;
    const remote = await this.describe(file);
    if (remote) await this.bring(file, remote);
    else if (isVersioned) await this.cache.setAbsent(this.snapshot, file);
    return remote !== undefined;
  }

  /** One file into the snapshot; `remote` if it has been asked about already. */
  protected async bring(file: string, remote?: RemoteFile): Promise<void> {
    const { files } = this.cache;
    const pointer = this.cache.pointer(this.snapshot, file);
    if (await files.exists(pointer)) return;
    const source = remote ?? (await this.describe(file));
    if (!source)
      throw new FileFormatError(`${this.id}/${file}`, 'the index lists it, the model lacks it', 'tell its authors');
    const blob = this.cache.blob(source.etag ?? `${this.snapshot}-${file.replaceAll('/', '-')}`);
    const status = await files.status(blob);
    if (!status || (source.bytes !== null && status.size !== source.bytes)) await this.download(source, blob);
    await files.link(blob, pointer);
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
