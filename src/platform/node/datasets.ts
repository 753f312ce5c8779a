/** Data sets that npm packages carry, read from `node_modules`. `NpmDataSource` has the shape of `DataSource` in `data`. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EnvironmentError } from '../../core/index.ts';

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
    const entries = this.attempt(packageName, folder, (path) => readdirSync(path, { withFileTypes: true }));
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => entry.name)
      .sort();
  }

  /**
   * Content of one file of the package. It is read at once: the mail corpus has 6,000 small files, for which the thread
   * pool costs ten times the reading.
   */
  async read(packageName: string, path: string): Promise<Uint8Array> {
    return this.attempt(packageName, path, (file) => readFileSync(file));
  }

  private attempt<T>(packageName: string, path: string, work: (file: string) => T): T {
    const file = join(this.folderOf(packageName), ...path.split('/'));
    try {
      return work(file);
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code;
      if (code !== 'ENOENT' && code !== 'ENOTDIR') throw cause;
      throw new EnvironmentError(`${file} is missing from data package ${packageName}`, [
        `reinstall it: npm i -D ${packageName}`,
      ]);
    }
  }
}
