/** Where data-set files come from and go to. `platform/node` implements both over npm packages and folders. */

/** Read access to the files of installed npm packages. */
export interface DataSource {
  /**
   * Names of the files directly in `folder` of `packageName`, sorted by code unit.
   * @throws EnvironmentError if the package is not installed; its message says `npm i -D <package>`
   */
  list(packageName: string, folder: string): Promise<string[]>;
  /** Content of one file; `path` is relative to the package, with `/`. */
  read(packageName: string, path: string): Promise<Uint8Array>;
}

/** Takes the files of an export. */
export interface DataSink {
  /** Writes a whole file, all of it or nothing; `path` is relative, with `/`. */
  write(path: string, text: string): Promise<void>;
}

const utf8 = new TextDecoder();

/** A file as UTF-8 text, lines ended by `\n`. */
export async function readText(source: DataSource, packageName: string, path: string): Promise<string> {
  return utf8.decode(await source.read(packageName, path)).replace(/\r\n?/g, '\n');
}

/** Reads many files, a few at a time; results in the order of `paths`. */
export async function readAll(source: DataSource, packageName: string, paths: readonly string[]): Promise<Uint8Array[]> {
  const AT_ONCE = 32;
  const files: Uint8Array[] = [];
  for (let i = 0; i < paths.length; i += AT_ONCE) {
    const group = paths.slice(i, i + AT_ONCE);
    files.push(...(await Promise.all(group.map((path) => source.read(packageName, path)))));
  }
  return files;
}
