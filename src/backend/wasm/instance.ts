/**
 * One instance of the WASM module as TypeScript sees it: its functions (native/wasm), its kernels by name, and where
 * in an entry of the queue things stand.
 */
import type { WasmMemory } from './memory.ts';

interface Exports {
  kernel_count(): number;
  kernel_name(index: number): number;
  layout(): number;
  /** Plans the entry at `entry`. 0, or 1 + the index of the tensor whose dtype is refused. */
  plan(entry: number, threads: number): number;
  phases(entry: number): number;
  units(entry: number, phase: number): number;
  grain(entry: number, phase: number): number;
  run(entry: number, phase: number, begin: number, end: number): void;
  readonly __heap_base: WebAssembly.Global;
  readonly __stack_pointer: WebAssembly.Global;
  __wasm_call_ctors?(): void;
}

/** The numbers that `layout` of native/wasm/threads.cc writes, in its order. Addresses and sizes are in bytes. */
const LAYOUT = [
  'mostThreads',
  'capacity',
  'entryBytes',
  'ring',
  'draft',
  'scratchBytesAt',
  'kindAt',
  'scratchAt',
  'tail',
  'asleep',
  'head',
  'wantsRoom',
  'failed',
  'timesAt',
] as const;
export type Layout = Readonly<Record<(typeof LAYOUT)[number], number>>;

/** Kinds of entries (native/wasm/queue.h). */
export const RUN = 0;
export const WRITE = 1;
export const READ = 2;
/** 32-bit words from `kindAt` on. Those of a RUN are its kind and, as the ticket, whether it is to be timed. */
export const WORDS = { kind: 0, ticket: 1, to: 2, from: 3, bytes: 4 } as const;

export interface Instance {
  readonly exports: Exports;
  readonly layout: Layout;
  /** Names of the kernels, by number. */
  readonly kernels: readonly string[];
  readonly memory: WasmMemory;
}

function text(bytes: Uint8Array, at: number): string {
  let end = at;
  while (bytes[end] !== 0) end++;
  return String.fromCharCode(...bytes.subarray(at, end));
}

/**
 * The instance of the calling thread, which must be the first over `memory`: it fills in the module's constants.
 * @throws WebAssembly.LinkError if one of module and memory is for shared memory, and the other is not
 */
export async function instantiate(module: WebAssembly.Module, memory: WasmMemory): Promise<Instance> {
  const instance = await WebAssembly.instantiate(module, {
    env: { memory: memory.memory, send: () => {}, now: () => 0 },
  });
  const exports = instance.exports as unknown as Exports;
  exports.__wasm_call_ctors?.();
  memory.startAt(exports.__heap_base.value);
  const kernels = Array.from({ length: exports.kernel_count() }, (_, index) =>
    text(memory.bytes, exports.kernel_name(index)),
  );
  const words = memory.words.subarray(exports.layout() / 4);
  const layout = Object.fromEntries(LAYOUT.map((name, i) => [name, words[i]])) as Layout;
  return { exports, layout, kernels, memory };
}
