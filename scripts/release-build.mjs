/**
 * Builds the prebuilt addons with zig, which compiles for every platform on any of them:
 *
 *   npm run release:build -- [PLATFORM ...]     # all platforms unless given: src/backend/native/platforms.ts
 *
 * Writes build/release/addons/PLATFORM/krait.node, with all instruction sets of the platform. docs/releasing.md says how
 * to get zig; KRAIT_ZIG is the command that runs it. No other job of this repository needs zig.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PLATFORM_NAMES, PLATFORMS } from '../src/backend/native/platforms.ts';
import { Remedy, runChild, runNode, runScript } from './child.mjs';
import { say } from './prepare.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** Everything that these scripts write. */
export const RELEASE = join(ROOT, 'build', 'release');
/** One version for every release, so that the same sources give the same machine code. */
const ZIG_VERSION = '0.17.1';
/** The oldest glibc that an addon may need: Node 20 asks for as much. */
export const GLIBC = '2.28';

/** The target as zig names it. */
const TARGETS = {
  'linux-x64': `x86_64-linux-gnu.${GLIBC}`,
  'linux-x64-musl': 'x86_64-linux-musl',
  'linux-arm64': `aarch64-linux-gnu.${GLIBC}`,
  'linux-arm64-musl': 'aarch64-linux-musl',
  'darwin-arm64': 'aarch64-macos.11.0',
  'darwin-x64': 'x86_64-macos.11.0',
  'win32-x64': 'x86_64-windows-gnu',
};

/** Where a platform's addon is written. */
export const addonOf = (name) => join(RELEASE, 'addons', name, 'krait.node');

/**
 * The platforms that the words of a command line name, all if there are none.
 * @throws {Remedy} for a name that is none
 */
export function platformsOf(words) {
  const wrong = words.find((word) => !PLATFORM_NAMES.includes(word));
  if (wrong !== undefined) throw new Remedy(`${wrong} is no platform: choose from ${PLATFORM_NAMES.join(', ')}`, 2);
  return words.length ? words : PLATFORM_NAMES;
}

/** The newest version of glibc whose symbols a binary needs, from what `readelf --version-info` prints of it. */
export function newestGlibc(text) {
  const parts = (version) => version.split('.').map(Number);
  const byVersion = ([a, b = 0], [c, d = 0]) => a - c || b - d;
  const versions = [...text.matchAll(/\bGLIBC_(\d+(?:\.\d+)*)/g)].map(([, version]) => version);
  return versions.sort((a, b) => byVersion(parts(a), parts(b))).at(-1);
}

/** Whether a version of glibc is newer than the oldest that an addon may need. */
export const isTooNew = (version) => newestGlibc(`GLIBC_${version} GLIBC_${GLIBC}`) !== GLIBC;

/**
 * The newest glibc that an addon needs, or undefined where the platform has none.
 * @throws {Remedy} if it is newer than allowed, or there is no readelf
 */
export async function glibcOf(name) {
  if (PLATFORMS[name].libc !== 'glibc') return undefined;
  const { code, output } = await runChild('readelf', ['--version-info', addonOf(name)], { stdout: 'collect' });
  if (code !== 0) throw new Remedy(`readelf failed (${output.trim()}): install binutils`);
  const version = newestGlibc(output);
  if (version === undefined)
    throw new Remedy(`${addonOf(name)} names no version of glibc: it is not what it should be`);
  if (isTooNew(version)) throw new Remedy(`${addonOf(name)} needs glibc ${version}, more than ${GLIBC}`);
  return version;
}

/** The command that runs zig, in words. */
async function findZig() {
  const wanted = process.env.KRAIT_ZIG?.trim() || 'python3 -m ziglang';
  const [command, ...words] = wanted.split(/\s+/);
  const { code, output } = await runChild(command, [...words, 'version'], { stdout: 'collect' });
  const found = code === 0 ? output.trim() : 'no zig';
  if (found !== ZIG_VERSION) {
    throw new Remedy(
      `'${wanted}' is ${found}, releases are built by zig ${ZIG_VERSION}: \`python3 -m venv ~/zig && ~/zig/bin/pip install ` +
        `ziglang==${ZIG_VERSION}\`, then KRAIT_ZIG="$HOME/zig/bin/python -m ziglang"`,
    );
  }
  return wanted;
}

/** Builds what is not up to date. @throws {Remedy} */
export async function buildAddons(names) {
  const zig = await findZig();
  for (const name of names) {
    const env = { ...process.env, CXX: `${zig} c++ -target ${TARGETS[name]}` };
    const flags = ['--strict', '--out', join(RELEASE, 'addons', name), '--target', name];
    say(`building the addon for ${name}`);
    const { code } = await runNode(['scripts/build-native.mjs', ...flags], { cwd: ROOT, env, stdout: 'stderr' });
    if (code !== 0) throw new Remedy(`the addon for ${name} was not built (see above)`);
  }
}

await runScript(import.meta.url, async (words) => {
  const names = platformsOf(words);
  await buildAddons(names);
  for (const name of names) {
    const glibc = await glibcOf(name);
    if (glibc) console.log(`${name}: needs glibc ${glibc}, ${GLIBC} is allowed`);
  }
});
