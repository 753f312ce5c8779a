/** How tests are compiled, chosen, and measured by `npm test` and `npm run test:all`. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const load = (path: string) => import(pathToFileURL(join(ROOT, path)).href);
const work = realpathSync(mkdtempSync(join(tmpdir(), 'krait-run-tests-')));
after(() => rmSync(work, { recursive: true, force: true }));

const write = (path: string, text: string): void => {
  mkdirSync(dirname(join(work, path)), { recursive: true });
  writeFileSync(join(work, path), text);
};
const hrefOf = (path: string) => pathToFileURL(join(work, path)).href;

describe('compiled tests', () => {
  it('stand in for their sources: places, names of packages, scripts, stack traces; what is gone goes', async () => {
    const { buildTests, compiledPath } = await load('scripts/build-tests.mjs');
    write('package.json', '{ "name": "own", "exports": { "./a": { "default": "./dist/a.js" } } }');
    write('packages/more/package.json', '{ "name": "own-more", "exports": { ".": { "default": "./dist/b.js" } } }');
    write('src/data.json', '{ "x": 1 }');
    write('src/a.ts', 'export const a: number = 1;');
    write('src/old.ts', 'export {};');
    write('packages/more/src/b.ts', "import { a } from 'own/a';\nexport const b = a + 1;");
    const test = [
      "import data from './data.json' with { type: 'json' };",
      "import { a } from './a.ts';",
      "import { b } from 'own-more';",
      'type Never = never;',
      "const script = new URL('./a.ts', import.meta.url).href;",
      "const none = new URL('./none.ts', import.meta.url).href;",
      'const trace = new Error().stack!.split("\\n")[1];',
      'console.log(JSON.stringify({ data, a, b, here: import.meta.url, script, none, trace }));',
    ];
    write('src/c.test.ts', test.join('\n'));
    assert.equal((await buildTests(work)).files, 4);
    assert.equal(await buildTests(work), null, 'nothing was written');

    const compiled = join(work, compiledPath('src/c.test.ts'));
    const run = () =>
      JSON.parse(spawnSync(process.execPath, ['--enable-source-maps', compiled], { encoding: 'utf8' }).stdout);
    const { trace, ...rest } = run();
    assert.deepEqual(rest, {
      data: { x: 1 },
      a: 1,
      b: 2,
      here: hrefOf('src/c.test.ts'),
      script: hrefOf(compiledPath('src/a.ts')),
      none: hrefOf('src/none.ts'),
    });
    assert.match(trace, /src[/\\]c\.test\.ts:7:/);

    write('src/a.ts', 'export const a: number = 10;');
    rmSync(join(work, 'src/old.ts'));
    assert.equal((await buildTests(work)).files, 3);
    assert.equal(run().b, 11, 'a package sees the change');
    assert.equal(existsSync(join(work, compiledPath('src/old.ts'))), false);

    write('src/a.ts', 'export const a = ;');
    await assert.rejects(buildTests(work), /^Error: src\/a\.ts:1: .*: mend it, then test again/);
    await assert.rejects(buildTests(work), /mend it/, 'a failure is not taken for a success');
  });
});

describe('a run', () => {
  const tests = ['src/a.test.ts', 'src/b.slow.test.ts', 'test/a.test.ts'];

  it('takes slow files where all is run, before the others', async () => {
    const { chooseFiles } = await load('scripts/run-tests.mjs');
    assert.deepEqual(chooseFiles(tests, [], false), { files: [tests[0], tests[2]], left: [tests[1]] });
    assert.deepEqual(chooseFiles(tests, [], true), { files: [tests[1], tests[0], tests[2]], left: [] });
    assert.deepEqual(chooseFiles(tests, ['src/', 'zzz'], false), { files: [tests[0]], left: [tests[1]] });
    assert.throws(() => chooseFiles(tests, ['zzz'], true), /none of 3 test files matches zzz/);
    assert.throws(
      () => chooseFiles(tests, ['src/b'], false),
      /src\/b\.slow\.test\.ts: slow, run it with `npm run test:all/,
    );
  });

  it('knows the CPU time of each file, with its child processes, and names those over the limit', async (t) => {
    const { readCpu, reportCpu } = await load('scripts/run-tests.mjs');
    const burn = 'const end = process.cpuUsage().user + 3e5; while (process.cpuUsage().user < end);';
    write('idle.test.js', '');
    write(
      'parent.test.js',
      `require('node:child_process').spawnSync(process.execPath, ['-e', ${JSON.stringify(burn)}]);`,
    );
    const log = join(work, 'cpu.jsonl');
    const hook = pathToFileURL(join(ROOT, 'scripts/test-cpu.mjs')).href;
    for (const name of ['idle', 'parent']) {
      const env = { ...process.env, KRAIT_TEST_CPU: log };
      spawnSync(process.execPath, ['--import', hook, join(work, `${name}.test.js`)], { env });
    }
    const measured = readCpu(log);
    assert.equal(readFileSync(log, 'utf8').trim().split('\n').length, 2);
    const [slowest, least] = measured;
    assert.match(slowest.file, /parent\.test\.ts$/);
    assert.ok(least.seconds > 0.01 && slowest.seconds > least.seconds);
    if (existsSync('/proc/self/stat')) assert.ok(slowest.seconds > least.seconds + 0.25, JSON.stringify(measured));

    const printed: string[] = [];
    for (const name of ['log', 'error'] as const)
      t.mock.method(console, name, (line: string) => void printed.push(line));
    assert.deepEqual(reportCpu(measured, (slowest.seconds + least.seconds) / 2), [slowest]);
    assert.deepEqual(reportCpu(measured, 1000), []);
    assert.match(
      printed.join('\n'),
      /parent\.test\.ts took \d+\.\d s of CPU time, more than .*: mark what is slow in it/,
    );
    assert.equal(printed.filter((line) => /took/.test(line)).length, 1);
  });
});
