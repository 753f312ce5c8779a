/**
 * The file system as `io` needs it. `platform/node` implements it over real files, `platform/browser` over blobs.
 * Paths use `/`. Every method throws a KraitError that names the path and the remedy.
 */

/** A file open for reading anywhere in it. */
export interface RandomAccessFile {
  readonly path: string;
  /** Bytes in the file when it was opened. */
  readonly size: number;
  /** File descriptor while the file is open, if there is one; for devices that read files themselves. */
  readonly descriptor?: number;
  /** Exactly `length` bytes from `offset`; a file that has fewer is an error. */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** Fills `target` from `offset`. */
  readInto(offset: number, target: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

/** A file open for writing in place: logs that grow, downloads that resume. Its content survives being opened. */
export interface WritableFile {
  readonly path: string;
  /** Bytes in the file now. */
  readonly size: number;
  /** Writes at `offset`, by default at the end. */
  write(bytes: Uint8Array, offset?: number): Promise<void>;
  /** Cuts the file to `size` bytes. */
  truncate(size: number): Promise<void>;
  /** Returns when the content is on the disk. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface FileStatus {
  readonly size: number;
  readonly isFolder: boolean;
}

/** Content of a file to write; text is written as UTF-8. */
export type FileContent = string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

export interface FileSystem {
  open(path: string): Promise<RandomAccessFile>;
  /** The whole file as UTF-8 text, without a byte-order mark. Invalid UTF-8 is an error. */
  readText(path: string): Promise<string>;
  /** Status of the path, links followed; undefined if nothing is there. */
  status(path: string): Promise<FileStatus | undefined>;
  exists(path: string): Promise<boolean>;
  /** Names in a folder, sorted by code unit. */
  list(folder: string): Promise<string[]>;
  /**
   * Writes a whole file or nothing: aside in the same folder, synced, then renamed over `path`, then the folder
   * synced. Missing folders are made. On failure the file aside is removed and `path` is as it was.
   */
  writeAtomic(path: string, content: FileContent): Promise<void>;
  /** Opens for writing; made, with its folders, if absent. */
  openWritable(path: string): Promise<WritableFile>;
  makeFolder(path: string): Promise<void>;
  /** Moves a file or folder over nothing or over a file, and syncs the folder it lands in. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file, or a folder with all in it; nothing there is no error. */
  remove(path: string): Promise<void>;
}

/** File operations that the model cache needs in addition. */
export interface CacheFileSystem extends FileSystem {
  /** Makes `path` a relative symbolic link to the file `target`, or a copy where links are not possible. Replaces. */
  link(target: string, path: string): Promise<void>;
  /** SHA-256 of a file's content in lower-case hexadecimal. */
  sha256(path: string): Promise<string>;
}

/** Parts of a path joined by `/`, without doubled slashes. */
export const joinPath = (...parts: string[]): string =>
  parts
    .filter((part) => part !== '')
    .map((part, i) => (i === 0 ? part.replace(/(?<=.)\/+$/, '') : part.replace(/^\/+|\/+$/g, '')))
    .join('/')
    .replace(/^\/\//, '/');

/** Last part of a path. */
export const baseName = (path: string): string => path.replace(/[/\\]+$/, '').replace(/^.*[/\\]/, '');

/** A byte count as people write it: `512 B`, `1.5 MiB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}
