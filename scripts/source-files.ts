/** Lists the files and folders of the repository for the house rules. Skips node_modules and names that start with a dot. */
import { type Dirent, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** Files below `root/folder` that end in one of `endings`, sorted, relative to `root`, forward slashes. */
export function listFiles(root: string, folder: string, endings: readonly string[]): string[] {
  return listEntries(root, folder)
    .filter((entry) => entry.isFile && endings.some((ending) => entry.path.endsWith(ending)))
    .map((entry) => entry.path);
}

/** Folders below `root/folder`, itself included if it exists, sorted. */
export function listFolders(root: string, folder: string): string[] {
  return listEntries(root, folder)
    .filter((entry) => !entry.isFile)
    .map((entry) => entry.path);
}

/** Folders of the workspace's packages, sorted, relative to `root`: `packages/studies`. */
export function listPackages(root: string): string[] {
  return listFolders(root, 'packages').filter((path) => path.split('/').length === 2);
}

function listEntries(root: string, folder: string): { path: string; isFile: boolean }[] {
  const found: { path: string; isFile: boolean }[] = [];
  const visit = (path: string) => {
    let entries: Dirent[];
    try {
      entries = readdirSync(join(root, path), { withFileTypes: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw error;
    }
    found.push({ path, isFile: false });
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (entry.name === 'node_modules' || entry.name.startsWith('.')) continue;
      if (entry.isDirectory()) visit(`${path}/${entry.name}`);
      else if (entry.isFile()) found.push({ path: `${path}/${entry.name}`, isFile: true });
    }
  };
  visit(folder);
  return found;
}
