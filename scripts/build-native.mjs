/**
 * Builds the native device, build/native/krait.node, with the C++ compiler of the machine: every file of
 * native/kernels once per instruction-set variant, and native/node. Without a compiler, or when it fails, the
 * package still works on WebAssembly, so both are told in one line or with the compiler's words, and exit 0.
 *
 *   node scripts/build-native.mjs [--strict] [--quiet] [--warnings] [--partial] [--out DIR] [--target NAME]
 *     --strict   exit 1 unless the addon is there
 *     --quiet    no line on success
 *     --warnings what the compiler says about files that it compiles
 *     --partial  link without the kernel files that do not compile (their kernels are then missing): for work on kernels
 *     --out DIR  build there instead of build/native
 *     --target NAME  build for that platform, such as linux-arm64 or win32-x64, by a compiler in CXX that builds for it:
 *                    scripts/release-build.ts does so with zig
 *
 * Only what changed is compiled: an object's name holds a hash of its sources, flags and compiler.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const KERNELS = join(ROOT, 'native', 'kernels');
const BINDING = join(ROOT, 'native', 'node');
const optionOf = (flag) =>
  process.argv.includes(flag) ? (process.argv[process.argv.indexOf(flag) + 1] ?? '') : undefined;
const out = optionOf('--out');
const BUILD = out === undefined ? join(ROOT, 'build', 'native') : resolve(out);
const target = optionOf('--target');
const [PLATFORM, ARCH] = target ? target.split('-') : [process.platform, process.arch];
const OBJECTS = join(BUILD, 'obj');
const ADDON = join(BUILD, 'krait.node');
const STAMP = join(BUILD, 'krait.stamp');
const JOBS = 2;

const FMA = ['-mavx2', '-mfma', '-mf16c'];
const AVX512 = [
  ...FMA,
  '-mavx512f',
  '-mavx512bw',
  '-mavx512vl',
  '-mavx512dq',
  '-mprefer-vector-width=512',
  '-Wno-uninitialized',
];
/**
 * Variants of each architecture, the widest first: the device takes the first that the machine can run. With `base`
 * only the product is built anew; the other kernels are those of the base.
 */
const VARIANTS = {
  x64: [
    { name: 'avx512bf16', flags: [...AVX512, '-mavx512bf16', '-mavx512vnni'], base: 'avx512' },
    { name: 'avx512', flags: AVX512 },
    { name: 'avx2', flags: FMA },
    { name: 'x86_64', flags: ['-march=x86-64'] }, // SSE2 alone: every 64-bit x86
  ],
  arm64: [{ name: 'neon', flags: [] }],
};
const PRODUCT = ['matmul.cc', 'catalogue.cc'];

const COMMON = [
  '-std=c++17',
  '-O3',
  '-fPIC',
  '-fvisibility=hidden',
  '-Wall',
  '-Wextra',
  '-Wno-unknown-pragmas',
  '-Wno-unknown-warning-option',
  '-Wno-maybe-uninitialized', // g++ 12 finds some, and with AVX-512 the other kind too, in its own headers
  '-Wno-psabi',
];
// Contraction is off so that elementwise kernels give the same bits in every variant; products want FMA, and scans ask for it.
const kernelFlags = (file) => [
  ...COMMON,
  '-fno-exceptions',
  '-fno-rtti',
  '-fno-math-errno',
  '-fno-trapping-math',
  `-ffp-contract=${basename(file) === 'matmul.cc' ? 'fast' : 'off'}`,
];

const strict = process.argv.includes('--strict');
const partial = process.argv.includes('--partial');
const warnings = process.argv.includes('--warnings');
const quiet = process.argv.includes('--quiet');
const say = (line) => quiet || console.log(line);

function run(command, args) {
  return new Promise((resolve) => {
    execFile(command, args, { maxBuffer: 1 << 26, windowsHide: true }, (error, stdout, stderr) => {
      resolve({ ok: !error, output: `${stdout}${stderr}` || (error ? error.message : '') });
    });
  });
}

/** The first compiler that answers, with its version line. Of zig, what runs its other tools is in `zig` too. */
async function findCompiler() {
  const wanted = process.env.CXX ? [process.env.CXX] : ['c++', 'g++', 'clang++'];
  for (const name of wanted) {
    const [command, ...extra] = name.trim().split(/\s+/);
    const subcommand = extra.indexOf('c++'); // zig alone takes `c++` as a word of its own
    const zig = subcommand < 0 ? undefined : extra.slice(0, subcommand);
    const answer = await run(command, zig ? [...zig, 'version'] : [...extra, '--version']);
    if (answer.ok) return { command, extra, zig, version: `${zig ? 'zig ' : ''}${answer.output.split('\n')[0]}` };
  }
  return undefined;
}

async function sourcesIn(folder) {
  const names = existsSync(folder) ? await readdir(folder) : [];
  return names
    .filter((name) => name.endsWith('.cc'))
    .sort()
    .map((name) => join(folder, name));
}

/** `file` and every file of the repository that it includes, directly or not. */
async function withIncludes(file, seen = new Map()) {
  if (seen.has(file)) return seen;
  const text = await readFile(file, 'utf8');
  seen.set(file, text);
  for (const [, name] of text.matchAll(/^\s*#\s*include\s+"([^"]+)"/gm)) {
    const path = join(dirname(file), name);
    if (existsSync(path)) await withIncludes(path, seen);
  }
  return seen;
}

async function hashOf(parts, source) {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${part}\0`);
  for (const [file, text] of await withIncludes(source)) hash.update(`${relative(ROOT, file)}\0${text}\0`);
  return hash.digest('hex').slice(0, 24);
}

/** Variants whose flags the compiler knows. */
async function usableVariants(compiler) {
  await mkdir(OBJECTS, { recursive: true });
  const probe = join(OBJECTS, `probe.${process.pid}.cc`);
  await writeFile(probe, '#if defined(__x86_64__)\n#include <immintrin.h>\n#endif\nint probe;\n');
  const usable = [];
  for (const { flags: given, ...rest } of VARIANTS[ARCH]) {
    const variant = { ...rest, flags: given.map((flag) => (compiler.zig ? flag.replace('x86-64', 'x86_64') : flag)) };
    const answer = await run(compiler.command, [...compiler.extra, ...variant.flags, '-c', probe, '-o', `${probe}.o`]);
    if (answer.ok) usable.push(variant);
    else say(`krait: variant ${variant.name} left out: ${compiler.version} does not know its flags`);
  }
  for (const file of [probe, `${probe}.o`]) await rm(file, { force: true });
  return usable;
}

/** Folder of the package that holds Node-API's headers and the names of its functions. */
const nodeApi = () => dirname(createRequire(import.meta.url).resolve('node-api-headers/package.json'));

/** Every object that the addon needs: source, flags, and the file it is cached in. */
async function planObjects(compiler, variants) {
  const include = join(nodeApi(), 'include');
  const objects = [];
  const add = async (source, tag, flags) => {
    const hash = await hashOf([compiler.command, ...compiler.extra, compiler.version, ...flags], source);
    objects.push({ source, flags, file: join(OBJECTS, `${basename(source, '.cc')}.${tag}.${hash}.o`) });
  };
  for (const { name, flags, base } of variants) {
    const defines = [`-DKRAIT_VARIANT=${name}`, ...(base ? [`-DKRAIT_BASE=${base}`] : [])];
    for (const source of await sourcesIn(KERNELS)) {
      if (base && !PRODUCT.includes(basename(source))) continue;
      await add(source, name, [...kernelFlags(source), ...flags, ...defines]);
    }
  }
  const list = variants.map(({ name }) => `X(${name})`).join(' ');
  for (const source of await sourcesIn(BINDING)) {
    await add(source, 'node', [...COMMON, '-pthread', `-I${include}`, `-DKRAIT_VARIANTS=${list}`]);
  }
  return objects;
}

/** Compiles what is not cached, JOBS at a time, the large files first. Returns the failures' output. */
async function compile(compiler, objects) {
  const missing = [];
  for (const object of objects) {
    if (!existsSync(object.file)) missing.push({ ...object, size: (await stat(object.source)).size });
  }
  missing.sort((a, b) => b.size - a.size);
  const failures = [];
  const worker = async () => {
    for (let next = missing.shift(); next; next = missing.shift()) {
      const aside = `${next.file}.${process.pid}.tmp`;
      const answer = await run(compiler.command, [...compiler.extra, ...next.flags, '-c', next.source, '-o', aside]);
      if (answer.ok) await rename(aside, next.file);
      else failures.push({ ...next, output: answer.output });
      if (warnings && answer.ok && answer.output.trim() !== '') console.error(answer.output.trim());
    }
  };
  const total = missing.length;
  await Promise.all(Array.from({ length: JOBS }, worker));
  return { compiled: total - failures.length, failures };
}

/**
 * Windows wants to know where each import comes from: an import library says that Node-API's functions, and the one of
 * libuv that native/node/file-load.cc calls, are in node.exe.
 */
async function makeImportLibrary({ command, zig }, library) {
  const names = [];
  for (const name of ['js_native_api', 'node_api']) {
    const text = await readFile(join(nodeApi(), 'def', `${name}.def`), 'utf8');
    names.push(...text.split(/\s+/).filter((word) => /^(napi|node_api)_/.test(word)));
  }
  const definitions = join(OBJECTS, 'node.def');
  await writeFile(definitions, ['NAME node.exe', 'EXPORTS', ...names, 'uv_get_osfhandle', ''].join('\n'));
  return run(command, [...zig, 'dlltool', '-m', 'i386:x86-64', '-d', definitions, '-l', library]);
}

function linkFlags({ zig }) {
  if (PLATFORM === 'win32') return ['-shared', '-s'];
  if (PLATFORM !== 'darwin') return ['-shared', '-pthread', '-s'];
  // Node loads a bundle and a dynamic library alike; zig 0.17 cannot make a bundle.
  const kind = zig ? ['-dynamiclib', '-s', '-Wl,-install_name,krait.node'] : ['-bundle'];
  return [...kind, '-undefined', 'dynamic_lookup'];
}

async function link(compiler, objects) {
  const aside = `${ADDON}.${process.pid}.tmp`;
  const args = [...compiler.extra, ...linkFlags(compiler), ...objects.map((o) => o.file)];
  if (PLATFORM === 'win32') {
    const library = join(OBJECTS, 'node.lib');
    const imports = await makeImportLibrary(compiler, library);
    if (!imports.ok) return imports;
    args.push(library);
  }
  const answer = await run(compiler.command, [...args, '-o', aside]);
  if (answer.ok) await rename(aside, ADDON);
  else await rm(aside, { force: true });
  return answer;
}

async function dropStale(objects) {
  const wanted = new Set(objects.map((o) => basename(o.file)));
  const hour = Date.now() - 3_600_000; // another build may be writing the young ones
  for (const file of await readdir(OBJECTS)) {
    const path = join(OBJECTS, file);
    if (!wanted.has(file) && (await stat(path)).mtimeMs < hour) await rm(path, { force: true });
  }
}

/** Hash of everything that the addon is made from, but the compiler. */
async function sourcesHash() {
  const hash = createHash('sha256').update(await readFile(fileURLToPath(import.meta.url)));
  for (const folder of [KERNELS, BINDING]) {
    for (const name of (await readdir(folder)).sort())
      hash.update(`${name}\0`).update(await readFile(join(folder, name)));
  }
  return hash.digest('hex');
}

/** The addon that is there: what it was made from, by which compiler, with which variants. */
async function readStamp() {
  if (!existsSync(ADDON) || !existsSync(STAMP)) return {};
  const [sources, compiler, names] = (await readFile(STAMP, 'utf8')).split('\n');
  return { sources, compiler, names };
}

/** No addon, rather than one that differs from the sources beside it. */
async function absent(why) {
  await rm(ADDON, { force: true });
  return { built: false, line: `krait: native device not built: ${why}; WebAssembly will serve` };
}

async function make(compiler, sources) {
  const started = Date.now();
  const variants = await usableVariants(compiler);
  const objects = await planObjects(compiler, variants);
  const { compiled, failures } = await compile(compiler, objects);
  const words = failures.map((f) => `${relative(ROOT, f.source)} (${f.flags.at(-1)}):\n${f.output}`).join('\n');
  if (failures.length && !partial) return absent(`${compiler.version} failed on ${failures.length} files:\n${words}`);
  if (failures.length) console.error(`krait: left out ${failures.length} files that do not compile:\n${words}`);
  const linked = await link(
    compiler,
    objects.filter((o) => existsSync(o.file)),
  );
  if (!linked.ok) return absent(`${compiler.version} could not link it:\n${linked.output}`);
  const names = variants.map(({ name }) => name).join(', ');
  await writeFile(STAMP, failures.length ? '' : `${sources}\n${identity(compiler)}\n${names}`);
  await dropStale(objects);
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  const line = `krait: native device built (${names}), ${compiled} files in ${seconds} s with ${compiler.version}`;
  return { built: true, line };
}

const identity = (compiler) => [compiler.command, ...compiler.extra, compiler.version].join(' ');

/** One line to say where it ended; the exit code follows from `built`. */
async function build() {
  if (PLATFORM === 'win32' && !target) return absent('on Windows it comes with the package @krait-ssm/win32-x64 alone');
  if (!VARIANTS[ARCH]) return absent(`no kernels for ${ARCH}`);
  const [compiler, sources, stamp] = await Promise.all([findCompiler(), sourcesHash(), readStamp()]);
  if (stamp.sources === sources && (!compiler || stamp.compiler === identity(compiler))) {
    return { built: true, line: `krait: native device is up to date (${stamp.names})` };
  }
  if (!compiler)
    return absent(`no C++ compiler found (${process.env.CXX ? `CXX=${process.env.CXX}` : 'c++, g++, clang++'})`);
  if (PLATFORM === 'win32' && !compiler.zig) return absent('the addon for Windows is built by zig: CXX="zig c++ ..."');
  return make(compiler, sources);
}

const { built, line } = await build();
if (built) say(line);
else console.error(line);
if (!built && strict) process.exit(1);
