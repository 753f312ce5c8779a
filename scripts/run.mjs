/**
 * What `npm start`, `npm test`, `npm run test:all`, `npm run build` and `npm run check` run. Each is complete in itself in
 * a fresh clone: it installs and builds what is missing or stale first. Built-in modules only at the top, for that reason.
 *
 *   node scripts/run.mjs start [flags of `krait quickstart`]
 *   node scripts/run.mjs test [part of a file name ...] [flags of `node --test`]       without what is slow
 *   node scripts/run.mjs test:all [part of a file name ...] [flags of `node --test`]
 *   node scripts/run.mjs build
 *   node scripts/run.mjs check
 *
 * Progress goes to standard error. Exit codes: the job's own; 1 failed; 2 wrong usage.
 */
import { fileURLToPath } from 'node:url';
import { Remedy, runNode, runScript } from './child.mjs';
import { prepare, prepareInstall } from './prepare.mjs';
import { runTests } from './run-tests.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const OLDEST_NODE = 20;

/** The main job, in this process: Ctrl-C and the exit code are its own. */
async function start(args) {
  await prepare({ isStrict: false });
  const entry = new URL('../bin/krait.mjs', import.meta.url);
  process.argv.splice(1, process.argv.length, fileURLToPath(entry), 'quickstart', ...args);
  await import(entry.href);
}

const test = (isAll) => async (args) => {
  process.exitCode = await runTests(args, { isAll, prepare: () => prepare({ withTests: true }) });
};

async function build() {
  await prepare({ withTypes: true });
}

/** The house rules. One line each, after it the details of what failed. */
async function check() {
  await prepareInstall();
  const rules = [
    ['types', ['node_modules/typescript/bin/tsc', '-p', '.', '--pretty', 'false']],
    ['lint', ['node_modules/@biomejs/biome/bin/biome', 'check', '--error-on-warnings', '--colors=off']],
    ['layers', ['--import', 'tsx', 'scripts/check-layers.ts']],
    ['size', ['--import', 'tsx', 'scripts/check-size.ts']],
    ['unused', ['node_modules/knip/bin/knip.js', '--no-progress']],
  ];
  const results = await Promise.all(
    rules.map(async ([name, args]) => ({ name, ...(await runNode(args, { cwd: ROOT, stdout: 'collect' })) })),
  );
  for (const { name, code, output } of results) {
    const lines = output.trim().split('\n');
    const last = lines.findLast((line) => /^(Checked |\d+ files, |src )/.test(line)) ?? '';
    console.log(`${code === 0 ? 'ok  ' : 'FAIL'} ${name.padEnd(6)} ${code === 0 ? last : ''}`.trimEnd());
    const details = code === 0 ? lines.filter((line) => line.startsWith('warning: ')) : lines;
    for (const line of details) console.log(`       ${line}`);
  }
  const failed = results.filter(({ code }) => code !== 0).map(({ name }) => name);
  if (failed.length)
    throw new Remedy(`check failed: ${failed.join(', ')} (\`npx biome check --write\` mends format and most lint)`);
}

const MODES = { start, test: test(false), 'test:all': test(true), build, check };

async function main([mode, ...args]) {
  if (Number(process.versions.node.split('.')[0]) < OLDEST_NODE) {
    throw new Remedy(`Node.js ${process.versions.node} is too old: install Node.js >= ${OLDEST_NODE} from nodejs.org`);
  }
  const run = Object.hasOwn(MODES, mode ?? '') ? MODES[mode] : undefined;
  if (!run) throw new Remedy(`unknown mode '${mode ?? ''}': use one of ${Object.keys(MODES).join(', ')}`, 2);
  await run(args);
}

await runScript(import.meta.url, main);
