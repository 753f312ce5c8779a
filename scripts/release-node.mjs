/**
 * Node for a platform, on this machine: its own, or one in an emulator. linux-arm64 runs in QEMU and win32-x64 in Wine
 * where those are installed, with Node from npm. KRAIT_NODE_LINUX_X64_MUSL="command" and the like name any other.
 */
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { PLATFORMS, thisPlatform } from '../src/backend/native/platforms.ts';
import { Remedy, runChild } from './child.mjs';
import { runNpm } from './install.mjs';
import { RELEASE } from './release-build.mjs';

const NODE_MAJOR = 20; // the oldest that Krait runs on

/** First file of that name in the folders of PATH and `others`. */
function findProgram(name, ...others) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...others];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/** Node of npm's package `node-NAME`, fetched once. */
async function fetchNode(name, program) {
  const folder = join(RELEASE, 'node', name);
  const path = join(folder, 'package', 'bin', program);
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true });
  const args = ['pack', `node-${name}@${NODE_MAJOR}`, '--pack-destination', folder, '--loglevel=error'];
  const packed = await runNpm(args, { stdout: 'collect' });
  const file = readdirSync(folder).find((entry) => entry.endsWith('.tgz'));
  if (packed.code !== 0 || !file) throw new Remedy(`npm pack node-${name} failed: ${packed.output.trim()}`);
  const unpacked = await runChild('tar', ['-xzf', join(folder, file), '-C', folder], { stdout: 'collect' });
  if (unpacked.code !== 0) throw new Remedy(`tar -xzf ${file} failed: ${unpacked.output.trim()}`);
  return path;
}

async function emulated(name) {
  if (name === 'linux-arm64') {
    const qemu = findProgram('qemu-aarch64') ?? findProgram('qemu-aarch64-static');
    const libraries = process.env.QEMU_LD_PREFIX ?? '/usr/aarch64-linux-gnu';
    if (!qemu || !existsSync(join(libraries, 'lib'))) return undefined;
    return { command: [qemu, '-L', libraries, await fetchNode('linux-arm64', 'node')], env: {} };
  }
  if (name === 'win32-x64') {
    const wine = findProgram('wine64', '/usr/lib/wine') ?? findProgram('wine');
    if (!wine) return undefined;
    // Wine's folder has links to / and would lead the linter there, so it is not in the repository. Wine 8 says that it is
    // Windows 7 where nobody told it otherwise, which Node would refuse.
    const env = { WINEPREFIX: join(tmpdir(), 'krait-wine'), WINEDEBUG: '-all', NODE_SKIP_PLATFORM_CHECK: '1' };
    return { command: [wine, await fetchNode('win-x64', 'node.exe')], env };
  }
  return undefined;
}

/**
 * How Node of a platform is run here.
 * @returns {Promise<{ command: string[], env: object, how: 'run' | 'emulated' } | undefined>} undefined if it cannot be
 */
export async function nodeOf(name) {
  const { os, cpu } = PLATFORMS[name];
  const how = os === process.platform && cpu === process.arch ? 'run' : 'emulated';
  const given = process.env[`KRAIT_NODE_${name.toUpperCase().replaceAll('-', '_')}`]?.trim();
  if (given) {
    const [program, ...words] = given.split(/\s+/);
    // The check has a PATH of its own.
    return { command: [findProgram(program) ?? resolve(program), ...words], env: {}, how };
  }
  if (name === thisPlatform()) return { command: [process.execPath], env: {}, how };
  const found = await emulated(name);
  return found && { ...found, how };
}
