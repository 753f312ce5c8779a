/** The rows of a task's splits: from a folder of the user's, or from the hub through its cache. */
import { EnvironmentError, FileFormatError } from '../../core/index.ts';
import {
  baseName,
  type CacheFileSystem,
  cachedSnapshots,
  type HubSettings,
  joinPath,
  NetworkError,
  type ResolveOptions,
  resolveSplit,
  splitAddress,
} from '../../io/index.ts';
import type { Task } from '../tasks/index.ts';
import { findSplit } from './find.ts';
import { type PlacedRow, readRows } from './read.ts';

export interface DataPlaces {
  readonly files: CacheFileSystem;
  /** The user's folder; the hub's data sets are not asked for then. */
  readonly dataDir?: string;
  readonly hub: HubSettings;
  readonly options?: ResolveOptions;
}

/** Address of a split's first file on the hub, and the paths where it may stand. */
function remediesFor({ data }: Task, split: string, { hub, dataDir }: DataPlaces): string[] {
  if (data.id === null) return ['mend its path'];
  const address = splitAddress({ id: data.id, config: data.config, split }, hub);
  const inFolder = data.config === 'default' ? split : `${data.config}/${split}`;
  const place = joinPath(dataDir ?? 'DIR', data.folder, `${inFolder}.parquet`);
  return [
    `put ${address} at ${place}${dataDir === undefined ? ' and give --data-dir DIR' : ''} (.jsonl and .csv are read too)`,
  ];
}

/** @throws EnvironmentError that says what to fetch and where to put it */
async function pathsOf(task: Task, split: string, places: DataPlaces): Promise<string[]> {
  const { files, dataDir, hub, options } = places;
  const { data } = task;
  const missing = (problem: string) =>
    new EnvironmentError(`${task.name}: ${problem}`, remediesFor(task, split, places));
  if (dataDir !== undefined) {
    const isItsOwn = baseName(dataDir) === data.folder;
    for (const folder of isItsOwn ? [dataDir, joinPath(dataDir, data.folder)] : [joinPath(dataDir, data.folder)]) {
      const found = await findSplit(files, folder, data, split);
      if (found.length > 0) return found;
    }
    throw missing(`no data for its split ${split} in ${joinPath(dataDir, data.folder)}`);
  }
  const id = data.id!;
  try {
    return await resolveSplit(files, { id, config: data.config, split }, hub, options);
  } catch (error) {
    if (!(error instanceof EnvironmentError)) throw error;
    for (const folder of await cachedSnapshots(files, id, hub)) {
      const found = await findSplit(files, folder, data, split);
      if (found.length > 0) return found;
    }
    const isUnreachable = error instanceof NetworkError || hub.offline;
    if (!isUnreachable) throw error;
    throw missing(
      `its data (${id}, ${split}) are not in the cache, and ${hub.offline ? 'HF_HUB_OFFLINE is set' : `${hub.endpoint} cannot be reached`}`,
    );
  }
}

/**
 * The rows of one split of a task.
 * @param path of a task of the user's own: the split's file
 * @throws EnvironmentError if they are not to be had, FileFormatError for files that are not what they should be
 */
export async function loadSplit(task: Task, split: string, places: DataPlaces, path?: string): Promise<PlacedRow[]> {
  const paths = path === undefined ? await pathsOf(task, split, places) : [path];
  const parts: PlacedRow[][] = [];
  for (const part of paths) parts.push(await readRows(places.files, part, task.data.columns));
  const rows = parts.flat();
  if (rows.length === 0) throw new FileFormatError(paths.join(', '), 'no rows', `${task.name} needs some`);
  return rows;
}
