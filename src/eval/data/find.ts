/** Files of a split in a folder, in the layouts in which people and the hub keep data sets. */
import { type FileSystem, joinPath } from '../../io/index.ts';
import type { TaskData } from '../tasks/index.ts';

/** Possible names of a split's file. */
const SPLIT_NAMES: Readonly<Record<string, readonly string[]>> = { validation: ['validation', 'valid', 'val', 'dev'] };
/** In the order in which they are taken. */
const ENDINGS = ['jsonl', 'json', 'csv', 'parquet'] as const;

async function namesIn(files: FileSystem, folder: string): Promise<string[]> {
  const status = await files.status(folder);
  return status?.isFolder ? files.list(folder) : [];
}

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** Files `STEM.jsonl` and the like, `STEM-00000-of-00002.parquet`, or `STEM/0000.parquet`; empty if none is there. */
async function filesOf(files: FileSystem, path: string): Promise<string[]> {
  const [, folder = '', stem = path] = /^(.*)[/](.*)$/.exec(path) ?? [];
  const names = await namesIn(files, folder || '.');
  for (const ending of ENDINGS) {
    const pattern = new RegExp(`^${escaped(stem)}(-\\d{5}-of-\\d{5})?\\.${ending}$`);
    const found = names.filter((name) => pattern.test(name));
    if (found.length > 0) return found.map((name) => joinPath(folder, name));
  }
  if (!names.includes(stem)) return [];
  const parts = (await namesIn(files, path)).filter((name) => /^\d{4}\.parquet$/.test(name));
  return parts.map((name) => joinPath(path, name));
}

/** Paths of a split without an ending, in the folder of a data set; a configuration's own folder comes first. */
function stemsOf(data: TaskData, split: string): string[] {
  const usual = SPLIT_NAMES[split] ?? [split];
  const inConfig = usual.map((name) => `${data.config}/${name}`);
  const plain = data.isShared ? [] : [...usual, ...usual.map((name) => `data/${name}`)];
  return [...inConfig, ...(data.stems?.(split) ?? []), ...plain];
}

/** Files of a split in the folder of its data set, in order; empty if none is there. */
export async function findSplit(files: FileSystem, folder: string, data: TaskData, split: string): Promise<string[]> {
  for (const stem of stemsOf(data, split)) {
    const found = await filesOf(files, joinPath(folder, stem));
    if (found.length > 0) return found;
  }
  return [];
}
