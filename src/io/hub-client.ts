/**
 * Files of the Hugging Face Hub over HTTP: what a file is (one HEAD request), and its bytes, resumed where an earlier
 * download was cut off. The server names the commit and the content's etag in headers of the `resolve` address; big
 * files are redirected to a storage server that knows neither the token nor those headers.
 *
 * Not @huggingface/hub's `downloadFileToCacheDir`: it starts again from nothing after a cut, and checks neither the
 * length nor the checksum of what arrived.
 */
import { EnvironmentError } from '../core/index.ts';
import { type FileSystem, formatBytes, type WritableFile } from './files.ts';
import { Exchange, NetworkError, PassingFault } from './http-exchange.ts';
import type { HubSettings } from './hub-settings.ts';

export interface ClientOptions {
  fetch?: typeof fetch;
  /** Aborts the download; what has arrived stays and is resumed next time. */
  signal?: AbortSignal;
  /** Silence after which a request is given up; 30 s by default. */
  timeoutMs?: number;
  /** Wait before the first new attempt, doubled for each further one; 500 by default. */
  retryDelayMs?: number;
  /** Attempts without any progress before giving up; 5 by default. */
  attempts?: number;
}

/** Address of a file of a repository. */
export interface RemotePath {
  readonly id: string;
  /** Branch, tag or commit. */
  readonly revision: string;
  readonly path: string;
}

export interface RemoteFile {
  readonly at: RemotePath;
  /** Commit that the revision stands for; null from a server that does not say. */
  readonly commit: string | null;
  /** Name of the content; null from a server that does not say. */
  readonly etag: string | null;
  readonly bytes: number | null;
  readonly sha256: string | null;
}

/** Called with the bytes received so far, and the total if known. */
export type ReceiveProgress = (received: number, total: number | null) => void;

const MOST_REDIRECTS = 5;
const BUSY_STATUSES = [408, 425, 429, 500, 502, 503, 504];
const DEFAULTS = { timeoutMs: 30_000, retryDelayMs: 500, attempts: 5 };

export class HubClient {
  private readonly options: ClientOptions & typeof DEFAULTS & { fetch: typeof fetch };

  constructor(
    private readonly settings: Pick<HubSettings, 'endpoint' | 'token'>,
    options: ClientOptions = {},
  ) {
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    this.options = { ...DEFAULTS, fetch: globalThis.fetch, ...Object.fromEntries(given) };
  }

  /**
   * What a file is, or undefined if the repository has none of that name.
   * @param isKnown whether another file of the repository was found: then any 404 is about the file
   * @throws NetworkError without a connection; EnvironmentError if the model, its revision or the right to it is missing
   */
  async describe(at: RemotePath, isKnown = false): Promise<RemoteFile | undefined> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.head(at, isKnown);
      } catch (error) {
        if (!(error instanceof PassingFault)) throw error;
        if (attempt >= this.options.attempts) {
          throw new EnvironmentError(`${this.urlOf(at)}: ${error.message}`, ['try again later']);
        }
        await this.wait(attempt);
      }
    }
  }

  private async head(at: RemotePath, isKnown: boolean): Promise<RemoteFile | undefined> {
    let url = this.urlOf(at);
    let method = 'HEAD';
    let commit: string | null = null;
    for (let hop = 0; hop <= MOST_REDIRECTS; hop++) {
      const { status, headers } = await this.answerTo(url, method);
      commit ??= commitName(headers.get('x-repo-commit'));
      const linked = headers.get('x-linked-etag');
      const location = headers.get('location');
      if ((status === 405 || status === 501) && method === 'HEAD') {
        method = 'GET';
      } else if (status >= 300 && status < 400 && location && !linked) {
        url = new URL(location, url).href;
      } else if (status >= 400) {
        if (status === 404 && isEntryMissing(headers, isKnown || commit !== null)) return undefined;
        throw this.refusal(status, headers, at);
      } else {
        const etag = cleanEtag(linked ?? headers.get('etag'));
        const length = headers.get(linked ? 'x-linked-size' : 'content-length');
        const sha256 = linked && etag && /^[0-9a-f]{64}$/.test(etag) ? etag : null;
        return { at, commit, etag, bytes: length === null ? null : Number(length), sha256 };
      }
    }
    throw new EnvironmentError(`${this.urlOf(at)}: more than ${MOST_REDIRECTS} redirects`, ['check HF_ENDPOINT']);
  }

  /** Status and headers of an address itself, redirects not followed. */
  private async answerTo(url: string, method: string): Promise<Response> {
    const headers = { ...this.authorization(url), 'Accept-Encoding': 'identity' };
    const exchange = await Exchange.start(url, { method, headers, redirect: 'manual' }, this.options);
    exchange.close();
    return exchange.response;
  }

  /**
   * Brings a file's bytes into `path`, continuing what is there, until it is complete and synced.
   * @throws EnvironmentError if the download stays cut off; what has arrived stays in `path`
   */
  async download(remote: RemoteFile, files: FileSystem, path: string, progress: ReceiveProgress): Promise<void> {
    const target = await files.openWritable(path);
    try {
      for (let failures = 0; ; ) {
        const before = target.size;
        try {
          await this.receive(remote, target, progress);
          break;
        } catch (error) {
          if (!(error instanceof PassingFault || error instanceof NetworkError)) throw error;
          failures = target.size > before ? 1 : failures + 1;
          if (failures >= this.options.attempts) throw this.cutOff(remote, target.size, error);
        }
        await this.wait(failures);
      }
      await target.sync();
    } finally {
      await target.close();
    }
  }

  /** One request for the rest of a file. */
  private async receive(remote: RemoteFile, target: WritableFile, progress: ReceiveProgress): Promise<void> {
    const { at } = remote;
    let { bytes } = remote;
    if (bytes !== null && target.size > bytes) await target.truncate(0);
    progress(target.size, bytes);
    if (bytes !== null && target.size === bytes) return;
    const url = this.urlOf(at);
    const range: Record<string, string> = target.size > 0 ? { Range: `bytes=${target.size}-` } : {};
    const headers = { ...this.authorization(url), 'Accept-Encoding': 'identity', ...range };
    const exchange = await Exchange.start(url, { headers }, this.options);
    try {
      await this.alignTo(exchange.response, target, at);
      bytes ??= totalOf(exchange.response);
      for await (const chunk of exchange.chunks()) {
        await target.write(chunk);
        if (bytes !== null && target.size > bytes) {
          await target.truncate(0);
          throw new PassingFault(`more bytes than the ${bytes} announced`);
        }
        progress(target.size, bytes);
      }
    } finally {
      exchange.close();
    }
    if (bytes !== null && target.size < bytes) throw new PassingFault('the connection was cut');
  }

  /** Makes the target end where the answer's body begins. */
  private async alignTo({ status, headers }: Response, target: WritableFile, at: RemotePath): Promise<void> {
    if (status === 200) {
      if (target.size > 0) await target.truncate(0);
      return;
    }
    if (status !== 206 && status !== 416) throw this.refusal(status, headers, at);
    const start = /^bytes (\d+)-/.exec(headers.get('content-range') ?? '')?.[1];
    if (status === 206 && Number(start) === target.size) return;
    await target.truncate(0);
    throw new PassingFault(`cannot be resumed (${status}, content-range ${headers.get('content-range')})`);
  }

  private urlOf({ id, revision, path }: RemotePath): string {
    const file = path.split('/').map(encodeURIComponent).join('/');
    return `${this.settings.endpoint}/${id}/resolve/${encodeURIComponent(revision)}/${file}`;
  }

  /** The token goes to the hub alone, never to where it redirects to. */
  private authorization(url: string): Record<string, string> {
    const { token, endpoint } = this.settings;
    const isHub = new URL(url).origin === new URL(endpoint).origin;
    return token && isHub ? { Authorization: `Bearer ${token}` } : {};
  }

  private refusal(status: number, headers: Headers, { id, revision, path }: RemotePath): Error {
    if (BUSY_STATUSES.includes(status)) return new PassingFault(`the server is busy (${status})`);
    const { endpoint, token } = this.settings;
    const code = headers.get('x-error-code');
    if (code === 'RevisionNotFound') {
      const remedy = isDataset(id) ? 'look for it there' : 'check --revision';
      return new EnvironmentError(`${nounOf(id)} on ${endpoint} has no revision ${revision}`, [remedy]);
    }
    if (status === 403 || code === 'GatedRepo') {
      const remedy = `accept its terms on ${endpoint}/${id} and set HF_TOKEN to a token that may read it`;
      return new EnvironmentError(`access to ${nounOf(id)} is refused (${status})`, [remedy]);
    }
    if (status === 401 || status === 404) {
      const remedies = ['check the id', token ? 'check HF_TOKEN' : 'set HF_TOKEN if it is private'];
      return new EnvironmentError(`no ${nounOf(id)} on ${endpoint} (${status})`, remedies);
    }
    return new EnvironmentError(`${endpoint} answers ${status} to ${id}/${path}`, ['try again later']);
  }

  private cutOff({ at, bytes }: RemoteFile, received: number, reason: Error): EnvironmentError {
    const whole = bytes === null ? '' : ` of ${formatBytes(bytes)}`;
    const why = reason.message.split(';')[0];
    const problem = `${at.id}/${at.path}: cut off after ${formatBytes(received)}${whole} (${why})`;
    return new EnvironmentError(problem, ['run the same command again: it resumes']);
  }

  private async wait(attempt: number): Promise<void> {
    const delayMs = this.options.retryDelayMs * 2 ** (attempt - 1);
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    this.options.signal?.throwIfAborted();
  }
}

const isDataset = (id: string): boolean => id.startsWith('datasets/');

/** `model org/name`, or `data set org/name`, of an id as in addresses. */
const nounOf = (id: string): string => (isDataset(id) ? `data set ${id.slice('datasets/'.length)}` : `model ${id}`);

/** Length of the whole file, by an answer that carries it or its end. */
function totalOf({ status, headers }: Response): number | null {
  const total =
    status === 206 ? /\/(\d+)$/.exec(headers.get('content-range') ?? '')?.[1] : headers.get('content-length');
  return total ? Number(total) : null;
}

/** True if a 404 says that the repository exists and the file does not. */
function isEntryMissing(headers: Headers, isKnown: boolean): boolean {
  const code = headers.get('x-error-code');
  return code === 'EntryNotFound' || (code === null && isKnown);
}

/** An etag as a file name; weak marks and quotes dropped. */
function cleanEtag(etag: string | null): string | null {
  const name =
    etag
      ?.replace(/^W\//, '')
      .replace(/"/g, '')
      .replace(/[^\w.-]/g, '_') ?? '';
  return /[^.]/.test(name) ? name : null;
}

/** A commit as a folder name, or null if it cannot be one. */
const commitName = (commit: string | null): string | null => (commit && /^[\w-]+$/.test(commit) ? commit : null);
