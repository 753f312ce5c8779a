/**
 * The layer rule as code. Run: `npm run check`, or `node --import tsx scripts/check-layers.ts [root]`.
 *
 * 1. A folder of `src` imports only the folders that its row in `LAYERS` names (types too).
 * 2. No cycles of imports, `import type` included; `import()`, which runs later, is exempt.
 * 3. `node:` modules only where `NODE_FOLDERS` says, browser globals only where `BROWSER_FOLDERS` says.
 * 4. Another top folder is imported through its `index.ts`, or that of an entry of its own (`ENTRIES`).
 * 5. Siblings (`SIBLINGS`) do not know one another. No folder is named utils, helpers, common or misc.
 * 6. A package of the workspace (`packages/NAME/src`) imports its own files and what `exports` of the root's package.json
 *    names, nothing else of this repository; `node:` modules only in its `commands`. `src` imports no such package.
 *
 * Tests (`*.test.ts`, and whatever stands in a folder named `testing`) are free of 1, 3 and the first half of 5, and nothing
 * else may import them. `test`, `bench` and `scripts` are free of 1, 3 and 4; tests of packages are free of 6.
 */
import { existsSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { join, posix, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Import, type Module, readModules } from './import-graph.ts';
import { listFiles, listFolders, listPackages } from './source-files.ts';

const BELOW_MODELS = ['nn', 'io', 'tensor', 'backend', 'core'];
const BELOW_TUNE = ['train', 'models', 'data', ...BELOW_MODELS];
const BELOW_KRAIT = ['tune', 'eval', 'forecast', 'platform', ...BELOW_TUNE];
const BELOW_CLI = ['krait', 'measure', 'report', ...BELOW_KRAIT];

/** Top folder of `src`: what it may import. `index` stands for the files of `src` itself, the public entries. */
export const LAYERS: Readonly<Record<string, readonly string[]>> = {
  core: [],
  backend: ['core'],
  tensor: ['backend', 'core'],
  nn: ['tensor', 'core'],
  io: ['tensor', 'core'],
  platform: ['io', 'core'],
  data: ['io', 'core'],
  report: ['core'],
  train: ['io', 'tensor', 'core'],
  models: ['nn', 'io', 'tensor', 'core'],
  tune: BELOW_TUNE,
  eval: ['models', 'data', ...BELOW_MODELS],
  forecast: ['train', 'models', ...BELOW_MODELS],
  measure: ['tune', ...BELOW_TUNE],
  krait: BELOW_KRAIT,
  server: ['krait', 'core'],
  cli: ['server', ...BELOW_CLI],
  index: BELOW_CLI,
};

/** Folders with entries besides their own `index.ts`: `entry/index.ts` or `entry.ts`. */
const ENTRIES: Readonly<Record<string, readonly string[]>> = {
  platform: ['node', 'browser'],
  io: ['gguf-types', 'lora-config', 'nearest'],
  backend: ['select', 'reference', 'native', 'wasm', 'webgpu'],
  core: ['statistics'],
  models: ['generate'],
  eval: ['metrics', 'tasks/few-shot'],
  forecast: ['names', 'benchmark', 'bench', 'bench-summary'],
  measure: ['works'],
  krait: ['open'],
  report: ['terminal', 'plots'],
  train: ['setting', 'settings'],
  tune: ['settings'],
};

/** Folders whose subfolders never import one another. */
const SIBLINGS = ['backend', 'platform'];
const NODE_FOLDERS = ['platform/node', 'backend/native', 'cli', 'server'];
const NODE_DYNAMIC_FOLDERS = ['backend/wasm'];
const BROWSER_FOLDERS = ['platform/browser', 'backend/webgpu'];
const FORBIDDEN_NAMES = ['utils', 'helpers', 'common', 'misc'];
/** Folders outside `src` that are read too. Only `examples` keeps to the entries, because users copy it. */
const OUTSIDE = ['test', 'bench', 'scripts', 'examples'];
const PACKAGE = 'krait';

const BROWSER_GLOBALS =
  /^(window|document|localStorage|sessionStorage|indexedDB|OffscreenCanvas|requestAnimationFrame|navigator\.(gpu|storage)|GPU[A-Z]\w*|HTML\w*Element)$/;
const BROWSER_HINT =
  /\b(window|document|localStorage|sessionStorage|indexedDB|OffscreenCanvas|requestAnimationFrame|navigator|GPU[A-Z]|HTML\w*Element)/;

export interface Violation {
  /** Relative to the root. */
  readonly file: string;
  /** Counted from 1. */
  readonly line: number;
  /** What is wrong, and what to do. */
  readonly message: string;
}

export interface LayerReport {
  readonly violations: readonly Violation[];
  readonly files: number;
  readonly imports: number;
}

/** Where a file of `src` stands: `src/backend/wasm/queue.ts` has top `backend`, rest `wasm/queue.ts`. */
interface Place {
  readonly top: string;
  readonly rest: string;
}

const placeOf = (path: string): Place | undefined => {
  if (!path.startsWith('src/')) return undefined;
  const [top, ...rest] = path.slice('src/'.length).split('/');
  return rest.length ? { top, rest: rest.join('/') } : { top: 'index', rest: top };
};

const isTest = (path: string) => /\.test\.ts$|\/testing\/|^(packages\/[^/]+\/)?test\//.test(path);

/** `packages/studies/` of a file of that package; undefined elsewhere. */
const packageOf = (path: string): string | undefined => /^packages\/[^/]+\//.exec(path)?.[0];

const isIn = (path: string, folders: readonly string[]) => folders.some((folder) => path.startsWith(`src/${folder}/`));

/** Checks the tree at `root`. Throws only if files cannot be read. */
export function checkLayers(root: string): LayerReport {
  const packages = listPackages(root);
  const folders = ['src', ...OUTSIDE, ...packages.flatMap((path) => [`${path}/src`, `${path}/test`])];
  const files = folders.flatMap((folder) => listFiles(root, folder, ['.ts']));
  const modules = readModules(root, files, (name) => BROWSER_GLOBALS.test(name), BROWSER_HINT);
  const known = new Set(files);
  const tree: Tree = { known, entries: publicEntries(root), packages: packages.map((path) => nameOf(root, path)) };
  const violations: Violation[] = [...checkFolderNames(root)];
  for (const module of modules) {
    for (const item of module.imports) {
      const message = judge(module.path, item, tree);
      if (message) violations.push({ file: module.path, line: item.line, message });
    }
    violations.push(...checkGlobals(module));
  }
  violations.push(...checkCycles(modules, known));
  violations.sort((a, b) => (a.file === b.file ? a.line - b.line : a.file < b.file ? -1 : 1));
  return { violations, files: files.length, imports: modules.reduce((n, m) => n + m.imports.length, 0) };
}

function checkFolderNames(root: string): Violation[] {
  const found: Violation[] = [];
  const sources = listPackages(root).map((path) => `${path}/src`);
  const folders = ['src', 'native', 'bench', 'scripts', 'examples', ...sources];
  for (const path of folders.flatMap((folder) => listFolders(root, folder))) {
    const parts = path.split('/');
    const name = parts[parts.length - 1];
    if (FORBIDDEN_NAMES.includes(name) && !isTest(`${path}/`)) {
      found.push({ file: path, line: 1, message: `a folder named ${name}: name the noun that it holds` });
    }
    if (parts.length === 2 && parts[0] === 'src' && !(name in LAYERS) && !FORBIDDEN_NAMES.includes(name)) {
      const message = `src/${name} is not in the layer table: add it to LAYERS in scripts/check-layers.ts and to docs/design.md, or move it`;
      found.push({ file: path, line: 1, message });
    }
  }
  return found;
}

/** What an import is judged by besides where it stands. */
interface Tree {
  /** Files that are there. */
  readonly known: ReadonlySet<string>;
  /** Specifiers of the public entries: `krait`, `krait/io`. */
  readonly entries: ReadonlySet<string>;
  /** Names of the workspace's packages. */
  readonly packages: readonly string[];
}

function readManifest(path: string): { name?: string; exports?: Record<string, unknown> } {
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : {};
}

const publicEntries = (root: string): ReadonlySet<string> =>
  new Set(Object.keys(readManifest(join(root, 'package.json')).exports ?? {}).map((key) => posix.join(PACKAGE, key)));

const nameOf = (root: string, folder: string): string =>
  readManifest(join(root, folder, 'package.json')).name ?? posix.basename(folder);

/** The file of the repository that an import means, as far as a path can tell; undefined for packages. */
function targetOf(from: string, specifier: string): string | undefined {
  if (specifier.startsWith('.')) return posix.join(posix.dirname(from), specifier);
  if (specifier.startsWith(`#${PACKAGE}/`)) return `src/${specifier.slice(PACKAGE.length + 2)}`;
  return undefined;
}

/** What is wrong with one import, or undefined. */
function judge(from: string, item: Import, tree: Tree): string | undefined {
  const { specifier, kind } = item;
  const { known } = tree;
  const target = targetOf(from, specifier);
  const own = packageOf(from);
  if (own) return isTest(from) ? undefined : judgePackage(from, own, specifier, target, tree);
  const isFree = !from.startsWith('src/') || isTest(from);
  if (target !== undefined && (isFree || specifier.startsWith('.'))) return judgePath(from, target, known);
  if (isFree) return undefined;
  if (target !== undefined) return `imports '${specifier}', which the published package lacks: use a relative path`;
  if (specifier === PACKAGE || specifier.startsWith(`${PACKAGE}/`)) {
    return `imports '${specifier}', this package itself: use a relative path to the folder's index.ts`;
  }
  if (tree.packages.some((name) => specifier === name || specifier.startsWith(`${name}/`))) {
    return `imports '${specifier}', a package above krait: load it by name where it is asked for, as src/cli/packages.ts does`;
  }
  if (!isBuiltin(specifier) || isIn(from, NODE_FOLDERS)) return undefined;
  if (isIn(from, NODE_DYNAMIC_FOLDERS)) {
    if (kind !== 'value') return undefined;
    return `imports '${specifier}' statically, which fails in a browser: use await import('${specifier}') where it is needed`;
  }
  return `imports '${specifier}', which only ${NODE_FOLDERS.join(', ')} and tests may: put it behind an interface of io that platform/node implements`;
}

/** What is wrong with an import of a package's own sources (rule 6). */
function judgePackage(
  from: string,
  own: string,
  specifier: string,
  target: string | undefined,
  { entries }: Tree,
): string | undefined {
  const remedy = `import what it needs from ${PACKAGE} or ${PACKAGE}/*, or export it there`;
  if (target !== undefined) {
    if (isTest(target)) return `imports ${target}, a test: move what is shared out of it`;
    return target.startsWith(`${own}src/`) ? undefined : `imports ${target}, outside its package: ${remedy}`;
  }
  if (specifier === PACKAGE || specifier.startsWith(`${PACKAGE}/`)) {
    return entries.has(specifier) ? undefined : `imports '${specifier}', which package.json does not export: ${remedy}`;
  }
  if (!isBuiltin(specifier) || from.startsWith(`${own}src/commands/`)) return undefined;
  return `imports '${specifier}', which only ${own}src/commands may: pass in what it needs`;
}

function judgePath(from: string, target: string, known: ReadonlySet<string>): string | undefined {
  if (isTest(target) && !isTest(from)) return `imports ${target}, a test: move what is shared out of it`;
  const to = placeOf(target);
  const at = placeOf(from);
  if (!at) return from.startsWith('examples/') && to ? judgeEntry(target, to, known) : undefined;
  if (!to) return isTest(from) ? undefined : `imports ${target}, outside src: what is published stands in src`;
  if (at.top === to.top) return isTest(from) ? undefined : judgeSibling(at, to, target);
  return (isTest(from) ? undefined : judgeLayer(at, to, target)) ?? judgeEntry(target, to, known);
}

function judgeSibling(at: Place, to: Place, target: string): string | undefined {
  const [own, other] = [at.rest, to.rest].map((rest) => (rest.includes('/') ? rest.split('/')[0] : ''));
  if (!SIBLINGS.includes(at.top) || own === other || !own || !other) return undefined;
  return `imports ${target}, a sibling: move what ${own} and ${other} share up into src/${at.top}`;
}

const entryOf = (place: Place) => place.rest.replace(/(\/index)?\.ts$/, '');

function judgeLayer(at: Place, to: Place, target: string): string | undefined {
  const allowed = LAYERS[at.top];
  if (!allowed || !(to.top in LAYERS)) return undefined; // reported as a folder outside the table
  if (allowed.includes(to.top) || allowed.includes(`${to.top}/${entryOf(to)}`)) return undefined;
  const list = allowed.length ? `only ${allowed.join(', ')}` : 'nothing';
  return `imports ${target}, but ${at.top} may import ${list}: move what is needed down, or pass it in from above`;
}

function judgeEntry(target: string, to: Place, known: ReadonlySet<string>): string | undefined {
  if (to.top === 'index' || to.rest === 'index.ts' || to.rest.includes('testing/')) return undefined;
  if ((ENTRIES[to.top] ?? []).includes(entryOf(to)) && known.has(target)) return undefined;
  return `imports ${target}, the inside of another folder: export it from src/${to.top}/index.ts and import that`;
}

function checkGlobals(module: Module): Violation[] {
  if (!/^(packages\/[^/]+\/)?src\//.test(module.path) || isTest(module.path) || isIn(module.path, BROWSER_FOLDERS))
    return [];
  return module.globals.map(({ name, line }) => ({
    file: module.path,
    line,
    message: `uses the browser global ${name}, which only ${BROWSER_FOLDERS.join(' and ')} may: put it behind an interface`,
  }));
}

/** One violation for each group of files that reach one another by imports: a shortest cycle through its first file. */
function checkCycles(modules: readonly Module[], known: ReadonlySet<string>): Violation[] {
  const edges = new Map<string, Map<string, number>>();
  for (const module of modules) {
    const out = new Map<string, number>();
    for (const item of module.imports) {
      const target = targetOf(module.path, item.specifier);
      if (item.kind !== 'dynamic' && target && known.has(target) && !out.has(target)) out.set(target, item.line);
    }
    edges.set(module.path, out);
  }
  const done = new Set<string>();
  const found: Violation[] = [];
  for (const start of [...edges.keys()].sort()) {
    const cycle = done.has(start) ? undefined : shortestCycle(edges, start);
    if (!cycle) continue;
    for (const path of edges.keys()) {
      if (isReachable(edges, start, path) && isReachable(edges, path, start)) done.add(path);
    }
    const message = `import cycle ${[...cycle, start].join(' -> ')}: move the interface that both need into a file below both`;
    found.push({ file: start, line: edges.get(start)!.get(cycle[1] ?? start)!, message });
  }
  return found;
}

type Edges = ReadonlyMap<string, ReadonlyMap<string, number>>;

/** Files on a shortest way from `start` back to it, `start` first; undefined if there is none. */
function shortestCycle(edges: Edges, start: string): string[] | undefined {
  const before = new Map<string, string>();
  const queue = [start];
  for (const path of queue) {
    for (const next of edges.get(path)?.keys() ?? []) {
      if (next === start) {
        const cycle = [path];
        while (cycle[0] !== start) cycle.unshift(before.get(cycle[0])!);
        return cycle;
      }
      if (before.has(next)) continue;
      before.set(next, path);
      queue.push(next);
    }
  }
  return undefined;
}

function isReachable(edges: Edges, from: string, to: string): boolean {
  const seen = new Set([from]);
  for (const path of seen) {
    if (path === to) return true;
    for (const next of edges.get(path)?.keys() ?? []) seen.add(next);
  }
  return false;
}

function main(root: string): number {
  if (!existsSync(posix.join(root, 'src'))) {
    console.log(`${root}: no src folder here; give the root of the repository`);
    return 2;
  }
  const { violations, files, imports } = checkLayers(root);
  for (const { file, line, message } of violations) console.log(`${file}:${line}: ${message}`);
  console.log(`${files} files, ${imports} imports, ${violations.length} violations of the layer rule`);
  return violations.length ? 1 : 0;
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  process.exitCode = main(resolve(process.argv[2] ?? fileURLToPath(new URL('..', import.meta.url))));
}
