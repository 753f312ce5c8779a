/**
 * What differs between Node and browsers for the WASM device: finding files, threads, how many of them, whether memory can
 * be shared and a thread may sleep. What it is not: it knows nothing of kernels or queues.
 */
import type { Worker as NodeWorker } from 'node:worker_threads';

type WorkerThreads = typeof import('node:worker_threads');
type FileSystem = typeof import('node:fs/promises');

/** A module of Node. The name is not a literal at the place of import, so bundlers for browsers leave it alone. */
const nodeModule = <T>(name: string): Promise<T> => import(/* @vite-ignore */ /* webpackIgnore: true */ name);

const nodeProcess = (globalThis as { process?: { versions?: { node?: string }; env?: Record<string, string> } })
  .process;
export const isNode = nodeProcess?.versions?.node !== undefined;

/** A variable of the environment; undefined in browsers. */
export const environmentVariable = (name: string): string | undefined =>
  isNode ? nodeProcess?.env?.[name] : undefined;

/** Cores that this program may use. */
export async function coreCount(): Promise<number> {
  if (isNode) return (await nodeModule<typeof import('node:os')>('node:os')).availableParallelism();
  return (globalThis as { navigator?: { hardwareConcurrency?: number } }).navigator?.hardwareConcurrency ?? 1;
}

/** Whether threads can share memory here: always in Node, in browsers on pages that are cross-origin isolated. */
export function canShareMemory(): boolean {
  const { crossOriginIsolated } = globalThis as { crossOriginIsolated?: boolean };
  return typeof SharedArrayBuffer === 'function' && crossOriginIsolated !== false;
}

/** Whether this thread may sleep: the main thread of a page may not. `words` is over shared memory. */
export function maySleep(words: Int32Array): boolean {
  try {
    Atomics.wait(words, 0, ~Atomics.load(words, 0), 0);
    return true;
  } catch {
    return false;
  }
}

/** Content of a file of this package, to be compiled; undefined if there is none at `url`. */
export async function openFile(url: URL): Promise<Uint8Array<ArrayBuffer> | Response | undefined> {
  if (isNode && url.protocol === 'file:') {
    const { readFile } = await nodeModule<FileSystem>('node:fs/promises');
    try {
      return new Uint8Array(await readFile(url));
    } catch (error) {
      if ((error as { code?: string }).code === 'ENOENT') return undefined;
      throw error;
    }
  }
  const response = await fetch(url);
  return response.ok ? response : undefined;
}

/** A thread that runs a script of its own. */
export interface Thread {
  post(message: object): void;
  /** Whether it keeps the program from ending. It does at first; browsers have no such notion. */
  keepAlive(on: boolean): void;
  stop(): void;
}

export interface ThreadEvents {
  message(data: Record<string, unknown>): void;
  /** Called when it has ended or cannot start; at most once, never after `stop`. */
  failed(reason: string): void;
}

/** Starts `source`, a script without imports, on a thread. */
export async function startThread(source: string, events: ThreadEvents): Promise<Thread> {
  return isNode
    ? startNodeThread(await nodeModule<WorkerThreads>('node:worker_threads'), source, events)
    : startWebThread(source, events);
}

function once(failed: (reason: string) => void) {
  let isOver = false;
  return {
    end: () => {
      isOver = true;
    },
    fail: (reason: string) => {
      if (isOver) return;
      isOver = true;
      failed(reason);
    },
  };
}

function startNodeThread({ Worker }: WorkerThreads, source: string, events: ThreadEvents): Thread {
  const life = once(events.failed);
  // No loaders and no environment: the script needs neither.
  const worker: NodeWorker = new Worker(source, { eval: true, execArgv: [], env: {}, name: 'krait' });
  worker.on('message', events.message);
  worker.on('error', (error) => life.fail(error.message));
  worker.on('exit', (code) => life.fail(`it ended with exit code ${code}`));
  return {
    post: (message) => worker.postMessage(message),
    keepAlive: (on) => (on ? worker.ref() : worker.unref()),
    stop: () => {
      life.end();
      void worker.terminate();
    },
  };
}

function startWebThread(source: string, events: ThreadEvents): Thread {
  const life = once(events.failed);
  const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  const worker = new Worker(url, { name: 'krait' });
  worker.onmessage = ({ data }) => {
    URL.revokeObjectURL(url);
    events.message(data);
  };
  worker.onerror = (event) =>
    life.fail(event.message || 'it could not be started (does the page allow blob: workers?)');
  return {
    post: (message) => worker.postMessage(message),
    keepAlive: () => {},
    stop: () => {
      life.end();
      worker.terminate();
    },
  };
}

/** Calls `work` soon, after timers and input had their turn. Returns a function that says whether it keeps the program alive. */
export function soon(work: () => void): (keepsAlive: boolean) => void {
  if (typeof setImmediate === 'function') {
    const handle = setImmediate(work) as { ref?(): void; unref?(): void };
    return (keepsAlive) => (keepsAlive ? handle.ref?.() : handle.unref?.());
  }
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    port1.close();
    work();
  };
  port2.postMessage(0);
  return () => {};
}
