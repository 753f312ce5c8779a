/**
 * Brings node_modules to what package-lock.json says, if it is not there already. Built-in modules only.
 * A stamp in node_modules/.krait holds the hash of the lock that was installed, and how the file looked.
 */
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Remedy, runChild } from './child.mjs';

const NETWORK = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET|ENOTCACHED/;
const stampFile = (root) => join(root, 'node_modules', '.krait', 'installed');

/** Whether node_modules is what package-lock.json says for this platform. Writes the stamp if npm installed it by hand. */
export function isInstalled(root) {
  const [known, looks] = (readText(stampFile(root)) ?? '').split('\n');
  if (looks && looks === looksOfLock(root)) return true;
  const stamp = stampOf(root);
  if (known !== stamp && !hasLockedPackages(root)) return false;
  writeStamp(root, stamp);
  return true;
}

/**
 * Runs `npm ci`, or `npm install` where that refuses. Call under the build lock.
 * @param {string} root
 * @param {(line: string) => void} say
 * @throws {Remedy} one line when there is no npm, no network, or npm fails
 */
export async function install(root, say) {
  say('installing packages from the npm registry (npm ci, about a minute)');
  let result = await npm(root, 'ci');
  if (result.code !== 0 && !result.signal && result.code !== 127 && !NETWORK.test(result.output)) {
    say(`npm ci failed (${firstError(result.output)}): trying npm install`);
    result = await npm(root, 'install');
  }
  if (result.signal) throw new Remedy(`npm was stopped by ${result.signal}`, result.code);
  if (result.code === 127)
    throw new Remedy('npm is not on PATH: install Node.js >= 20 together with npm, then run this again');
  if (result.code !== 0 && NETWORK.test(result.output)) {
    throw new Remedy(
      `the npm registry cannot be reached (${firstError(result.output)}): connect, or set a mirror or proxy with \`npm config\`, then run this again`,
    );
  }
  if (result.code !== 0) throw new Remedy(`npm failed (${firstError(result.output)}): run \`npm install\` to see why`);
  writeStamp(root, stampOf(root));
}

function npm(root, command) {
  const args = [command, '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'];
  return runNpm(args, { cwd: root, stdout: 'collect' });
}

/** npm by the path that it gives its own scripts, so that the same npm runs; otherwise the one on PATH. */
export function runNpm(args, options) {
  const script = process.env.npm_execpath;
  if (script && /npm-cli\.[cm]?js$/.test(script)) return runChild(process.execPath, [script, ...args], options);
  const isWindows = process.platform === 'win32';
  return runChild(isWindows ? 'npm.cmd' : 'npm', args, { ...options, shell: isWindows });
}

/** The line of npm's output that says most, without npm's own prefix. */
function firstError(output) {
  const lines = output.split('\n').map((line) => line.replace(/^npm (error|ERR!) ?/, '').trim());
  const code = lines.find((line) => line.startsWith('code '));
  const text = lines.find((line) => line && !/^(code|syscall|errno|npm warn)\b/.test(line));
  return [code?.slice(5), text].filter(Boolean).join(': ').slice(0, 160) || 'no message';
}

/** True if every package of the lock stands in node_modules in the same version, by npm's own record of it. */
function hasLockedPackages(root) {
  const wanted = readPackages(join(root, 'package-lock.json'));
  const present = readPackages(join(root, 'node_modules', '.package-lock.json'));
  if (!wanted || !present) return false;
  const isThere = (path, { version }) => Object.hasOwn(present, path) && present[path].version === version;
  return Object.entries(wanted).every(
    ([path, entry]) => path === '' || entry.optional || entry.devOptional || isThere(path, entry),
  );
}

function readPackages(file) {
  const text = readText(file);
  try {
    return text === undefined ? undefined : JSON.parse(text).packages;
  } catch {
    return undefined;
  }
}

function stampOf(root) {
  const lock = readText(join(root, 'package-lock.json')) ?? readText(join(root, 'package.json')) ?? '';
  const { createHash } = createRequire(import.meta.url)('node:crypto'); // 5 ms, for those who need it
  const hash = createHash('sha256').update(lock).digest('hex');
  return `${hash} ${process.platform}-${process.arch}`;
}

/** Changes whenever the lock is written, and with the platform: without reading it. */
function looksOfLock(root) {
  const status = statSync(join(root, 'package-lock.json'), { throwIfNoEntry: false });
  return status && `${status.size} ${status.mtimeMs} ${status.ino} ${process.platform}-${process.arch}`;
}

function writeStamp(root, stamp) {
  const file = stampFile(root);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${stamp}\n${looksOfLock(root) ?? ''}\n`);
}

function readText(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  }
}
