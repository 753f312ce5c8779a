/** One HTTP request whose faults are KraitErrors, and which is given up when the server falls silent. */
import { EnvironmentError } from '../core/index.ts';
import { oneLine } from './json.ts';

/** The server cannot be reached or went away. */
export class NetworkError extends EnvironmentError {}

/** An answer or a cut that another attempt may mend. */
export class PassingFault extends Error {}

export interface ExchangeOptions {
  readonly fetch: typeof fetch;
  /** Silence after which the request is given up. */
  readonly timeoutMs: number;
  /** Aborts the request. */
  readonly signal?: AbortSignal;
}

/** A request under way; `close` it. */
export class Exchange {
  private constructor(
    readonly response: Response,
    private readonly url: string,
    private readonly watch: Watch,
  ) {}

  /**
   * Sends a request and waits for the head of the answer, whatever its status.
   * @throws NetworkError without an answer; the signal's reason if it was aborted
   */
  static async start(url: string, init: RequestInit, options: ExchangeOptions): Promise<Exchange> {
    const watch = new Watch(options);
    try {
      const response = await options.fetch(url, { ...init, signal: watch.signal });
      watch.touch();
      return new Exchange(response, url, watch);
    } catch (error) {
      watch.stop();
      throw watch.explain(url, error);
    }
  }

  /** The body as it arrives. */
  async *chunks(): AsyncGenerator<Uint8Array> {
    const reader = this.response.body?.getReader();
    if (!reader) return;
    for (;;) {
      const part = await reader.read().catch((error) => {
        throw this.watch.explain(this.url, error);
      });
      this.watch.touch();
      if (part.done) return;
      yield part.value;
    }
  }

  /** Ends the request; what has not arrived is not waited for. */
  close(): void {
    this.watch.stop();
    this.watch.abort();
  }
}

/** Aborts a request when the caller does, or when nothing has come for too long. */
class Watch {
  private readonly controller = new AbortController();
  private readonly onAbort = () => this.controller.abort();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private isSilent = false;

  constructor(private readonly options: ExchangeOptions) {
    options.signal?.throwIfAborted();
    options.signal?.addEventListener('abort', this.onAbort, { once: true });
    this.touch();
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** Something came: wait anew. */
  touch(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.isSilent = true;
      this.controller.abort();
    }, this.options.timeoutMs);
  }

  stop(): void {
    clearTimeout(this.timer);
    this.options.signal?.removeEventListener('abort', this.onAbort);
  }

  abort(): void {
    this.controller.abort();
  }

  explain(url: string, error: unknown): unknown {
    if (this.options.signal?.aborted) return this.options.signal.reason;
    const { cause } = error as { cause?: { code?: string; message?: string } };
    const detail = this.isSilent ? `silent for ${this.options.timeoutMs} ms` : (cause?.code ?? oneLine(cause ?? error));
    return new NetworkError(`${new URL(url).origin} cannot be reached (${detail})`, [
      'check the connection and HF_ENDPOINT',
      'give the folder of a model that is on this machine',
    ]);
  }
}
