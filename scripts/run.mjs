/**
 * What `npm start`, `npm test`, `npm run build` and `npm run check` run. Each is complete in itself in a fresh clone:
 * it installs and builds what is missing or stale first. Built-in modules only at the top, for that reason.
 *
 *   node scripts/run.mjs start [flags of `krait quickstart`]
 *   node scripts/run.mjs test [part of a file name ...] [flags of `node --test`]
 *   node scripts/run.mjs build
 *   node scripts/run.mjs check
 *
 * Progress goes to standard error. Exit codes: the job's own; 1 failed; 2 wrong usage.
 */
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Remedy, runNode, runScript } from './child.mjs';
import { prepare, prepareInstall } from './prepare.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const OLDEST_NODE = 20;
const TEST_TIMEOUT_MS = 600_000; // of one test file: ends a hang, no test comes near it
const SUMMARY = /^(?:\S+\[\d+m)?[ℹ#] (tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) /;

/** The main job, in this process: Ctrl-C and the exit code are its own. */
async function start(args) {
  await prepare({ isStrict: false });
  const entry = new URL('../bin/krait.mjs', import.meta.url);
  process.argv.splice(1, process.argv.length, fileURLToPath(entry), 'quickstart', ...args);
  await import(entry.href);
}

async function test(args) {
  const filters = args.filter((arg) => !arg.startsWith('-'));
  const flags = args.filter((arg) => arg.startsWith('-'));
  const all = [...listTests('src'), ...listTests('packages'), ...listTests('test')];
  const files = all.filter((path) => filters.length === 0 || filters.some((part) => path.includes(part)));
  if (files.length === 0) {
    const what = filters.length ? `none of ${all.length} test files matches ${filters.join(' ')}` : 'no test files';
    throw new Remedy(`${what}: tests are *.test.ts below src, packages and test`);
  }
  await prepare();
  const env = { ...process.env };
  delete env.NODE_TEST_CONTEXT; // set if a test runs this, and makes node --test skip every file
  const summary = new SummaryTail();
  const { code } = await runNode(['--import', 'tsx', '--test', ...testFlags(), ...flags, ...files], {
    cwd: ROOT,
    env,
    stdout: process.stdout.isTTY ? 'inherit' : (chunk) => summary.write(chunk),
  });
  if (!process.stdout.isTTY) summary.repeat();
  if (code === 0 && summary.count('tests') === 0) throw new Remedy('no test ran: is every test skipped by a flag?');
  process.exitCode = code;
}

function testFlags() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  const isSince = (m) => major > OLDEST_NODE || minor >= m;
  // Node's own choice is one file at a time on two cores, though half of a file's time is spent starting.
  const files = Math.max(2, Math.min(4, availableParallelism() - 1));
  return [
    '--test-reporter=spec',
    ...(isSince(10) ? [`--test-concurrency=${files}`] : []),
    ...(isSince(11) ? [`--test-timeout=${TEST_TIMEOUT_MS}`] : []),
  ];
}

/** Passes node's output on and keeps its summary, which a list of failures may follow, to end with it. */
class SummaryTail {
  #rest = '';
  #lines = [];
  #isLast = false;
  #decoder = new TextDecoder();

  write(chunk) {
    process.stdout.write(chunk);
    const lines = (this.#rest + this.#decoder.decode(chunk, { stream: true })).split('\n');
    this.#rest = lines.pop();
    for (const line of lines) this.#take(line);
  }

  #take(line) {
    const isSummary = SUMMARY.test(line);
    if (isSummary && line.includes(' tests ')) this.#lines = [];
    if (isSummary) this.#lines.push(line);
    if (line.trim() !== '') this.#isLast = isSummary;
  }

  /** Prints the summary again if something came after it. */
  repeat() {
    if (this.#lines.length && !this.#isLast) process.stdout.write(`${this.#lines.join('\n')}\n`);
  }

  /** A number of the summary, or undefined if there was none. */
  count(name) {
    const line = this.#lines.find((text) => text.includes(` ${name} `));
    return line === undefined ? undefined : Number(line.split(` ${name} `)[1].replace(/\D.*$/, ''));
  }
}

function listTests(folder) {
  const path = join(ROOT, folder);
  if (!existsSync(path)) return [];
  return readdirSync(path, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : listTests(`${folder}/${entry.name}`);
      return entry.name.endsWith('.test.ts') ? [`${folder}/${entry.name}`] : [];
    });
}

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

const MODES = { start, test, build, check };

async function main([mode, ...args]) {
  if (Number(process.versions.node.split('.')[0]) < OLDEST_NODE) {
    throw new Remedy(`Node.js ${process.versions.node} is too old: install Node.js >= ${OLDEST_NODE} from nodejs.org`);
  }
  const run = Object.hasOwn(MODES, mode ?? '') ? MODES[mode] : undefined;
  if (!run) throw new Remedy(`unknown mode '${mode ?? ''}': use one of ${Object.keys(MODES).join(', ')}`, 2);
  await run(args);
}

await runScript(import.meta.url, main);
