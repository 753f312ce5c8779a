/** Packages that `krait` does not install: what commands say without them, what works without them, where they are found. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const work = mkdtempSync(join(tmpdir(), 'krait-packages-'));
after(() => rmSync(work, { recursive: true, force: true }));
const at = (...parts: string[]) => join(work, ...parts);

function write(path: string, text: string): string {
  mkdirSync(dirname(at(path)), { recursive: true });
  writeFileSync(at(path), text);
  return at(path);
}

/** A module that makes Node find no package of these names, and prints each one that is asked for. */
function without(...names: string[]): string {
  const hooks = `
    const absent = ${JSON.stringify(names)};
    export async function resolve(specifier, context, next) {
      const name = absent.find((own) => specifier === own || specifier.startsWith(own + '/'));
      if (name === undefined) return next(specifier, context);
      process._rawDebug('asked for ' + name);
      const error = new Error("Cannot find package '" + name + "' imported from " + context.parentURL);
      throw Object.assign(error, { code: 'ERR_MODULE_NOT_FOUND' });
    }`;
  const hooksUrl = pathToFileURL(write(`hooks-${names.length}.mjs`, hooks)).href;
  const text = `import { register } from 'node:module'; register(${JSON.stringify(hooksUrl)});`;
  return pathToFileURL(write(`without-${names.length}.mjs`, text)).href;
}

const PLOTS = ['@observablehq/plot', 'linkedom'];
const ALL = [...PLOTS, 'krait-studies'];

/** The compiled command in a folder of its own, without some packages. */
function krait(absent: readonly string[], args: readonly string[], folder = work) {
  const command = ['--import', without(...absent), join(ROOT, 'bin', 'krait.mjs'), ...args];
  const { status, stdout, stderr } = spawnSync(process.execPath, command, { cwd: folder, encoding: 'utf8' });
  const lines = stderr.split('\n').filter((line) => line !== '');
  return {
    status,
    stdout,
    asked: lines.filter((line) => line.startsWith('asked for ')),
    told: lines.filter((line) => !line.startsWith('asked for ')),
  };
}

const SMALL = ['--horizon', '2', '--lookback', '8', '--layers', '1', '--width', '4', '--patch', '4', '--epochs', '1'];

before(() => {
  const rows = Array.from({ length: 160 }, (_, t) => {
    const date = new Date(Date.UTC(2024, 0, 1, t)).toISOString().slice(0, 19);
    return `${date},${(Math.sin(t / 3) + ((t * 7919) % 13) / 50).toFixed(3)}`;
  });
  write('waves.csv', `date,wave\n${rows.join('\n')}\n`);
});

describe('what is published', () => {
  const read = (path: string) => JSON.parse(readFileSync(join(ROOT, path), 'utf8'));
  const { version, exports: entries, dependencies, peerDependenciesMeta } = read('package.json');

  it('has one version, which the studies ask krait for', () => {
    const studies = read('packages/studies/package.json');
    assert.deepEqual([studies.version, studies.peerDependencies.krait], [version, version]);
  });

  it('has entries that programs of the repository reach by the same names', () => {
    const paths: Record<string, string[]> = read('tsconfig.json').compilerOptions.paths;
    for (const [key, { types, default: module }] of Object.entries<Record<string, string>>(entries)) {
      const source = module.replace('./dist/', './src/').replace(/\.js$/, '.ts');
      assert.ok(existsSync(join(ROOT, source)), source);
      assert.equal(types, module.replace(/\.js$/, '.d.ts'));
      const name = key === '.' ? 'krait' : key.replace('.', 'krait');
      const [path] = paths[name] ?? [paths['krait/*'][0].replace('*', key.slice(2))];
      assert.equal(path, source, name);
    }
  });

  it('installs no package of plots with krait', () => {
    for (const name of PLOTS) {
      assert.equal(dependencies[name], undefined);
      assert.equal(peerDependenciesMeta[name].optional, true);
    }
  });
});

describe('without the packages of plots', () => {
  const forecast = (...flags: string[]) =>
    krait(ALL, ['forecast', 'waves.csv', ...SMALL, '--device', 'wasm', '--threads', '1', ...flags]);

  for (const [flag, file] of [
    ['--plot', 'wave.svg'],
    ['--report', 'wave.html'],
  ]) {
    it(`forecast ${flag} says in one line what to install, before it trains`, () => {
      const { status, stdout, told } = forecast(flag, file, '--out', 'wave.csv');
      const line = `krait forecast ${flag}: needs the packages @observablehq/plot and linkedom: npm i @observablehq/plot linkedom`;
      assert.deepEqual([status, stdout, told], [1, '', [line]]);
      assert.ok(!existsSync(at(file)) && !existsSync(at('wave.csv')));
    });
  }

  it('forecast works, and does not ask for them', () => {
    const { status, told, asked } = forecast('--out', 'wave.csv');
    assert.equal(status, 0, told.join('\n'));
    assert.deepEqual(asked, []);
    assert.ok(existsSync(at('wave.csv')));
  });

  it('no help asks for them', () => {
    for (const args of [['--help'], ['forecast', '--help'], ['forecast', 'run', '--help'], ['tune', '--help']]) {
      const { status, stdout, asked } = krait(ALL, args);
      assert.deepEqual([status, asked], [0, []], args.join(' '));
      assert.match(stdout, /^Usage: krait/);
    }
  });
});

describe('the package of the studies', () => {
  it('is named, with what to install, by each of its commands', () => {
    for (const [name, ...flags] of [['study', 'stability'], ['study', '--help'], ['quickstart']]) {
      const { status, stdout, told } = krait(['krait-studies'], [name, ...flags]);
      const line = `krait ${name}: needs the package krait-studies: npm i krait-studies`;
      assert.deepEqual([status, stdout, told], [1, '', [line]]);
    }
  });

  it('is found beside krait', () => {
    const { status, stdout } = krait([], ['study', '--help']);
    assert.equal(status, 0);
    assert.match(stdout, /downstream .*\n(?:.*\n)*? *stability /);
  });

  /** A folder with a krait-studies of its own, whose `krait` is what `link` names. */
  function project(name: string, link: string | null): string {
    const studies = join(name, 'node_modules', 'krait-studies');
    write(join(studies, 'package.json'), '{ "type": "module", "exports": { "./study": "./study.js" } }');
    const text =
      "import { KraitError } from 'krait/core';\nexport function define() { throw new KraitError('found'); }";
    write(join(studies, 'study.js'), text);
    if (link !== null) symlinkSync(link, at(name, 'node_modules', 'krait'), 'dir');
    return at(name);
  }

  it('is found in the current folder, if its krait is this one', () => {
    const own = krait(['krait-studies'], ['study'], project('own', ROOT));
    assert.deepEqual(own.told, ['krait: found']);
    write(
      'other/package.json',
      '{ "type": "module", "exports": { ".": "./dist/index.js", "./core": "./dist/core.js" } }',
    );
    write('other/dist/index.js', '');
    write('other/dist/core.js', 'export class KraitError extends Error {}');
    const stranger = krait(['krait-studies'], ['study'], project('stranger', at('other')));
    assert.equal(stranger.status, 1);
    assert.match(
      stranger.told.join('\n'),
      /^krait study: the krait-studies of this folder belongs to .*other: npm i krait /,
    );
    const alone = krait(['krait-studies'], ['study'], project('alone', null));
    assert.match(
      alone.told.join('\n'),
      /^krait study: the krait-studies of this folder has no krait beside it: npm i krait /,
    );
  });
});
