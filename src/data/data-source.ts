/** Source of data-set files: npm packages that carry data. `NpmDataSource` in `platform/node` implements it. */

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

const utf8 = new TextDecoder();

/** A file as UTF-8 text, lines ended by `\n`. */
export async function readText(source: DataSource, packageName: string, path: string): Promise<string> {
  return utf8.decode(await source.read(packageName, path)).replace(/\r\n?/g, '\n');
}
