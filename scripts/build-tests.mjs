/**
 * Compiles every TypeScript file of the repository, tests included, to build/tests/, file by file in the same folders, so
 * that `npm test` starts plain JavaScript: a process that compiles as it goes takes 0.3 to 0.8 s of CPU longer.
 *
 * A compiled module stands in for its source. `import.meta.url` is the source's, so that fixtures and data beside it are
 * found. Stack traces name the source, through source maps. Names of this repository's packages (`krait`, `krait/tensor`)
 * mean their compiled sources, not their `dist`. `new URL('./x.ts', import.meta.url)`, which names the script of a thread or
 * process, means the compiled `x`.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Remedy } from './child.mjs';

const FOLDERS = ['src', 'packages', 'test', 'bench', 'examples', 'scripts'];
const SKIPPED = new Set(['node_modules', 'dist', 'build', 'fixtures']);
const OUT = 'build/tests';
const SCRIPT_URL = /new URL\(\s*(['"])([^'"\n$]+)\.ts\1\s*,\s*import\.meta\.url\s*\)/g;

/** Where a source's compiled form is: `build/tests/src/core/shape.test.js`, below the root. */
export const compiledPath = (path) => `${OUT}/${path.replace(/\.ts$/, '.js')}`;

/**
 * Paths of the TypeScript files below a folder, sorted, with forward slashes, relative to the root.
 * @param {string} root
 * @param {string} folder
 * @returns {string[]}
 */
export function listModules(root, folder) {
  const path = join(root, folder);
  if (!existsSync(path)) return [];
  return readdirSync(path, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const name = `${folder}/${entry.name}`;
      if (entry.isDirectory()) return SKIPPED.has(entry.name) ? [] : listModules(root, name);
      return entry.name.endsWith('.ts') && !entry.name.endsWith('.d.ts') ? [name] : [];
    });
}

/**
 * Compiles what the sources hold now, unless nothing has been written since the last time. Call under the build lock, and
 * only with packages installed. Files are replaced by a rename, and only if their content changes.
 * @param {string} root
 * @returns {Promise<{ files: number, seconds: number } | null>} null if all was there
 * @throws {Remedy} one line with file, line and the compiler's message
 */
export async function buildTests(root) {
  const start = performance.now();
  const modules = FOLDERS.flatMap((folder) => listModules(root, folder));
  const looks = looksOf(root, modules);
  const stamp = join(root, 'build', 'tests.stamp');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === looks) return null;
  rmSync(stamp, { force: true });
  const outputs = await compile(root, modules);
  for (const [path, content] of describePackages(root)) outputs.set(path, content);
  for (const [path, content] of outputs) replaceFile(path, content);
  removeOthers(join(root, OUT), outputs);
  writeFileSync(stamp, looks);
  return { files: modules.length, seconds: (performance.now() - start) / 1000 };
}

/** @returns {Promise<Map<string, Uint8Array>>} content by whole path */
async function compile(root, modules) {
  const { build, stop } = await import('esbuild');
  try {
    const { outputFiles } = await build({
      absWorkingDir: root,
      entryPoints: modules,
      outbase: root,
      outdir: join(root, OUT),
      format: 'esm',
      target: 'es2022',
      supported: { 'import-attributes': true },
      sourcemap: 'inline',
      sourcesContent: false,
      // Bundling with every import external: the parser finds the specifiers, and nothing is bundled or dropped.
      bundle: true,
      treeShaking: false,
      define: { 'import.meta.url': 'SOURCE_URL' },
      plugins: [specifiers(root)],
      write: false,
      logLevel: 'silent',
    });
    return new Map(outputFiles.map(({ path, contents }) => [path, contents]));
  } catch (error) {
    const first = error.errors?.[0];
    if (!first) throw error;
    const place = first.location ? `${first.location.file}:${first.location.line}: ` : '';
    throw new Remedy(`${place}${first.text}: mend it, then test again (${error.errors.length} in all)`);
  } finally {
    await stop();
  }
}

/** Says for each import, and for `import.meta.url`, what it means in the compiled form. */
function specifiers(root) {
  const compiled = (path) => join(root, compiledPath(relative(root, path)));
  return {
    name: 'specifiers',
    setup(build) {
      build.onResolve({ filter: /./ }, ({ kind, path, importer }) => {
        if (kind === 'entry-point') return undefined;
        if (!path.startsWith('.')) return { path, external: true };
        const source = resolve(dirname(importer), path);
        const target = source.endsWith('.ts') ? compiled(source) : source;
        const between = relative(dirname(compiled(importer)), target)
          .split(sep)
          .join('/');
        return { path: between.startsWith('.') ? between : `./${between}`, external: true };
      });
      build.onLoad({ filter: /\.ts$/ }, ({ path }) => {
        const text = readFileSync(path, 'utf8').replace(SCRIPT_URL, (all, _quote, name) => {
          const script = resolve(dirname(path), `${name}.ts`);
          return existsSync(script) ? `new URL('${pathToFileURL(compiled(script)).href}')` : all;
        });
        const declared = text.includes('import.meta.url');
        // On the first line, so that the lines of stack traces stay right.
        const head = declared ? `const SOURCE_URL = ${JSON.stringify(pathToFileURL(path).href)}; ` : '';
        return { contents: head + text, loader: 'ts' };
      });
    },
  };
}

/**
 * The package.json of each package of this repository for its compiled form, whose entries are there: `./dist/x.js` is made
 * from `src/x.ts`. Links let the packages find one another by their names.
 * @returns {Map<string, Buffer>} content by whole path
 */
function describePackages(root) {
  const packages = join(root, 'packages');
  const names = existsSync(packages) ? readdirSync(packages).map((name) => `packages/${name}`) : [];
  const described = new Map();
  for (const folder of ['', ...names]) {
    const file = join(root, folder, 'package.json');
    if (!existsSync(file)) continue;
    const { name, exports = {} } = JSON.parse(readFileSync(file, 'utf8'));
    const entries = Object.entries(exports).map(([entry, { default: built }]) => [
      entry,
      built.replace('/dist/', '/src/'),
    ]);
    const own = { name, type: 'module', exports: Object.fromEntries(entries) };
    described.set(join(root, OUT, folder, 'package.json'), Buffer.from(JSON.stringify(own)));
    linkPackage(join(root, OUT, 'node_modules', name), join(root, OUT, folder));
  }
  return described;
}

function linkPackage(link, folder) {
  mkdirSync(dirname(link), { recursive: true });
  if (!existsSync(link)) symlinkSync(folder, link, 'junction');
}

/** Changes whenever a source, or what decides how it is compiled, is written, and with the place: without reading one. */
function looksOf(root, modules) {
  const packages = [...new Set(modules.filter((path) => path.startsWith('packages/')).map(packageFile))];
  const others = ['package.json', 'node_modules/esbuild/package.json', ...packages];
  const files = [fileURLToPath(import.meta.url), ...[...others, ...modules].map((path) => join(root, path))];
  const lines = files.map((file) => {
    const status = statSync(file, { throwIfNoEntry: false });
    return `${file} ${status?.size} ${status?.mtimeMs} ${status?.ctimeMs} ${status?.ino}`;
  });
  return `${lines.join('\n')}\n`;
}

const packageFile = (path) => `${path.split('/').slice(0, 2).join('/')}/package.json`;

function replaceFile(file, content) {
  if (existsSync(file) && readFileSync(file).equals(content)) return;
  const aside = `${file}.${process.pid}.tmp`;
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(aside, content);
  renameSync(aside, file);
}

/** Removes the compiled forms of sources that are gone. */
function removeOthers(folder, outputs) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.name === 'node_modules') continue;
    if (entry.isDirectory()) removeOthers(path, outputs);
    else if (!outputs.has(path)) rmSync(path);
  }
}
