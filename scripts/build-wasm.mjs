/**
 * Builds the WASM device from native/kernels and native/wasm into build/wasm:
 *   krait.wasm                 for one thread and memory of its own
 *   krait-threads.wasm         for workers that share memory
 *   krait-relaxed.wasm, krait-relaxed-threads.wasm   the same, with fused multiply-add in the matrix product
 *
 * The compiler is npm's `@yowasp/clang`, which runs in WASM itself, so that a machine needs nothing but Node; a clang
 * of the system (18 or newer, with wasm-ld) takes its place where there is one.
 *
 *   node scripts/build-wasm.mjs [--quiet] [--partial]
 *     --quiet    no line on success
 *     --partial  link without the kernel files that do not compile (their kernels are then missing): for work on kernels
 *   KRAIT_CLANG=yowasp | <path of clang++, whose folder or PATH holds wasm-ld>   chooses the compiler
 *
 * Only what changed is compiled: an object's name holds a hash of its sources, flags and compiler. Exit code 1 if
 * something cannot be built.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findCompiler } from './wasm-compiler.mjs';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const BUILD = join(ROOT, 'build', 'wasm');
const OBJECTS = join(BUILD, 'obj');
const FOLDERS = ['native/kernels', 'native/wasm'];

// One set of objects serves both memories: atomic instructions are allowed on memory that is not shared.
const COMPILE = [
  '--target=wasm32',
  '-std=c++17',
  '-O3',
  '-msimd128',
  '-matomics',
  '-mbulk-memory',
  '-mnontrapping-fptoint',
  '-msign-ext',
  '-mmutable-globals',
  '-nostdlib',
  '-nostdlibinc',
  '-fno-exceptions',
  '-fno-rtti',
  '-fno-math-errno',
  '-fno-trapping-math',
  '-fvisibility=hidden',
  '-mllvm',
  '-disable-lsr',
  '-Wall',
  '-Wextra',
  '-Wno-unknown-pragmas',
  '-Inative/kernels',
  '-DKRAIT_VARIANT=simd128',
];
const LINK = [
  '--no-entry',
  '--gc-sections',
  '--strip-all',
  '--import-memory',
  '--stack-first',
  '-z',
  'stack-size=262144',
  '--initial-memory=8388608', // the queue's ring is most of it; src/backend/wasm/memory.ts gives as much
  '--max-memory=4294967296',
  '--export=__stack_pointer',
  '--export=__heap_base',
  '--export-if-defined=__wasm_call_ctors',
];
/** The product alone may fuse; there, contraction and relaxed SIMD together give fused multiply-add. */
const PRODUCT = 'matmul.cc';

const partial = process.argv.includes('--partial');
const quiet = process.argv.includes('--quiet');

async function list(folder, ending) {
  const path = join(ROOT, folder);
  if (!existsSync(path)) return [];
  const names = (await readdir(path)).filter((name) => name.endsWith(ending)).sort();
  return names.map((name) => `${folder}/${name}`);
}

/** All files of native/kernels and native/wasm by their path from the root. */
async function readSources() {
  const sources = new Map();
  for (const folder of FOLDERS) {
    for (const path of [...(await list(folder, '.h')), ...(await list(folder, '.cc'))]) {
      sources.set(path, await readFile(join(ROOT, path)));
    }
  }
  return sources;
}

function hashOf(...parts) {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex').slice(0, 24);
}

/** `path` and everything that it includes, by their names in `#include "..."`, which are told apart by name alone. */
function withIncludes(path, sources, found = new Set()) {
  found.add(path);
  for (const [, name] of sources
    .get(path)
    .toString()
    .matchAll(/^[ \t]*#[ \t]*include[ \t]*"([^"]+)"/gm)) {
    for (const other of sources.keys()) {
      if (basename(other) === basename(name) && !found.has(other)) withIncludes(other, sources, found);
    }
  }
  return found;
}

/** Every object: its source, flags, and the file it is cached in. */
function planObjects(compiler, sources) {
  const objects = [];
  const add = (path, tag, extra) => {
    const flags = [...COMPILE, `-ffp-contract=${basename(path) === PRODUCT ? 'fast' : 'off'}`, ...extra];
    const texts = [...withIncludes(path, sources)].sort().flatMap((file) => [file, sources.get(file)]);
    const hash = hashOf(compiler.id, ...flags, ...texts);
    objects.push({ path, tag, flags, file: join(OBJECTS, `${basename(path, '.cc')}.${tag}.${hash}.o`) });
  };
  for (const path of sources.keys()) {
    if (!path.endsWith('.cc')) continue;
    add(path, 'simd128', []);
    if (basename(path) === PRODUCT && compiler.fuses) add(path, 'relaxed', ['-mrelaxed-simd']);
  }
  return objects;
}

async function replaceFile(file, content) {
  const aside = `${file}.${process.pid}.tmp`;
  await writeFile(aside, content);
  await rename(aside, file);
}

/** Compiles what is not cached. Returns how many, and the failures with the compiler's words. */
async function compile(compiler, sources, objects) {
  const missing = objects.filter((object) => !existsSync(object.file));
  missing.sort((a, b) => sources.get(b.path).length - sources.get(a.path).length);
  const failures = [];
  await mkdir(OBJECTS, { recursive: true });
  await compiler.compileAll(missing, sources, async (object, { bytes, words }) => {
    if (bytes) await replaceFile(object.file, bytes);
    else failures.push(`${object.path} (${object.tag}):\n${words.trim()}`);
  });
  return { compiled: missing.length - failures.length, failures };
}

/** Links one output from the objects that exist; `relaxed` takes the product from its relaxed object. */
async function link(compiler, objects, name, { shared, relaxed }) {
  const inputs = new Map();
  for (const object of objects) {
    const isOther = basename(object.path) === PRODUCT && (object.tag === 'relaxed') !== relaxed;
    if (!isOther && existsSync(object.file)) inputs.set(basename(object.file), await readFile(object.file));
  }
  const { bytes, words } = await compiler.link([...LINK, ...(shared ? ['--shared-memory'] : [])], inputs);
  if (!bytes) throw new Error(`${name} could not be linked:\n${words.trim()}`);
  await WebAssembly.compile(bytes).catch((error) => {
    // An engine without relaxed SIMD cannot judge that output.
    if (!relaxed) throw new Error(`${name} is not valid: ${error.message}`);
  });
  await replaceFile(join(BUILD, name), bytes);
  return `${name} ${Math.round(bytes.length / 1024)} KiB`;
}

async function dropStale(objects) {
  const wanted = new Set(objects.map((object) => basename(object.file)));
  const hour = Date.now() - 3_600_000; // another build may be writing the young ones
  for (const name of await readdir(OBJECTS)) {
    const path = join(OBJECTS, name);
    if (!wanted.has(name) && (await stat(path)).mtimeMs < hour) await rm(path, { force: true });
  }
}

const OUTPUTS = {
  'krait.wasm': { shared: false, relaxed: false },
  'krait-threads.wasm': { shared: true, relaxed: false },
  'krait-relaxed.wasm': { shared: false, relaxed: true },
  'krait-relaxed-threads.wasm': { shared: true, relaxed: true },
};

/** Builds what is stale. Returns the line to print. */
async function build() {
  const started = performance.now();
  const compiler = await findCompiler(ROOT);
  const sources = await readSources();
  const objects = planObjects(compiler, sources);
  const outputs = Object.entries(OUTPUTS).filter(([, kind]) => !kind.relaxed || compiler.fuses);
  const wanted = hashOf(...LINK, ...objects.map((object) => basename(object.file)));
  const stamp = join(BUILD, 'krait.stamp');
  const isThere = outputs.every(([name]) => existsSync(join(BUILD, name)));
  if (isThere && existsSync(stamp) && (await readFile(stamp, 'utf8')) === wanted) return 'WASM device is up to date';

  const { compiled, failures } = await compile(compiler, sources, objects);
  const words = failures.join('\n');
  if (failures.length && !partial) throw new Error(`${failures.length} files do not compile:\n${words}`);
  if (failures.length) console.error(`krait: left out ${failures.length} files that do not compile:\n${words}`);
  const sizes = [];
  for (const [name, kind] of outputs) sizes.push(await link(compiler, objects, name, kind));
  for (const name of Object.keys(OUTPUTS)) {
    if (!outputs.some(([made]) => made === name)) await rm(join(BUILD, name), { force: true });
  }
  await replaceFile(stamp, failures.length ? 'partial' : wanted);
  await dropStale(objects);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  return `WASM device built (${sizes.join(', ')}), ${compiled} files in ${seconds} s with ${compiler.id}`;
}

try {
  const line = await build();
  if (!quiet) console.log(`krait: ${line}`);
} catch (error) {
  console.error(`krait: WASM device not built: ${error.message}`);
  process.exitCode = 1;
}
