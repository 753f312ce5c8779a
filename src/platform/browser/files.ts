/**
 * `FileSystem` over blobs: files that a page was given (dropped, chosen, fetched) and what it writes, in memory.
 * Blobs of chosen files stay on the disk until they are read, so a model is streamed here too.
 */
import { FileFormatError } from '../../core/index.ts';
import type { FileContent, FileStatus, FileSystem, RandomAccessFile, WritableFile } from '../../io/index.ts';

const missing = (path: string) => new FileFormatError(path, 'no such file or folder', 'check the path');

const normalize = (path: string): string => path.replace(/\/+/g, '/').replace(/(?<=.)\/$/, '');

class BlobFile implements RandomAccessFile {
  constructor(
    readonly path: string,
    private readonly blob: Blob,
  ) {}

  get size(): number {
    return this.blob.size;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    if (offset + length > this.size) {
      const problem = `bytes ${offset} to ${offset + length} are outside of its ${this.size} bytes`;
      throw new FileFormatError(this.path, problem, 'the file is cut off: fetch or write it again');
    }
    return new Uint8Array(await this.blob.slice(offset, offset + length).arrayBuffer());
  }

  async readInto(offset: number, target: Uint8Array): Promise<void> {
    target.set(await this.read(offset, target.length));
  }

  async close(): Promise<void> {}
}

class BlobWriter implements WritableFile {
  constructor(
    readonly path: string,
    private readonly files: Map<string, Blob>,
  ) {}

  private get blob(): Blob {
    return this.files.get(this.path) ?? new Blob([]);
  }

  get size(): number {
    return this.blob.size;
  }

  async write(bytes: Uint8Array, offset = this.size): Promise<void> {
    const { blob } = this;
    const gap = new Uint8Array(Math.max(0, offset - blob.size));
    const parts = [blob.slice(0, offset), gap, new Uint8Array(bytes), blob.slice(offset + bytes.length)];
    this.files.set(this.path, new Blob(parts));
  }

  async truncate(size: number): Promise<void> {
    this.files.set(this.path, this.blob.slice(0, size));
  }

  async sync(): Promise<void> {}

  async close(): Promise<void> {}
}

/** Files in memory. A folder exists as long as a file stands in it. */
export class BlobFileSystem implements FileSystem {
  private readonly files = new Map<string, Blob>();

  /** @param files content by path */
  constructor(files: Iterable<readonly [path: string, content: Blob | string | Uint8Array]> = []) {
    for (const [path, content] of files) {
      const blob = content instanceof Blob ? content : new Blob([content as string | Uint8Array<ArrayBuffer>]);
      this.files.set(normalize(path), blob);
    }
  }

  private blobOf(path: string): Blob {
    const blob = this.files.get(normalize(path));
    if (!blob) throw missing(path);
    return blob;
  }

  private below(folder: string): string[] {
    const prefix = `${normalize(folder)}/`;
    return [...this.files.keys()].filter((path) => path.startsWith(prefix)).map((path) => path.slice(prefix.length));
  }

  async open(path: string): Promise<RandomAccessFile> {
    return new BlobFile(path, this.blobOf(path));
  }

  async readText(path: string): Promise<string> {
    const bytes = await this.blobOf(path).arrayBuffer();
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch {
      throw new FileFormatError(path, 'not valid UTF-8', 'save it as UTF-8');
    }
  }

  async status(path: string): Promise<FileStatus | undefined> {
    const blob = this.files.get(normalize(path));
    if (blob) return { size: blob.size, isFolder: false };
    return this.below(path).length ? { size: 0, isFolder: true } : undefined;
  }

  async exists(path: string): Promise<boolean> {
    return (await this.status(path)) !== undefined;
  }

  async list(folder: string): Promise<string[]> {
    const names = new Set(this.below(folder).map((path) => path.split('/')[0]));
    if (names.size === 0) throw missing(folder);
    return [...names].sort();
  }

  async writeAtomic(path: string, content: FileContent): Promise<void> {
    const parts: BlobPart[] = [];
    if (typeof content === 'string') parts.push(content);
    else if (content instanceof Uint8Array) parts.push(new Uint8Array(content));
    else for await (const chunk of content) parts.push(new Uint8Array(chunk));
    this.files.set(normalize(path), new Blob(parts));
  }

  async openWritable(path: string): Promise<WritableFile> {
    const key = normalize(path);
    if (!this.files.has(key)) this.files.set(key, new Blob([]));
    return new BlobWriter(key, this.files);
  }

  async makeFolder(): Promise<void> {}

  async rename(from: string, to: string): Promise<void> {
    const source = normalize(from);
    const moved = [...this.files].filter(([path]) => path === source || path.startsWith(`${source}/`));
    if (moved.length === 0) throw missing(from);
    for (const [path, blob] of moved) {
      this.files.delete(path);
      this.files.set(normalize(to) + path.slice(source.length), blob);
    }
  }

  async remove(path: string): Promise<void> {
    const target = normalize(path);
    for (const name of [...this.files.keys()]) {
      if (name === target || name.startsWith(`${target}/`)) this.files.delete(name);
    }
  }
}
