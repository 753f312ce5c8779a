/** `FileSystem` over real files. Writes are durable when they return: content and folder entry are synced. */
import { constants, createReadStream } from 'node:fs';
import { copyFile, type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { FileFormatError } from '../../core/index.ts';
import type { CacheFileSystem, FileContent, FileStatus, RandomAccessFile, WritableFile } from '../../io/index.ts';

/** Problem and remedy for each error code of the operating system. */
const FAULTS: Readonly<Record<string, readonly [problem: string, remedy: string]>> = {
  ENOENT: ['no such file or folder', 'check the path'],
  EACCES: ['permission denied', 'change its permissions or use another path'],
  EPERM: ['operation not permitted', 'change its permissions or use another path'],
  EROFS: ['the file system is read-only', 'use another path'],
  EISDIR: ['is a folder', 'give a file'],
  ENOTDIR: ['a part of the path is a file, not a folder', 'check the path'],
  ENOSPC: ['the disk is full', 'free some space, then run the command again'],
  EDQUOT: ['the disk quota is used up', 'free some space, then run the command again'],
  EFBIG: ['the file is larger than the system allows', 'raise the limit (ulimit -f)'],
  EMFILE: ['too many open files', 'raise the limit (ulimit -n)'],
  ENOTEMPTY: ['the folder is not empty', 'use another path, or remove it'],
  EIO: ['the disk reports an input/output error', 'check the disk'],
};

/** A fault of the operating system as a KraitError that names the path; anything else as it is. */
function explain(path: string, error: unknown): unknown {
  const { code, message } = (error ?? {}) as NodeJS.ErrnoException;
  if (typeof code !== 'string' || error instanceof FileFormatError) return error;
  const [problem, remedy] = FAULTS[code] ?? [`${code} (${message.replace(/\s+/g, ' ')})`, 'check the path'];
  const explained = new FileFormatError(path, problem, remedy);
  explained.cause = error;
  return explained;
}

async function attempt<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw explain(path, error);
  }
}

/** Larger requests are split: the system call takes at most 2 GiB. */
const MOST_PER_CALL = 2 ** 30;

class NodeRandomAccessFile implements RandomAccessFile {
  constructor(
    readonly path: string,
    readonly size: number,
    private readonly handle: FileHandle,
  ) {}

  get descriptor(): number {
    return this.handle.fd;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    if (offset + length > this.size) throw this.tooShort(offset, length);
    const target = new Uint8Array(length);
    await this.readInto(offset, target);
    return target;
  }

  async readInto(offset: number, target: Uint8Array): Promise<void> {
    if (offset + target.length > this.size) throw this.tooShort(offset, target.length);
    await attempt(this.path, async () => {
      for (let done = 0; done < target.length; ) {
        const part = Math.min(target.length - done, MOST_PER_CALL);
        const { bytesRead } = await this.handle.read(target, done, part, offset + done);
        if (bytesRead === 0) throw this.tooShort(offset, target.length);
        done += bytesRead;
      }
    });
  }

  private tooShort(offset: number, length: number): FileFormatError {
    const problem = `bytes ${offset} to ${offset + length} are outside of its ${this.size} bytes`;
    return new FileFormatError(this.path, problem, 'the file is cut off or has changed: fetch or write it again');
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}

async function writeFully(handle: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const part = Math.min(bytes.length - done, MOST_PER_CALL);
    const { bytesWritten } = await handle.write(bytes, done, part, offset + done);
    done += bytesWritten;
  }
}

class NodeWritableFile implements WritableFile {
  constructor(
    readonly path: string,
    public size: number,
    private readonly handle: FileHandle,
  ) {}

  async write(bytes: Uint8Array, offset = this.size): Promise<void> {
    await attempt(this.path, () => writeFully(this.handle, bytes, offset));
    this.size = Math.max(this.size, offset + bytes.length);
  }

  async truncate(size: number): Promise<void> {
    await attempt(this.path, () => this.handle.truncate(size));
    this.size = size;
  }

  async sync(): Promise<void> {
    await attempt(this.path, () => this.handle.sync());
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}

async function syncFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    // Windows and some network file systems cannot sync folders; their renames are as durable as they get.
    const { code } = error as NodeJS.ErrnoException;
    if (!['EISDIR', 'EPERM', 'EINVAL', 'EACCES', 'ENOTSUP', 'EBADF'].includes(code ?? '')) throw error;
  }
}

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
};

/** Younger files aside may belong to a process of another container that shares the folder. */
const STALE_AFTER_MS = 60_000;

/** Removes what killed processes left beside `path`: a run that is killed and resumed must not fill the disk. */
async function removeStale(path: string): Promise<void> {
  const folder = dirname(path);
  const prefix = `${basename(path)}.`;
  for (const name of await readdir(folder)) {
    const pid = name.startsWith(prefix) && /^(\d+)\.\d+\.tmp$/.exec(name.slice(prefix.length))?.[1];
    if (!pid || isAlive(Number(pid))) continue;
    const aside = join(folder, name);
    const status = await stat(aside).catch(() => undefined);
    if (status && Date.now() - status.mtimeMs > STALE_AFTER_MS) await rm(aside, { force: true });
  }
}

/** Whether a relative link could be made: Windows allows it to developers only, some file systems never. */
async function tryLink(target: string, path: string): Promise<boolean> {
  try {
    await symlink(relative(dirname(path), target), path);
    return true;
  } catch {
    return false;
  }
}

/** Files of this machine. */
export class NodeFileSystem implements CacheFileSystem {
  private asides = 0;

  /** @param canLink false where symbolic links are unwanted: the model cache then copies */
  constructor(private readonly canLink = true) {}

  open(path: string): Promise<RandomAccessFile> {
    return attempt(path, async () => {
      const handle = await open(path, 'r');
      const status = await handle.stat();
      if (status.isFile()) return new NodeRandomAccessFile(path, status.size, handle);
      await handle.close();
      throw new FileFormatError(path, status.isDirectory() ? 'is a folder' : 'is not a regular file', 'give a file');
    });
  }

  async readText(path: string): Promise<string> {
    const bytes = await attempt(path, () => readFile(path));
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch {
      throw new FileFormatError(path, 'not valid UTF-8', 'save it as UTF-8');
    }
  }

  async status(path: string): Promise<FileStatus | undefined> {
    try {
      const status = await stat(path);
      return { size: status.size, isFolder: status.isDirectory() };
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
      throw explain(path, error);
    }
  }

  async exists(path: string): Promise<boolean> {
    return (await this.status(path)) !== undefined;
  }

  list(folder: string): Promise<string[]> {
    return attempt(folder, async () => (await readdir(folder)).sort());
  }

  async writeAtomic(path: string, content: FileContent): Promise<void> {
    const chunks = typeof content === 'string' ? [new TextEncoder().encode(content)] : content;
    const aside = `${path}.${process.pid}.${this.asides++}.tmp`;
    let handle: FileHandle | undefined;
    try {
      await mkdir(dirname(path), { recursive: true });
      await removeStale(path);
      handle = await open(aside, 'wx');
      let offset = 0;
      for await (const chunk of chunks instanceof Uint8Array ? [chunks] : chunks) {
        await writeFully(handle, chunk, offset);
        offset += chunk.length;
      }
      await handle.sync();
      await handle.close();
      handle = undefined;
      await rename(aside, path);
      await syncFolder(dirname(path));
    } catch (error) {
      await handle?.close().catch(() => undefined);
      await rm(aside, { force: true }).catch(() => undefined);
      throw explain(path, error);
    }
  }

  openWritable(path: string): Promise<WritableFile> {
    return attempt(path, async () => {
      await mkdir(dirname(path), { recursive: true });
      const handle = await open(path, constants.O_RDWR | constants.O_CREAT);
      return new NodeWritableFile(path, (await handle.stat()).size, handle);
    });
  }

  async makeFolder(path: string): Promise<void> {
    await attempt(path, () => mkdir(path, { recursive: true }));
  }

  rename(from: string, to: string): Promise<void> {
    return attempt(to, async () => {
      await rename(from, to);
      await syncFolder(dirname(to));
    });
  }

  async remove(path: string): Promise<void> {
    await attempt(path, () => rm(path, { recursive: true, force: true }));
  }

  link(target: string, path: string): Promise<void> {
    return attempt(path, async () => {
      await mkdir(dirname(path), { recursive: true });
      const aside = `${path}.${process.pid}.${this.asides++}.tmp`;
      try {
        const isLinked = this.canLink && (await tryLink(target, aside));
        if (!isLinked) await copyFile(target, aside);
        await rename(aside, path);
      } catch (error) {
        await rm(aside, { force: true });
        throw error;
      }
      await syncFolder(dirname(path));
    });
  }

  sha256(path: string): Promise<string> {
    return attempt(path, async () => {
      const { createHash } = await import('node:crypto'); // 5 ms of a start, for downloads alone
      const hash = createHash('sha256');
      for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Uint8Array);
      return hash.digest('hex');
    });
  }
}
