/**
 * Bundles the command line for dist/command: `main.js`, and chunks that commands load when they run. Libraries that most
 * commands need are inside, because Node takes a millisecond for each of their hundreds of files. What few need stays a
 * package that is loaded where it is needed.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';

/** Folder below dist. */
export const COMMAND_FOLDER = 'command';
const ENTRY = 'cli/main.ts';

/** Libraries inside. Of the others some are loaded late (parquet, plots, pages), some need files of their own. */
const INSIDE = [
  '@huggingface/jinja',
  '@huggingface/tokenizers',
  'commander',
  'fastest-levenshtein',
  'papaparse',
  'picocolors',
  'yaml',
  'zod',
];

/** CommonJS libraries call `require` for Node's modules. */
const BANNER =
  "import { createRequire as requireFrom } from 'node:module';\nconst require = requireFrom(import.meta.url);";

/** Whether there is a command line to bundle. */
export const hasCommand = (root) => existsSync(join(root, 'src', ENTRY));

/**
 * @param {string} root
 * @param {(options: object) => Promise<object>} build esbuild's
 * @param {(text: string, path: string) => string} rewriteWorkers gives a module's text with the names that dist has
 * @returns {Promise<Map<string, Uint8Array>>} content by path below dist; the entry comes last, so that it never names a chunk
 * that is not written yet
 */
export async function bundleCommand(root, build, rewriteWorkers) {
  const dist = join(root, 'dist');
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    entryPoints: [join(root, 'src', ENTRY)],
    outdir: join(dist, COMMAND_FOLDER),
    entryNames: '[name]',
    chunkNames: '[name]-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    banner: { js: BANNER },
    sourcemap: true,
    metafile: true,
    plugins: [fromSources(root, rewriteWorkers)],
    write: false,
    logLevel: 'silent',
  });
  const outputs = new Map(
    outputFiles.map(({ path, contents }) => [
      relative(dist, path).split(sep).join('/'),
      path.endsWith('.map') ? withoutLibraries(contents) : contents,
    ]),
  );
  outputs.set(`${COMMAND_FOLDER}/third-party.txt`, Buffer.from(licences(root, Object.keys(metafile.inputs))));
  const entry = `${COMMAND_FOLDER}/main.js`;
  const content = outputs.get(entry);
  outputs.delete(entry);
  return outputs.set(entry, content);
}

/** Modules of src as the bundle has them: each is where its own file of dist is, as far as `import.meta.url` tells. */
const fromSources = (root, rewriteWorkers) => ({
  name: 'from-sources',
  setup(build) {
    build.onResolve({ filter: /^[^./]/ }, ({ kind, path, importer }) => {
      if (kind === 'entry-point' || path.startsWith('node:') || importer.includes('node_modules')) return undefined;
      return INSIDE.some((name) => path === name || path.startsWith(`${name}/`)) ? undefined : { path, external: true };
    });
    build.onLoad({ filter: /[/\\]src[/\\].*\.ts$/ }, ({ path }) => {
      const own = relative(join(root, 'src'), path).replace(/\.ts$/, '.js').split(sep).join('/');
      const contents = rewriteWorkers(readFileSync(path, 'utf8'), path)
        .replaceAll('import.meta.url', `new URL('../${own}', import.meta.url).href`)
        // What nobody uses of a namespace is dropped; the object that zod exports brings all of zod, languages and all.
        .replace("import { z } from 'zod'", "import * as z from 'zod'");
      return { contents, loader: 'ts' };
    });
  },
});

/** A source map without the text of libraries, which is three quarters of it. */
function withoutLibraries(contents) {
  const map = JSON.parse(Buffer.from(contents).toString());
  map.sourcesContent = map.sources.map((path, i) => (path.includes('node_modules/') ? null : map.sourcesContent[i]));
  return Buffer.from(JSON.stringify(map));
}

/** The licences of the libraries inside. */
function licences(root, inputs) {
  const folders = new Set(inputs.flatMap((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path) ?? []));
  const texts = [...folders].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'));
    const file = readdirSync(join(root, folder)).find((own) => /^licen[cs]e/i.test(own));
    const text = file ? readFileSync(join(root, folder, file), 'utf8').trim() : `Licence: ${license}`;
    return `${name} ${version} (${license})\n\n${text}\n`;
  });
  return `Files of this folder contain these libraries.\n\n${texts.join(`\n${'-'.repeat(80)}\n\n`)}`;
}
