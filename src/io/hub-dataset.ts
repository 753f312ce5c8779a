/**
 * Splits of data sets by id. The hub converts every data set to parquet, on a branch of its own:
 * `CONFIG/SPLIT/0000.parquet`, and on. The files come through the cache that Hugging Face's own libraries use
 * (its layout: hub.ts); what is complete there is taken without asking the server.
 */
import { EnvironmentError } from '../core/index.ts';
import { type CacheFileSystem, joinPath } from './files.ts';
import { HubClient } from './hub-client.ts';
import { RepositoryCache, RepositoryDownload, type ResolveOptions } from './hub-repository.ts';
import type { HubSettings } from './hub-settings.ts';

/** The branch that the hub writes. */
export const PARQUET_BRANCH = 'refs/convert/parquet';

export interface DatasetSplit {
  /** `org/name` */
  readonly id: string;
  /** The configuration, or subset; `default` where a data set has one alone. */
  readonly config: string;
  readonly split: string;
}

const cacheOf = (files: CacheFileSystem, id: string, { cacheDir }: HubSettings) =>
  new RepositoryCache(files, cacheDir, `datasets/${id}`);

/** Path of a split's file in the converted branch. */
const partOf = ({ config, split }: DatasetSplit, number: number): string =>
  `${config}/${split}/${String(number).padStart(4, '0')}.parquet`;

/** Address of a split's first file, for a browser or curl. */
export const splitAddress = (at: DatasetSplit, { endpoint }: HubSettings): string =>
  `${endpoint}/datasets/${at.id}/resolve/${encodeURIComponent(PARQUET_BRANCH)}/${partOf(at, 0)}`;

/** Folders in the cache with files of a data set: of its main branch, as `datasets` for Python fetches it. */
export async function cachedSnapshots(files: CacheFileSystem, id: string, settings: HubSettings): Promise<string[]> {
  const cache = cacheOf(files, id, settings);
  const commit = await cache.ref('main');
  const folder = commit === undefined ? undefined : cache.snapshot(commit);
  return folder !== undefined && (await files.exists(folder)) ? [folder] : [];
}

/** Files of a split in the cache; `isWhole` if it is known that there are no more. */
async function cachedParts(cache: RepositoryCache, at: DatasetSplit): Promise<{ paths: string[]; isWhole: boolean }> {
  const commit = await cache.ref(PARQUET_BRANCH);
  const paths: string[] = [];
  if (commit === undefined) return { paths, isWhole: false };
  for (;;) {
    const part = partOf(at, paths.length);
    const path = cache.pointer(commit, part);
    if (!(await cache.files.exists(path))) {
      return { paths, isWhole: paths.length > 0 && (await cache.isAbsent(commit, part)) };
    }
    paths.push(path);
  }
}

class SplitDownload extends RepositoryDownload {
  async run(at: DatasetSplit): Promise<string[]> {
    this.revision = PARQUET_BRANCH;
    const first = partOf(at, 0);
    const remote = await this.describe(first);
    if (!remote?.commit) {
      const problem = `data set ${at.id} has no ${first} on the branch ${PARQUET_BRANCH}`;
      throw new EnvironmentError(problem, ['look there for what it has']);
    }
    this.isKnown = true;
    this.revision = remote.commit;
    this.snapshot = remote.commit;
    await this.bring(first, remote);
    const paths = [this.cache.pointer(this.snapshot, first)];
    for (let part = partOf(at, 1); await this.bringIfThere(part); part = partOf(at, paths.length)) {
      paths.push(this.cache.pointer(this.snapshot, part));
    }
    await this.cache.setRef(PARQUET_BRANCH, this.snapshot);
    return paths;
  }
}

/**
 * Local paths of a split's parquet files, in order.
 * @throws EnvironmentError if they cannot be had: no such data set or split, no network and not in the cache
 */
export async function resolveSplit(
  files: CacheFileSystem,
  at: DatasetSplit,
  settings: HubSettings,
  options: ResolveOptions = {},
): Promise<string[]> {
  const cache = cacheOf(files, at.id, settings);
  const { paths, isWhole } = await cachedParts(cache, at);
  if (isWhole || (settings.offline && paths.length > 0)) return paths;
  if (settings.offline) {
    const what = `data set ${at.id} (${at.config}, ${at.split})`;
    throw new EnvironmentError(`${what} is not in ${joinPath(settings.cacheDir)} and HF_HUB_OFFLINE is set`, [
      'unset it to download the data set',
    ]);
  }
  return new SplitDownload(cache, new HubClient(settings, options), `datasets/${at.id}`, options).run(at);
}
