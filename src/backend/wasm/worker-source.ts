/**
 * The script of the device's threads, as text: one source for Node and browsers that needs no file at run time.
 * A thread gets one message, makes its own instance of the module over the shared memory, with a stack of its own, and
 * goes into `serve`, which never returns: it is ended from outside.
 */

/** The message that starts a thread. */
export interface ThreadStart {
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  /** Address of the end of its stack. */
  stackTop: number;
  /** Number of this thread, from 0 to `threads` - 1; number 0 leads. */
  part: number;
  threads: number;
  /** `performance.timeOrigin` of the thread that starts it, whose clock it tells the time by. */
  timeOrigin: number;
  /** Indexes of 32-bit words: what others look at, and sleep on, when this thread fails. */
  failed: number;
  head: number;
}

/** Messages of threads: `ready` first; then `copy` or `error` for a read, `room` for the queue; `failed` last. */
export type ThreadMessage =
  | { ready: true }
  | { ticket: number; copy: Uint8Array<ArrayBuffer> }
  | { ticket: number; error: string }
  | { room: true }
  | { failed: string };

export const WORKER_SOURCE = `'use strict';
const isNode = typeof require === 'function';
const port = isNode ? require('node:worker_threads').parentPort : self;

function start({ module, memory, stackTop, part, threads, timeOrigin, failed, head }) {
  let bytes = new Uint8Array(memory.buffer);
  const read = (from, length) => {
    if (from + length > bytes.byteLength) {
      memory.grow(0); // another thread has grown it: brings the buffer up to date
      bytes = new Uint8Array(memory.buffer);
    }
    return bytes.slice(from, from + length);
  };
  const send = (ticket, from, length) => {
    ticket >>>= 0;
    if (ticket === 0) return port.postMessage({ room: true });
    try {
      const copy = new Uint8Array(read(from >>> 0, length >>> 0));
      port.postMessage({ ticket, copy }, [copy.buffer]);
    } catch (error) {
      port.postMessage({ ticket, error: String(error && error.message || error) });
    }
  };
  const ahead = performance.timeOrigin - timeOrigin;
  const now = () => performance.now() + ahead;
  try {
    const { exports } = new WebAssembly.Instance(module, { env: { memory, send, now } });
    exports.__stack_pointer.value = stackTop;
    port.postMessage({ ready: true });
    exports.serve(part, threads);
  } catch (error) {
    const words = new Int32Array(memory.buffer);
    Atomics.store(words, failed, 1);
    Atomics.notify(words, head);
    port.postMessage({ failed: String(error && error.message || error) });
  }
}

if (isNode) port.once('message', start);
else port.onmessage = (event) => start(event.data);
`;
