/** The build scripts: dist from a made-up src, the build lock, the command of a published package. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
// Plain JavaScript without declarations, so loaded by a path that the compiler does not follow.
const load = (path: string) => import(pathToFileURL(join(ROOT, path)).href);

let root: string;
before(() => {
  root = mkdtempSync(join(tmpdir(), 'krait-build-'));
});
after(() => rmSync(root, { recursive: true, force: true }));

function write(files: Record<string, string>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}

describe('dist', () => {
  const read = (path: string) => readFileSync(join(root, 'dist', path), 'utf8');

  it('is src file by file, with rewritten specifiers, assets, and without tests', async () => {
    const { buildJs, isJsFresh } = await load('scripts/build-js.mjs');
    write({
      'src/a.ts': [
        "import { type T, b } from './sub/b.ts';",
        "import data from './data.json' with { type: 'json' };",
        "export * from './sub/b.ts';",
        'export const a: T = b + data.n;',
        "export const late = () => import('./sub/b.ts');",
        'export const text = "import \'./sub/b.ts\'";',
        "export const worker = new URL('./sub/worker.ts', import.meta.url).href;",
        "export const other = new URL('./sub/none.ts', import.meta.url).href;",
        'function unused() { return 1; }',
      ].join('\n'),
      'src/sub/b.ts': 'export type T = number;\nexport const b = 40;',
      'src/sub/worker.ts': 'export {};',
      'src/data.json': '{ "n": 2 }',
      'src/a.test.ts': 'export {};',
      'src/testing/check.ts': 'export {};',
      'src/fixtures/x.json': '{}',
    });
    assert.equal(isJsFresh(root), false);
    const { files } = await buildJs(root);
    assert.equal(files, 4);
    assert.equal(isJsFresh(root), true);
    const built = await import(pathToFileURL(join(root, 'dist/a.js')).href);
    assert.equal(built.a, 42);
    assert.equal((await built.late()).b, 40);
    assert.equal(built.text, "import './sub/b.ts'");
    assert.match(built.worker, /\/dist\/sub\/worker\.js$/);
    assert.match(built.other, /\/sub\/none\.ts$/);
    assert.match(read('a.js'), /function unused/);
    for (const path of ['a.test.js', 'testing', 'fixtures']) assert.equal(existsSync(join(root, 'dist', path)), false);
    assert.deepEqual(JSON.parse(read('a.js.map')).sources, ['../src/a.ts']);
  });

  it('is stale when a source changes or goes, and then writes what changed and removes the rest', async () => {
    const { buildJs, isJsFresh } = await load('scripts/build-js.mjs');
    write({ 'src/sub/b.ts': 'export type T = number;\nexport const b = 41;' });
    rmSync(join(root, 'src/sub/worker.ts'));
    assert.equal(isJsFresh(root), false);
    const { written } = await buildJs(root);
    assert.equal(existsSync(join(root, 'dist/sub/worker.js')), false);
    assert.match(read('sub/b.js'), /b = 41/);
    // b.js and its map; a.js too, whose worker is gone, and its map
    assert.equal(written, 4);
    rmSync(join(root, 'dist/sub/b.js'));
    assert.equal(isJsFresh(root), false);
  });

  it('has the command line once more as a bundle, whose chunks outlive the next build', async () => {
    const { buildJs, isJsFresh, removeOldChunks } = await load('scripts/build-js.mjs');
    const chunks = () => readdirSync(join(root, 'dist/command')).filter((name) => /^late-.*\.js$/.test(name));
    write({
      'src/cli/main.ts': [
        "import { b } from '../sub/b.ts';",
        'export class Fault extends Error {}',
        "export const run = async () => [b, (await import('./late.ts')).late, new Fault().constructor.name].join(' ');",
        "export const here = new URL('data.txt', import.meta.url).href;",
      ].join('\n'),
      'src/cli/late.ts': "export const late = 'late';",
      'src/sub/b.ts': 'export const b = 42;',
    });
    await buildJs(root);
    const built = await import(pathToFileURL(join(root, 'dist/command/main.js')).href);
    assert.equal(await built.run(), '42 late Fault');
    assert.match(built.here, /\/dist\/cli\/data\.txt$/, 'where the module itself is');
    const before = chunks();
    assert.equal(before.length, 1);
    write({ 'src/cli/late.ts': "export const late = 'later';" });
    await buildJs(root);
    assert.equal(chunks().length, 2);
    assert.ok(chunks().includes(before[0]));
    removeOldChunks(root);
    assert.equal(chunks().length, 1);
    assert.ok(!chunks().includes(before[0]));
    assert.equal(isJsFresh(root), true);
    rmSync(join(root, 'dist/command/main.js'));
    assert.equal(isJsFresh(root), false);
    rmSync(join(root, 'src/cli'), { recursive: true });
  });

  it('names file and line of a syntax error in one line, and stays stale', async () => {
    const { buildJs, isJsFresh } = await load('scripts/build-js.mjs');
    write({ 'src/sub/b.ts': 'export const b = 1;\nexport const = 2;' });
    await assert.rejects(buildJs(root), /^Error: src\/sub\/b\.ts:2: Expected identifier .*mend it[^\n]*$/);
    assert.equal(isJsFresh(root), false);
  });
});

describe('build lock', () => {
  it('lets one in at a time, and lets go when the work throws', async () => {
    const { withBuildLock } = await load('scripts/build-lock.mjs');
    const said: string[] = [];
    let inside = 0;
    let most = 0;
    const work = async () => {
      most = Math.max(most, ++inside);
      await sleep(20);
      inside--;
      throw new Error('from the work');
    };
    const runs = [1, 2, 3].map(() => withBuildLock(root, work, (line: string) => said.push(line)));
    for (const result of await Promise.allSettled(runs)) {
      assert.match(String((result as PromiseRejectedResult).reason), /from the work/);
    }
    assert.equal(most, 1);
    assert.match(said[0], /^waiting for process \d+/);
    assert.equal(existsSync(join(root, 'build/.lock')), false);
  });

  it('removes the lock of a process that is gone, and a damaged one', async () => {
    const { withBuildLock } = await load('scripts/build-lock.mjs');
    const gone = spawnSync(process.execPath, ['-e', '']).pid;
    const owners = [JSON.stringify({ pid: gone, host: hostname(), token: 'x' }), 'no JSON'];
    for (const owner of owners) {
      write({ 'build/.lock/owner.json': owner });
      const said: string[] = [];
      assert.equal(
        await withBuildLock(
          root,
          async () => 'done',
          (line: string) => said.push(line),
        ),
        'done',
      );
      assert.match(said.join('\n'), /^removed the lock that process \S+ left behind/);
    }
  });
});

describe('the command', () => {
  const krait = (...args: string[]) =>
    spawnSync(process.execPath, [join(root, 'package/bin/krait.mjs'), ...args], { encoding: 'utf8' });

  it('runs dist of a published package, with its exit code, and says what is missing', () => {
    write({
      'package/package.json': '{ "type": "module" }',
      'package/dist/command/main.js': [
        'export async function main(argv) {',
        "  if (argv[0] === 'bad') throw Object.assign(new Error('bad flag: drop it'), { name: 'UsageError' });",
        '  console.log(argv.join());',
        '  return 3;',
        '}',
      ].join('\n'),
    });
    mkdirSync(join(root, 'package/bin'));
    copyFileSync(join(ROOT, 'bin/krait.mjs'), join(root, 'package/bin/krait.mjs'));
    const good = krait('a', '--b');
    assert.deepEqual([good.status, good.stdout, good.stderr], [3, 'a,--b\n', '']);
    const bad = krait('bad');
    assert.deepEqual([bad.status, bad.stderr], [2, 'krait: bad flag: drop it\n']);
    rmSync(join(root, 'package/dist'), { recursive: true });
    const missing = krait();
    assert.equal(missing.status, 1);
    assert.match(missing.stderr, /^krait: dist\/command\/main\.js is missing [^\n]*npm install krait[^\n]*\n$/);
  });

  it('knows its modes', () => {
    const { status, stderr } = spawnSync(process.execPath, [join(ROOT, 'scripts/run.mjs'), 'tests'], {
      encoding: 'utf8',
    });
    assert.deepEqual(
      [status, stderr],
      [2, "krait: unknown mode 'tests': use one of start, test, test:all, build, check\n"],
    );
  });
});
