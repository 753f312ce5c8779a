/**
 * Data sets that npm packages carry, read from `node_modules`, and folders that data sets are exported to.
 * Both classes have the shape of `DataSource` and `DataSink` in `data`.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, isAbsolute, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EnvironmentError, UsageError } from '../../core/index.ts';

const HERE = dirname(fileURLToPath(import.meta.url));

/** Files of npm packages, found as Node finds them: in `node_modules` of `bases` and of the folders above them. */
export class NpmDataSource {
  private readonly folders = new Map<string, string>();

  /** @param bases where to look, in this order: by default the working folder, then this program's own packages */
  constructor(private readonly bases: readonly string[] = [process.cwd(), HERE]) {}

  /** Folder of an installed package. Throws EnvironmentError, with the command that installs it, if there is none. */
  folderOf(packageName: string): string {
    const known = this.folders.get(packageName);
    if (known) return known;
    for (const base of this.bases) {
      for (let at = resolve(base), above = ''; at !== above; above = at, at = dirname(at)) {
        const folder = join(at, 'node_modules', ...packageName.split('/'));
        if (!existsSync(join(folder, 'package.json'))) continue;
        this.folders.set(packageName, folder);
        return folder;
      }
    }
    throw new EnvironmentError(`data package ${packageName} is not installed`, [`npm i -D ${packageName}`]);
  }

  /** Names of the files directly in a folder of the package, sorted. */
  async list(packageName: string, folder: string): Promise<string[]> {
    const entries = await this.attempt(packageName, folder, (path) => readdir(path, { withFileTypes: true }));
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => entry.name)
      .sort();
  }

  /** Content of one file of the package. */
  read(packageName: string, path: string): Promise<Uint8Array> {
    return this.attempt(packageName, path, (file) => readFile(file));
  }

  private async attempt<T>(packageName: string, path: string, work: (file: string) => Promise<T>): Promise<T> {
    const file = join(this.folderOf(packageName), ...path.split('/'));
    try {
      return await work(file);
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code;
      if (code !== 'ENOENT' && code !== 'ENOTDIR') throw cause;
      throw new EnvironmentError(`${file} is missing from data package ${packageName}`, [
        `reinstall it: npm i -D ${packageName}`,
      ]);
    }
  }
}

/** Files written below one folder, each aside first and then renamed, so that none is ever half there. */
export class FolderDataSink {
  constructor(readonly folder: string) {}

  /** Writes one file; folders are made. Throws UsageError if `path` leaves the folder. */
  async write(path: string, text: string): Promise<void> {
    const file = resolve(this.folder, path);
    const inside = relative(resolve(this.folder), file);
    if (inside === '' || inside.startsWith('..') || isAbsolute(inside)) {
      throw new UsageError(`${path}: outside of ${this.folder}; give a path below it`);
    }
    await mkdir(dirname(file), { recursive: true });
    const aside = `${file}.${process.pid}.part`;
    await writeFile(aside, text);
    await rename(aside, file);
  }
}
