/**
 * The compiled module: which of the four binaries this engine and page can use, and where it comes from. What it is
 * not: it makes no instances.
 */
import { EnvironmentError } from '../../core/index.ts';
import { openFile } from './platform.ts';

/** Names of the binaries that scripts/build-wasm.mjs makes. */
export type WasmFile = 'krait.wasm' | 'krait-threads.wasm' | 'krait-relaxed.wasm' | 'krait-relaxed-threads.wasm';
type Compilable = WebAssembly.Module | BufferSource | Response;
/** A module, its bytes, or a function that fetches the binary that is needed: `(file) => fetch('/assets/' + file)`. */
export type WasmSource = WebAssembly.Module | BufferSource | ((file: WasmFile) => Compilable | Promise<Compilable>);

// () -> v128, made of: i32.const 0, i8x16.splat, i8x16.popcnt
const SIMD = [0x41, 0, 0xfd, 0x0f, 0xfd, 0x62];
// the same type: three times i32.const 0, i8x16.splat, then f32x4.relaxed_madd
const RELAXED = [0x41, 0, 0xfd, 0x0f, 0x41, 0, 0xfd, 0x0f, 0x41, 0, 0xfd, 0x0f, 0xfd, 0x85, 0x02];

function runs(code: readonly number[]): boolean {
  if (typeof WebAssembly !== 'object') return false;
  const [magic, version] = [
    [0, 0x61, 0x73, 0x6d],
    [1, 0, 0, 0],
  ];
  const types = [1, 5, 1, 0x60, 0, 1, 0x7b];
  const body = [0, ...code, 0x0b];
  const functions = [3, 2, 1, 0, 10, body.length + 2, 1, body.length];
  return WebAssembly.validate(Uint8Array.from([...magic, ...version, ...types, ...functions, ...body]));
}

export const hasSimd = (): boolean => runs(SIMD);
/** True if the machine can fuse products with sums: faster, and rounded once instead of twice. */
const hasRelaxedSimd = (): boolean => runs(RELAXED);

const fileOf = (shared: boolean, relaxed: boolean): WasmFile =>
  `krait${relaxed ? '-relaxed' : ''}${shared ? '-threads' : ''}.wasm`;

/** Places of a binary: beside the package's modules, or in the build folder of the repository. */
function places(file: WasmFile): URL[] {
  const published = new URL(`../../wasm/${file}`, import.meta.url);
  const built = new URL(`../../../build/wasm/${file}`, import.meta.url);
  return built.protocol === 'file:' ? [built, published] : [published, built];
}

async function compile(from: Compilable, name: string): Promise<WebAssembly.Module> {
  if (from instanceof WebAssembly.Module) return from;
  try {
    if (!('arrayBuffer' in from)) return await WebAssembly.compile(from);
    if (!from.ok) throw new Error(`the server answered ${from.status}`);
    return await WebAssembly.compile(await from.arrayBuffer());
  } catch (error) {
    throw new EnvironmentError(`${name} cannot be used: ${(error as Error).message}`, [
      'build it again with node scripts/build-wasm.mjs',
    ]);
  }
}

async function find(file: WasmFile): Promise<WebAssembly.Module | undefined> {
  for (const place of places(file)) {
    const content = await openFile(place);
    if (content) return compile(content, file);
  }
  return undefined;
}

const found = new Map<WasmFile, Promise<WebAssembly.Module | undefined>>();

/** A binary from where the build left it, compiled once; undefined if it is not there. */
function loadFile(file: WasmFile): Promise<WebAssembly.Module | undefined> {
  let module = found.get(file);
  if (!module) {
    module = find(file);
    found.set(file, module);
    const forget = () => found.delete(file); // it may be built later
    module.then((content) => content ?? forget(), forget);
  }
  return module;
}

export interface LoadedModule {
  readonly module: WebAssembly.Module;
  readonly file: WasmFile;
  readonly relaxed: boolean;
}

/**
 * The module for memory that is shared or not, from `source` or from where the build left it. Unless `relaxed` says
 * which, it is the relaxed one where there is one that the engine runs; bytes or a module from the caller are taken as they are.
 * @throws EnvironmentError if it is not there or cannot be compiled
 */
export async function loadModule(shared: boolean, relaxed?: boolean, source?: WasmSource): Promise<LoadedModule> {
  const given = source !== undefined && typeof source !== 'function';
  const choices = relaxed !== undefined ? [relaxed] : !given && hasRelaxedSimd() ? [true, false] : [false];
  for (const choice of choices) {
    const file = fileOf(shared, choice);
    if (given) return { module: await compile(source, 'wasmModule'), file, relaxed: choice };
    const module = source ? await compile(await source(file), file) : await loadFile(file);
    if (module) return { module, file, relaxed: choice };
  }
  throw new EnvironmentError(`${fileOf(shared, false)} is not built`, [
    'run node scripts/build-wasm.mjs',
    'give its bytes as wasmModule',
  ]);
}
