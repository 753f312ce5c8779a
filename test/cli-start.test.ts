/** What starting a command loads: a bundle of which `--help` takes no library, no device and no model. Needs dist, as bin does. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { isAll } from '../src/core/testing/only-in-all.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const run = promisify(execFile);

const work = mkdtempSync(join(tmpdir(), 'krait-start-'));
after(() => rmSync(work, { recursive: true, force: true }));

/** A module to `--import` that puts another one among the loader's hooks. */
function hooks(name: string, code: string): string {
  const file = join(work, `${name}.mjs`);
  const hook = join(work, `${name}-hook.mjs`);
  writeFileSync(hook, code);
  writeFileSync(
    file,
    `import { register } from 'node:module';\nregister(${JSON.stringify(pathToFileURL(hook).href)});\n`,
  );
  return pathToFileURL(file).href;
}

interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

async function krait(hook: string, args: readonly string[], env: Record<string, string> = {}): Promise<Outcome> {
  const all = ['--import', hook, join(ROOT, 'bin/krait.mjs'), ...args];
  try {
    const { stdout, stderr } = await run(process.execPath, all, { env: { ...process.env, ...env }, cwd: work });
    return { code: 0, stdout, stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as unknown as Outcome;
    return { code, stdout, stderr };
  }
}

/** What no `--help` may need: libraries that take long to load, and devices. */
const HEAVY =
  /node_modules\/(zod|yaml|papaparse|linkedom|@observablehq\/plot|@huggingface\/(jinja|tokenizers))\/|\/backend\/(native|wasm|reference)\//;

/** Their flags stand beside what they run. */
const STUDIES = ['study', 'quickstart'];
/** `npm test` takes a few of some twenty processes. */
const isChecked = (name: string): boolean => (isAll ? !STUDIES.includes(name) : ['generate', 'tune'].includes(name));

/** Where a loaded file came from: itself, or of a bundle's chunk the files that are in it. */
function sourcesOf(url: string): string[] {
  if (!url.startsWith('file:')) return [];
  const map = `${fileURLToPath(url)}.map`;
  return existsSync(map) ? (JSON.parse(readFileSync(map, 'utf8')) as { sources: string[] }).sources : [url];
}

/** Names under `Commands:` of a help text. */
function commandsIn(help: string): string[] {
  const [, list = ''] = help.split('Commands:');
  return [...list.matchAll(/^ {2}(\w+)/gm)].map(([, name]) => name).filter((name) => name !== 'help');
}

describe('krait --help', () => {
  const log = join(work, 'loaded.txt');
  let hook: string;
  before(() => {
    hook = hooks(
      'list',
      `import { appendFileSync } from 'node:fs';
export async function load(url, context, next) {
  appendFileSync(${JSON.stringify(log)}, url + '\\n');
  return next(url, context);
}`,
    );
  });

  /** The help of a command, and every module that was loaded for it. */
  async function help(...command: string[]): Promise<{ text: string; modules: string[] }> {
    writeFileSync(log, '');
    const { code, stdout, stderr } = await krait(hook, [...command, '--help']);
    assert.equal(code, 0, stderr);
    const modules = readFileSync(log, 'utf8').trim().split('\n').flatMap(sourcesOf);
    return { text: stdout, modules };
  }

  async function check(...command: string[]): Promise<number> {
    const { text, modules } = await help(...command);
    const heavy = modules.filter((path) => HEAVY.test(path));
    assert.deepEqual(heavy, [], `krait ${command.join(' ')} --help`);
    assert.ok(
      modules.some((path) => path.endsWith('src/cli/main.ts')),
      'the hook saw the command line',
    );
    let count = 1;
    for (const name of commandsIn(text)) if (isChecked(name)) count += await check(...command, name);
    return count;
  }

  it('of every command loads no library that is heavy, and no device', async () => {
    assert.ok((await check()) >= (isAll ? 18 : 3));
  });

  it('would be seen to load one', async () => {
    writeFileSync(log, '');
    await krait(hook, ['eval', 'ls']);
    assert.ok(
      readFileSync(log, 'utf8')
        .trim()
        .split('\n')
        .flatMap(sourcesOf)
        .some((path) => HEAVY.test(path)),
    );
  });
});

describe('a page', () => {
  it('that cannot be drawn for want of a package is refused before anything is trained', async () => {
    const hook = hooks(
      'lacking',
      `export async function resolve(name, context, next) {
  if (name !== '@observablehq/plot') return next(name, context);
  throw Object.assign(new Error("Cannot find package '" + name + "' imported from x"), { code: 'ERR_MODULE_NOT_FOUND' });
}`,
    );
    const data = join(work, 'data.csv');
    writeFileSync(data, 'date,a\n2024-01-01,1\n');
    for (const flag of ['--plot', '--report']) {
      const { code, stderr } = await krait(hook, ['forecast', data, '--horizon', '2', flag, join(work, 'x')]);
      const packages = '@observablehq/plot linkedom';
      const line = `krait forecast ${flag}: needs the packages ${packages.replace(' ', ' and ')}: npm i ${packages}\n`;
      assert.deepEqual([code, stderr], [1, line]);
    }
  });
});

describe('KRAIT_DEBUG', () => {
  it('shows the stack of an error by the files of src', async () => {
    const args = ['score', '--model', join(work, 'nothing'), '--text', 'a'];
    const { code, stderr } = await krait('data:text/javascript,', args, { KRAIT_DEBUG: '1' });
    assert.equal(code, 2);
    assert.match(stderr, /src[/\\]io[/\\]hub\.ts:\d+/);
  });
});
