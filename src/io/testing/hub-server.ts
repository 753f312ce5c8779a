/**
 * A hub on loopback: repositories over HTTP as the Hugging Face Hub serves them. Small files come at once, weights and
 * parquet by a redirect to a storage server of another origin, which can cut connections, ignore ranges or fall silent.
 */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Repository {
  readonly commit: string;
  readonly files: Readonly<Record<string, Uint8Array | string>>;
  /** Needs a token to be seen. */
  readonly isPrivate?: boolean;
  /** Refused to everyone. */
  readonly isGated?: boolean;
}

/** How storage misbehaves; may be changed at any time. */
export interface Faults {
  /** Bytes after which each answer is cut, as long as `cuts` last. */
  cutAfter?: number;
  cuts?: number;
  /** Answers 200 with everything, whatever the range. */
  ignoresRanges?: boolean;
  /** Sends this instead of the content. */
  wrongContent?: Uint8Array;
  /** Never answers. */
  isSilent?: boolean;
  /** Answers 503 this many times first, on the hub. */
  busy?: number;
  /** Does not know HEAD. */
  hasNoHead?: boolean;
  /** Says neither the commit nor what an error is about. */
  isPlain?: boolean;
}

export interface RequestRecord {
  readonly method: string;
  /** `hub` or `storage`. */
  readonly server: string;
  readonly url: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
  readonly status: number;
}

type Headers = Record<string, string | number>;

interface Answer {
  readonly status: number;
  readonly headers?: Headers;
  readonly body?: Uint8Array;
}

export const TOKEN = 'hf_test';
const bytesOf = (content: Uint8Array | string) =>
  typeof content === 'string' ? new TextEncoder().encode(content) : content;
export const sha256 = (content: Uint8Array | string) => createHash('sha256').update(content).digest('hex');
export const gitEtag = (content: Uint8Array | string) => createHash('sha1').update(content).digest('hex');

const listen = (server: Server) =>
  new Promise<string>((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`));
  });

export class HubServer {
  endpoint = '';
  storage = '';
  readonly requests: RequestRecord[] = [];
  faults: Faults = {};
  private readonly blobs = new Map<string, Uint8Array>();
  private readonly hub = createServer((request, response) => this.serveHub(request, response));
  private readonly store = createServer((request, response) => this.serveStorage(request, response));

  /** @param repositories by id; a text stands for the id that the repository moved to */
  constructor(readonly repositories: Record<string, Repository | string>) {}

  async start(): Promise<void> {
    this.endpoint = await listen(this.hub);
    this.storage = await listen(this.store);
  }

  async stop(): Promise<void> {
    for (const server of [this.hub, this.store]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  /** Paths asked of the hub since the last call, with their methods. */
  takeRequests(): RequestRecord[] {
    return this.requests.splice(0);
  }

  private record(server: string, { method = '', url = '', headers }: IncomingMessage, status: number): void {
    this.requests.push({ method, server, url, range: headers.range, authorization: headers.authorization, status });
  }

  private serveHub(request: IncomingMessage, response: ServerResponse): void {
    const { status, headers = {}, body } = this.answerOf(request);
    this.record('hub', request, status);
    response.writeHead(status, headers);
    response.end(request.method === 'HEAD' ? undefined : body);
  }

  private answerOf(request: IncomingMessage): Answer {
    if (this.faults.busy) {
      this.faults.busy--;
      return { status: 503 };
    }
    if (request.method === 'HEAD' && this.faults.hasNoHead) return { status: 405 };
    const [, id, revision, path] = /^\/(.+)\/resolve\/([^/]+)\/(.+)$/.exec(request.url ?? '') ?? [];
    const repository = this.repositories[id];
    if (typeof repository === 'string') {
      return { status: 307, headers: { Location: `/${repository}/resolve/${revision}/${path}` } };
    }
    if (!repository || (repository.isPrivate && request.headers.authorization !== `Bearer ${TOKEN}`)) {
      return { status: 401, headers: { 'X-Error-Code': 'RepoNotFound' } };
    }
    if (repository.isGated) return { status: 403, headers: { 'X-Error-Code': 'GatedRepo' } };
    if (!['main', 'refs/convert/parquet', repository.commit].includes(decodeURIComponent(revision))) {
      return { status: 404, headers: { 'X-Error-Code': 'RevisionNotFound' } };
    }
    return this.fileOf(repository, decodeURIComponent(path));
  }

  private fileOf(repository: Repository, path: string): Answer {
    const commit: Headers = this.faults.isPlain ? {} : { 'X-Repo-Commit': repository.commit };
    const content = repository.files[path];
    if (content === undefined) {
      return { status: 404, headers: this.faults.isPlain ? {} : { ...commit, 'X-Error-Code': 'EntryNotFound' } };
    }
    const body = bytesOf(content);
    if (!/\.(safetensors|parquet)$/.test(path)) {
      return { status: 200, headers: { ...commit, ETag: `W/"${gitEtag(body)}"`, 'Content-Length': body.length }, body };
    }
    const hash = sha256(body);
    this.blobs.set(hash, body);
    const linked = { 'X-Linked-Etag': `"${hash}"`, 'X-Linked-Size': body.length, Location: `${this.storage}/${hash}` };
    return { status: 302, headers: { ...commit, ...linked } };
  }

  private serveStorage(request: IncomingMessage, response: ServerResponse): void {
    if (this.faults.isSilent) {
      this.record('storage', request, 0);
      return;
    }
    const content = this.faults.wrongContent ?? this.blobs.get(request.url!.slice(1))!;
    const start = this.faults.ignoresRanges ? undefined : /^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1];
    const from = Number(start ?? 0);
    const status = start === undefined ? 200 : from < content.length ? 206 : 416;
    this.record('storage', request, status);
    const range = { 'Content-Range': `bytes ${from}-${content.length - 1}/${content.length}` };
    const body = status === 416 ? new Uint8Array() : content.subarray(from);
    response.writeHead(status, { 'Content-Length': body.length, ETag: '"of-the-storage"', ...(start && range) });
    if (this.faults.cuts && this.faults.cutAfter !== undefined) {
      this.faults.cuts--;
      response.write(body.subarray(0, this.faults.cutAfter), () => response.socket?.destroy());
    } else {
      response.end(body);
    }
  }
}
