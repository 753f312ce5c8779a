/**
 * `npm test` and `npm run test:all`: compiles the tests, runs them with node's test runner, a process for each file, prints
 * what took most CPU time, and ends with the runner's summary.
 *
 * `npm test` leaves out what is slow: files named `*.slow.test.ts`, and tests marked `onlyInAll`, which it prints as
 * skipped with their reason. A file that takes more than CPU_LIMIT_S there fails the run. `npm run test:all` runs everything.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compiledPath, listModules } from './build-tests.mjs';
import { Remedy, runNode } from './child.mjs';
import { say } from './prepare.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const TEST_TIMEOUT_MS = 600_000; // of one test file: ends a hang, no test comes near it
const CPU_LIMIT_S = 10; // of one file of `npm test`, with the processes that it starts; on a slower machine more
/** CPU time of the yardstick on the machine that the limit was set for, an Intel Xeon at about 3 GHz. */
const YARDSTICK_S = 0.045;
const SLOWEST = 10;
const SUMMARY = /^(?:\S+\[\d+m)?[ℹ#] (tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) /;
const SLOW = '.slow.test.ts';

/**
 * @param {string[]} args parts of file names, and flags of `node --test`
 * @param {object} options
 * @param {boolean} options.isAll
 * @param {() => Promise<void>} options.prepare builds what the tests need
 * @returns {Promise<number>} the exit code
 */
export async function runTests(args, { isAll, prepare }) {
  const parts = args.filter((arg) => !arg.startsWith('-'));
  const { files, left } = chooseFiles(listTests(), parts, isAll);
  if (left.length > 0) say(`${left.length} slow test files are left to \`npm run test:all\``);
  await prepare();
  const folder = mkdtempSync(join(tmpdir(), 'krait-tests-'));
  const cpuFile = join(folder, 'cpu.jsonl');
  try {
    const summary = new SummaryTail();
    const flags = [...testFlags(), ...args.filter((arg) => arg.startsWith('-'))];
    const { code } = await runNode(['--test', ...flags, ...files.map(compiledPath)], {
      cwd: ROOT,
      env: environment(isAll, cpuFile),
      stdout: process.stdout.isTTY ? 'inherit' : (chunk) => summary.write(chunk),
    });
    const over = reportCpu(readCpu(cpuFile), isAll ? Number.POSITIVE_INFINITY : CPU_LIMIT_S * slowness());
    summary.repeat();
    if (code === 0 && summary.count('tests') === 0) throw new Remedy('no test ran: is every test skipped by a flag?');
    return code || (over.length > 0 ? 1 : 0);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const listTests = () =>
  ['src', 'packages', 'test'].flatMap((root) => listModules(ROOT, root)).filter((path) => path.endsWith('.test.ts'));

/**
 * Of the test files, those whose path holds one of `parts`, slow ones first, so that none of them runs alone at the end.
 * @param {string[]} tests
 * @param {string[]} parts all files if there is none
 * @param {boolean} isAll whether slow files are run
 * @returns {{ files: string[], left: string[] }} what is run, and slow files that are not
 * @throws {Remedy} if that is none
 */
export function chooseFiles(tests, parts, isAll) {
  const matching = tests.filter((path) => parts.length === 0 || parts.some((part) => path.includes(part)));
  if (matching.length === 0) {
    const what = parts.length ? `none of ${tests.length} test files matches ${parts.join(' ')}` : 'no test files';
    throw new Remedy(`${what}: tests are *.test.ts below src, packages and test`);
  }
  const slow = matching.filter((path) => path.endsWith(SLOW));
  const others = matching.filter((path) => !path.endsWith(SLOW));
  if (isAll) return { files: [...slow, ...others], left: [] };
  if (others.length === 0)
    throw new Remedy(`${slow.join(', ')}: slow, run it with \`npm run test:all -- PART_OF_NAME\``);
  return { files: others, left: slow };
}

function testFlags() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  const isSince = (m) => major > 20 || minor >= m;
  // Node's own choice is one file at a time on two cores, though a file waits for its threads and processes.
  const files = Math.max(2, Math.min(4, availableParallelism() - 1));
  return [
    '--enable-source-maps',
    `--import=${new URL('test-cpu.mjs', import.meta.url).href}`,
    '--test-reporter=spec',
    ...(isSince(10) ? [`--test-concurrency=${files}`] : []),
    ...(isSince(11) ? [`--test-timeout=${TEST_TIMEOUT_MS}`] : []),
  ];
}

function environment(isAll, cpuFile) {
  // Commands that run inside a test's process print without colours, in a CI too.
  const env = { ...process.env, NO_COLOR: '1', KRAIT_TESTS: isAll ? 'all' : 'quick', KRAIT_TEST_CPU: cpuFile };
  delete env.NODE_TEST_CONTEXT; // set if a test runs this, and makes node --test skip every file
  return env;
}

/**
 * What test-cpu.mjs has written down.
 * @param {string} cpuFile
 * @returns {{ file: string, seconds: number }[]} files by their sources, the slowest first
 */
export function readCpu(cpuFile) {
  let text = '';
  try {
    text = readFileSync(cpuFile, 'utf8');
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
  const compiled = join(ROOT, compiledPath(''));
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
    .map(({ file, seconds }) => ({ file: file.replace(compiled, '').replace(/\.js$/, '.ts'), seconds }))
    .sort((a, b) => b.seconds - a.seconds);
}

/** How much slower than the yardstick's machine this one is just now, at least 1: sums of square roots, the best of five. */
function slowness() {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 5; round++) {
    const before = process.cpuUsage();
    let sum = 0;
    for (let i = 0; i < 2e7; i++) sum += Math.sqrt(i) * (i & 3);
    const { user, system } = process.cpuUsage(before);
    if (sum > 0) best = Math.min(best, (user + system) / 1e6);
  }
  return Math.max(1, best / YARDSTICK_S);
}

/**
 * Prints the slowest files, and those over the limit.
 * @param {{ file: string, seconds: number }[]} files the slowest first
 * @param {number} limit in seconds
 * @returns the files over the limit
 */
export function reportCpu(files, limit) {
  const total = files.reduce((sum, { seconds }) => sum + seconds, 0);
  const line = ({ file, seconds }) => `${seconds.toFixed(1).padStart(6)} s  ${file}`;
  if (files.length > 1) {
    console.log(`\nCPU time of ${files.length} files: ${total.toFixed(0)} s; most of it:`);
    for (const item of files.slice(0, SLOWEST)) console.log(line(item));
  }
  const over = files.filter(({ seconds }) => seconds > limit);
  for (const { file, seconds } of over) {
    const remedy = `mark what is slow in it \`onlyInAll\`, or name it *${SLOW}`;
    say(`${file} took ${seconds.toFixed(1)} s of CPU time, more than ${limit.toFixed(1)}: ${remedy}`);
  }
  return over;
}

/** Passes node's output on and keeps its summary, to end with it. */
class SummaryTail {
  #rest = '';
  #lines = [];
  #decoder = new TextDecoder();

  write(chunk) {
    process.stdout.write(chunk);
    const lines = (this.#rest + this.#decoder.decode(chunk, { stream: true })).split('\n');
    this.#rest = lines.pop();
    for (const line of lines) this.#take(line);
  }

  #take(line) {
    if (!SUMMARY.test(line)) return;
    if (line.includes(' tests ')) this.#lines = [];
    this.#lines.push(line);
  }

  /** Prints the summary again, after what came after it. */
  repeat() {
    if (this.#lines.length) process.stdout.write(`\n${this.#lines.join('\n')}\n`);
  }

  /** A number of the summary, or undefined if there was none. */
  count(name) {
    const line = this.#lines.find((text) => text.includes(` ${name} `));
    return line === undefined ? undefined : Number(line.split(` ${name} `)[1].replace(/\D.*$/, ''));
  }
}
