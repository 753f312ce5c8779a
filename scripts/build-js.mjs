/**
 * Compiles src/**\/*.ts to dist/, file by file in the same folders, with import specifiers from `.ts` to `.js`;
 * copies what modules load beside themselves (JSON, HTML, CSS, WASM). Tests, folders named `testing` and fixtures stay out.
 * Each package of the workspace, packages/NAME/src, is compiled to its own packages/NAME/dist in the same way.
 * The command line is in dist/command once more, bundled (bundle-command.mjs), because it has to start at once.
 *
 * A file of dist changes only if its content does, and by a rename, so that programs that run from dist while
 * it is rebuilt never read half a file. Chunks of the bundle stay for a day, for programs that have yet to load one.
 * Run by hand: `node scripts/build-js.mjs [--types]`.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleCommand, COMMAND_FOLDER, hasCommand } from './bundle-command.mjs';
import { Remedy, runNode } from './child.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const ASSETS = /\.(json|html|css|wasm)$/;
const NOT_PUBLISHED = /\.test\.ts$|(^|\/)(testing|fixtures)\//;
/** How long a chunk that is no more of the bundle stays, in milliseconds. */
const CHUNK_STAYS_MS = 86_400_000;
const WORKER_URL = /new URL\(\s*(['"])(\.{1,2}\/[^'"\n]+)\.ts\1\s*,\s*import\.meta\.url\s*\)/g;

/**
 * Whether dist/ is what src/ compiles to. Files that look as they did (size, time of change) are not read again: this
 * runs at the start of every command in a clone.
 */
export function isJsFresh(root) {
  const sources = listSources(root);
  const present = presentFiles(root);
  if (!sources.every((path) => present.has(outputOf(path)))) return false;
  if (hasCommand(root) && !present.has(`dist/${COMMAND_FOLDER}/main.js`)) return false;
  const { stamp, looks } = readStamp(root);
  const now = looksOf(root, sources);
  if (stamp && looks === now) return true;
  if (stamp !== hashOf(root, sources)) return false;
  writeStamp(root, stamp, now);
  return true;
}

/** What was compiled last: the hash of its inputs, and how they looked. */
function readStamp(root) {
  const text = readText(join(root, 'build', 'js.stamp')) ?? '';
  const end = text.indexOf('\n');
  return { stamp: text.slice(0, Math.max(0, end)), looks: text.slice(end + 1) };
}

const writeStamp = (root, stamp, looks) =>
  replaceFile(join(root, 'build', 'js.stamp'), Buffer.from(`${stamp}\n${looks}`));

/**
 * Compiles what src/ and the packages hold now. Call under the build lock, and only with packages installed.
 * @param {string} root
 * @returns {Promise<{ files: number, written: number, seconds: number }>}
 * @throws {Remedy} one line with file, line and the compiler's message
 */
export async function buildJs(root) {
  const start = performance.now();
  const sources = listSources(root);
  const [stamp, looks] = [hashOf(root, sources), looksOf(root, sources)];
  const outputs = await compile(root, sources);
  for (const path of sources) {
    if (!path.endsWith('.ts')) outputs.set(outputOf(path), readFileSync(join(root, path)));
  }
  let written = 0;
  for (const [path, content] of outputs) written += replaceFile(join(root, path), content) ? 1 : 0;
  removeOthers(root, outputs);
  writeStamp(root, stamp, looks);
  return { files: sources.length, written, seconds: (performance.now() - start) / 1000 };
}

/**
 * Writes the .d.ts files beside dist's modules: those of src/ first, which the packages are checked against. Call under the
 * build lock.
 * @returns {Promise<boolean>} false if they were there already
 * @throws {Remedy} one line if the sources do not type-check
 */
export async function buildTypes(root) {
  const sources = listSources(root);
  const stamp = hashOf(root, sources);
  const stampFile = join(root, 'build', 'types.stamp');
  const typesOf = (path) => outputOf(path).replace(/\.js$/, '.d.ts');
  const modules = sources.filter((path) => path.endsWith('.ts'));
  if (readText(stampFile) === stamp && modules.every((path) => existsSync(join(root, typesOf(path))))) return false;
  const out = join(root, 'build', 'types');
  for (const folder of foldersOf(root)) {
    rmSync(out, { recursive: true, force: true });
    await declare(root, join(folder, 'tsconfig.build.json'), out);
    for (const path of modules.filter((module) => isBelow(folder, module))) {
      const text = readFileSync(join(out, relative(join(folder, 'src'), path).replace(/\.ts$/, '.d.ts')), 'utf8');
      const renamed = text.replace(/((?:from|import) |import\()(['"])(\.{1,2}\/[^'"\n]+)\.ts\2/g, '$1$2$3.js$2');
      replaceFile(join(root, typesOf(path)), Buffer.from(renamed));
    }
  }
  rmSync(out, { recursive: true, force: true });
  replaceFile(stampFile, Buffer.from(stamp));
  return true;
}

/** Writes the declarations of a project to `out`. */
async function declare(root, project, out) {
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const args = [tsc, '-p', project, '--outDir', out, '--pretty', 'false'];
  const { code, output } = await runNode(args, { cwd: root, stdout: 'collect' });
  if (code === 0) return;
  const first = output.split('\n').find((line) => line.includes('error TS')) ?? output.split('\n')[0];
  throw new Remedy(`types: ${first}: run \`npm run check\` to see all, mend them, and build again`);
}

/** @returns {Promise<Map<string, Uint8Array>>} content by path of the output */
async function compile(root, sources) {
  const modules = sources.filter((path) => path.endsWith('.ts'));
  const outputs = new Map();
  for (const folder of foldersOf(root)) {
    const own = modules.filter((path) => isBelow(folder, path));
    if (own.length === 0) continue;
    for (const [path, content] of await compileFolder(root, folder, own)) outputs.set(path, content);
  }
  return outputs;
}

async function compileFolder(root, folder, modules) {
  const { build, stop } = await import('esbuild');
  try {
    const { outputFiles } = await build({
      absWorkingDir: root,
      entryPoints: modules.map((path) => join(root, path)),
      outbase: join(root, folder, 'src'),
      outdir: join(root, folder, 'dist'),
      format: 'esm',
      target: 'es2022',
      supported: { 'import-attributes': true },
      sourcemap: true,
      sourcesContent: true,
      // Bundling with every import external: the parser finds the specifiers, and nothing is bundled or dropped.
      bundle: true,
      treeShaking: false,
      plugins: [specifiers],
      write: false,
      logLevel: 'silent',
    });
    const files = outputFiles.map(({ path, contents }) => [relative(root, path).split(sep).join('/'), contents]);
    if (folder !== '' || !hasCommand(root)) return files;
    const command = await bundleCommand(root, build, rewriteWorkers);
    return [...files, ...[...command].map(([path, contents]) => [`dist/${path}`, contents])];
  } catch (error) {
    const first = error.errors?.[0];
    if (!first) throw error;
    const place = first.location ? `${first.location.file}:${first.location.line}: ` : '';
    throw new Remedy(`${place}${first.text}: mend it, then build again (${error.errors.length} in all)`);
  } finally {
    await stop();
  }
}

/** Workers are named by URL, which no compiler resolves; `.js` is as long as `.ts`, so columns stay right. */
const rewriteWorkers = (text, path) =>
  text.replace(WORKER_URL, (all, _quote, name) =>
    existsSync(join(dirname(path), `${name}.ts`)) ? all.replace(`${name}.ts`, `${name}.js`) : all,
  );

const specifiers = {
  name: 'specifiers',
  setup(build) {
    build.onResolve({ filter: /./ }, ({ kind, path }) => {
      if (kind === 'entry-point') return undefined;
      return { path: path.startsWith('.') ? path.replace(/\.ts$/, '.js') : path, external: true };
    });
    build.onLoad({ filter: /\.ts$/ }, ({ path }) => ({
      contents: rewriteWorkers(readFileSync(path, 'utf8'), path),
      loader: 'ts',
    }));
  },
};

/** Folders that hold a `src` and get a `dist`: the root, as an empty path, and the packages of the workspace. */
function foldersOf(root) {
  const packages = join(root, 'packages');
  const names = existsSync(packages) ? readdirSync(packages).sort() : [];
  return ['', ...names.map((name) => `packages/${name}`).filter((folder) => existsSync(join(root, folder, 'src')))];
}

const isBelow = (folder, path) => path.startsWith(folder === '' ? 'src/' : `${folder}/src/`);

/** Paths of all files of every dist. */
const presentFiles = (root) =>
  new Set(
    foldersOf(root).flatMap((folder) => {
      const dist = folder === '' ? 'dist' : `${folder}/dist`;
      return listFiles(join(root, dist)).map((name) => `${dist}/${name}`);
    }),
  );

/** `packages/studies/src/a.ts` becomes `packages/studies/dist/a.js`. */
const outputOf = (path) => path.replace(/(^|\/)src\//, '$1dist/').replace(/\.ts$/, '.js');

/** Paths that become part of a dist, by folder and sorted, with forward slashes. */
function listSources(root) {
  return foldersOf(root).flatMap((folder) =>
    listFiles(join(root, folder, 'src'))
      .filter(
        (path) => (path.endsWith('.ts') || ASSETS.test(path)) && !NOT_PUBLISHED.test(path) && !path.endsWith('.d.ts'),
      )
      .map((path) => (folder === '' ? `src/${path}` : `${folder}/src/${path}`)),
  );
}

function listFiles(folder, prefix = '') {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      if (entry.isDirectory()) return listFiles(join(folder, entry.name), `${prefix}${entry.name}/`);
      return entry.isFile() ? [prefix + entry.name] : [];
    });
}

/** Every source, and whatever else decides what they compile to: name and file. */
function inputsOf(root, sources) {
  return [
    ['builder', fileURLToPath(import.meta.url)],
    ['bundler', fileURLToPath(new URL('bundle-command.mjs', import.meta.url))],
    ['packages', join(root, 'package-lock.json')],
    ['config', join(root, 'tsconfig.json')],
    ...foldersOf(root).map((folder) => ['declarations', join(root, folder, 'tsconfig.build.json')]),
    ['esbuild', join(root, 'node_modules', 'esbuild', 'package.json')],
    ...sources.map((path) => [path, join(root, path)]),
  ];
}

/** Changes with the content of every input. */
function hashOf(root, sources) {
  const hash = newHash();
  for (const [name, file] of inputsOf(root, sources)) {
    hash
      .update(`${name}\0`)
      .update(existsSync(file) ? readFileSync(file) : '')
      .update('\0');
  }
  return hash.digest('hex');
}

/** Node's module for it takes 5 ms to load, which a command that finds dist fresh is spared. */
const newHash = () => createRequire(import.meta.url)('node:crypto').createHash('sha256');

/** Changes whenever an input is written, and with the place: without reading one. */
function looksOf(root, sources) {
  const lines = inputsOf(root, sources).map(([name, file]) => {
    const status = statSync(file, { throwIfNoEntry: false });
    return `${name} ${status?.size} ${status?.mtimeMs} ${status?.ctimeMs} ${status?.ino}\n`;
  });
  return `${root}\n${lines.join('')}`;
}

/** @returns whether the content was different */
function replaceFile(file, content) {
  if (existsSync(file) && readFileSync(file).equals(content)) return false;
  const aside = `${file}.${process.pid}.tmp`;
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(aside, content);
  renameSync(aside, file);
  return true;
}

/** Removes what earlier builds left in dist; declarations stay as long as their module does, chunks for a day. */
function removeOthers(root, outputs) {
  for (const folder of foldersOf(root)) {
    const dist = folder === '' ? 'dist' : `${folder}/dist`;
    for (const path of listFiles(join(root, dist)).map((name) => `${dist}/${name}`)) {
      const owner = path.replace(/\.d\.ts$/, '.js');
      if (outputs.has(path) || outputs.has(owner)) continue;
      const isChunk = path.startsWith(`dist/${COMMAND_FOLDER}/`);
      if (isChunk && Date.now() - statSync(join(root, path)).mtimeMs < CHUNK_STAYS_MS) continue;
      rmSync(join(root, path));
    }
  }
}

/** Removes chunks of earlier builds now, so that they are not published. Call under the build lock, with dist fresh. */
export function removeOldChunks(root) {
  const folder = join(root, 'dist', COMMAND_FOLDER);
  const files = listFiles(folder);
  const needed = new Set(['main.js', 'third-party.txt']);
  for (const name of needed) {
    if (!name.endsWith('.js')) continue;
    for (const [, chunk] of readFileSync(join(folder, name), 'utf8').matchAll(/["']\.\/([\w-]+\.js)["']/g)) {
      if (files.includes(chunk)) needed.add(chunk);
    }
  }
  for (const name of files) if (!needed.has(name.replace(/\.map$/, ''))) rmSync(join(folder, name));
}

const readText = (file) => (existsSync(file) ? readFileSync(file, 'utf8') : undefined);

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const { withBuildLock } = await import('./build-lock.mjs');
  const say = (line) => console.error(`krait: ${line}`);
  try {
    await withBuildLock(
      ROOT,
      async () => {
        const { files, written, seconds } = await buildJs(ROOT);
        say(`dist: ${files} files, ${written} written in ${seconds.toFixed(2)} s`);
        if (process.argv.includes('--types')) await buildTypes(ROOT);
      },
      say,
    );
  } catch (error) {
    say(error instanceof Remedy ? error.message : error.stack);
    process.exitCode = error.exitCode ?? 1;
  }
}
