/** Prebuilt addons: what is packed for which platform, and which addon is loaded for what reason. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { register } from 'tsx/esm/api';
import { findAddon, type Installation } from '../src/backend/native/find-addon.ts';
import { PLATFORM_NAMES, PLATFORMS, type PlatformName, platformOf } from '../src/backend/native/platforms.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
// Plain JavaScript without declarations, so loaded by a path that the compiler does not follow.
// The scripts import sources, and run with tsx.
register();
const load = (path: string) => import(pathToFileURL(join(ROOT, path)).href);
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));

describe('platforms', () => {
  it('are told by system, processor and C library', () => {
    const never = () => assert.fail('asked for the C library');
    assert.equal(
      platformOf('linux', 'x64', () => false),
      'linux-x64',
    );
    assert.equal(
      platformOf('linux', 'x64', () => true),
      'linux-x64-musl',
    );
    assert.equal(
      platformOf('linux', 'arm64', () => true),
      'linux-arm64-musl',
    );
    assert.equal(platformOf('darwin', 'arm64', never), 'darwin-arm64');
    assert.equal(platformOf('win32', 'x64', never), 'win32-x64');
    assert.equal(platformOf('win32', 'arm64', never), undefined);
    assert.equal(platformOf('freebsd', 'x64', never), undefined);
    assert.equal(
      platformOf('linux', 'riscv64', () => false),
      undefined,
    );
    for (const name of PLATFORM_NAMES) {
      const row = PLATFORMS[name];
      const isMusl = 'libc' in row && row.libc === 'musl';
      assert.equal(
        platformOf(row.os, row.cpu, () => isMusl),
        name,
      );
    }
  });
});

describe('packed manifests', () => {
  it('name the platforms in exactly the version of krait, and the clone names none', async () => {
    const { mainManifest } = await load('scripts/release-pack.mjs');
    const packed = mainManifest(manifest, ['linux-x64', 'win32-x64']);
    assert.deepEqual(packed.optionalDependencies, {
      '@krait-ssm/linux-x64': manifest.version,
      '@krait-ssm/win32-x64': manifest.version,
    });
    for (const key of ['name', 'version', 'bin', 'exports', 'files', 'dependencies']) {
      assert.deepEqual(packed[key], manifest[key], key);
    }
    assert.deepEqual([packed.scripts, packed.devDependencies], [undefined, undefined]);
    // npm ci in a clone would ask the registry for packages of a version that is not published yet.
    assert.equal(manifest.optionalDependencies, undefined);
    assert.doesNotMatch(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'), /@krait-ssm/);
  });

  it('of a platform let npm choose by system, processor and C library, and hold nothing but the addon', async () => {
    const { platformManifest } = await load('scripts/release-pack.mjs');
    const musl = platformManifest('linux-arm64-musl', manifest);
    assert.equal(musl.name, '@krait-ssm/linux-arm64-musl');
    assert.equal(musl.version, manifest.version);
    assert.deepEqual([musl.os, musl.cpu, musl.libc], [['linux'], ['arm64'], ['musl']]);
    assert.deepEqual(musl.files, ['krait.node']);
    const mac = platformManifest('darwin-x64', manifest);
    assert.deepEqual([mac.os, mac.cpu, 'libc' in mac], [['darwin'], ['x64'], false]);
  });
});

describe('a release', () => {
  it('refuses an addon that needs a newer glibc than 2.28', async () => {
    const { newestGlibc, isTooNew } = await load('scripts/release-build.mjs');
    const text = '0x0010: Name: GLIBC_2.2.5  Flags: none\n0x0020: Name: GLIBC_2.17  Flags\n0x0030: Name: GLIBC_2.9';
    assert.equal(newestGlibc(text), '2.17');
    assert.equal(newestGlibc('Name: GLIBCXX_3.4'), undefined);
    assert.deepEqual(['2.2.5', '2.28', '2.29', '2.100', '3.0'].map(isTooNew), [false, false, true, true, true]);
  });

  it('is not done where less was shown than platforms.ts claims', async () => {
    const { fallsShort } = await load('scripts/release-dry.mjs');
    const shown = ['failed', 'compiled', 'emulated', 'run'];
    const short = (name: PlatformName) => shown.map((how) => fallsShort(name, how));
    assert.deepEqual(short('linux-x64'), [true, true, true, false]);
    assert.deepEqual(short('linux-arm64'), [true, true, false, false]);
    assert.deepEqual(short('darwin-x64'), [true, false, false, false]);
  });

  it('names what is no platform', async () => {
    const { platformsOf } = await load('scripts/release-build.mjs');
    assert.deepEqual(platformsOf([]), PLATFORM_NAMES);
    assert.throws(() => platformsOf(['linux-x64', 'amiga']), /^Error: amiga is no platform: choose from linux-x64, /);
  });
});

describe('the addon that is loaded', () => {
  const folder = mkdtempSync(join(tmpdir(), 'krait-release-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  let root = '';

  const write = (path: string, text: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  /** An installation with these files besides its package.json of version 1.2.3. */
  const install = (files: Record<string, string>, at: Partial<Installation> = {}): Installation => {
    root = mkdtempSync(join(folder, 'project-')); // Node remembers what it found in a folder
    write('node_modules/krait/package.json', '{ "version": "1.2.3" }');
    for (const [path, text] of Object.entries(files)) write(path, text);
    const platform = (): PlatformName => 'linux-x64';
    return { root: join(root, 'node_modules/krait'), os: 'linux', cpu: 'x64', platform, ...at };
  };
  /** Stands for the loader of binaries: the text of the file, an error for one that says so. */
  const read = (path: string): string => {
    const text = readFileSync(path, 'utf8');
    if (text.startsWith('bad')) throw new Error(`${text}\nmore`);
    return text;
  };
  const find = (files: Record<string, string>, at?: Partial<Installation>) => {
    const { addon, reason } = findAddon(install(files, at), read);
    return [
      addon,
      reason.replaceAll(join(root, 'node_modules/krait'), 'KRAIT').replace(/node \S*scripts/, 'node scripts'),
    ];
  };
  const packaged = (name: string, version = '1.2.3', text = 'prebuilt') => ({
    [`node_modules/@krait-ssm/${name}/package.json`]: JSON.stringify({ version }),
    [`node_modules/@krait-ssm/${name}/krait.node`]: text,
  });
  const LOCAL = 'node_modules/krait/build/native/krait.node';
  const REASON = join('build', 'native', 'krait.node');
  const BUILD = 'or build it: node scripts/build-native.mjs';

  it('is a local build, without a question about the platform', () => {
    const platform = () => assert.fail('asked for the platform');
    const files = { ...packaged('linux-x64'), [LOCAL]: 'local' };
    assert.deepEqual(find(files, { platform }), ['local', `${REASON}, built on this machine`]);
  });

  it('is else the package of the platform, and the reason says what was shown of it', () => {
    assert.deepEqual(find(packaged('linux-x64')), ['prebuilt', '@krait-ssm/linux-x64 1.2.3, prebuilt']);
    assert.deepEqual(find(packaged('linux-arm64'), { platform: () => 'linux-arm64' }), [
      'prebuilt',
      '@krait-ssm/linux-arm64 1.2.3, prebuilt; before its release it ran in an emulator only',
    ]);
    assert.deepEqual(find(packaged('darwin-arm64'), { os: 'darwin', platform: () => 'darwin-arm64' }), [
      'prebuilt',
      '@krait-ssm/darwin-arm64 1.2.3, prebuilt; before its release it was only compiled, not run',
    ]);
  });

  it('is the package where the local build cannot be loaded, and the reason says so', () => {
    assert.deepEqual(find({ ...packaged('linux-x64'), [LOCAL]: 'bad ELF' }), [
      'prebuilt',
      `@krait-ssm/linux-x64 1.2.3, prebuilt; ${REASON}: bad ELF`,
    ]);
  });

  it('is never one of another version', () => {
    assert.deepEqual(find(packaged('linux-x64', '1.2.2')), [
      undefined,
      '@krait-ssm/linux-x64: its version 1.2.2 is not that of krait, 1.2.3; npm install @krait-ssm/linux-x64@1.2.3',
    ]);
  });

  it('is missing for a reason of one line that says what helps', () => {
    const none = 'no prebuilt addon is installed: npm install @krait-ssm';
    assert.deepEqual(find({}), [undefined, `${none}/linux-x64@1.2.3; ${BUILD}`]);
    assert.deepEqual(find({}, { os: 'win32', platform: () => 'win32-x64' }), [undefined, `${none}/win32-x64@1.2.3`]);
    assert.deepEqual(find(packaged('linux-x64', '1.2.3', 'bad: GLIBC_2.28 not found')), [
      undefined,
      `@krait-ssm/linux-x64: bad: GLIBC_2.28 not found; ${BUILD}`,
    ]);
    const nowhere = { os: 'freebsd', platform: () => undefined };
    assert.deepEqual(find({}, nowhere), [undefined, `no addon is prebuilt for freebsd-x64; ${BUILD}`]);
    assert.deepEqual(find({}, { ...nowhere, cpu: 'ppc64' }), [
      undefined,
      'no addon is prebuilt for freebsd-ppc64, and none can be built',
    ]);
    assert.deepEqual(find({ 'node_modules/krait/src/a.ts': '' }), [
      undefined,
      'the native addon is not built; run node scripts/build-native.mjs',
    ]);
    assert.deepEqual(find({ [LOCAL]: 'bad ELF' }), [
      undefined,
      `${REASON}: bad ELF; ${none}/linux-x64@1.2.3; ${BUILD}`,
    ]);
    const moved = findAddon(install({}, { root: join(folder, 'nowhere') }), read);
    assert.match(moved.reason, /^no prebuilt addon is installed: npm install @krait-ssm\/linux-x64; or build it: /);
    const damaged = { ...packaged('linux-x64'), 'node_modules/@krait-ssm/linux-x64/package.json': '{' };
    const [addon, reason] = find(damaged);
    assert.equal(addon, undefined);
    // Node 20 gives the message of the JSON parser, Node 22 its own.
    assert.match(reason!, /^@krait-ssm\/linux-x64: .*(JSON|package config)/);
  });
});
