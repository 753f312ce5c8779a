/**
 * Where the native device's binary comes from: a local build, else the package of this platform. Each that is there and
 * cannot serve has its reason said.
 * What it is not: it does not look at the instruction sets inside (addon.ts does).
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { PLATFORMS, type PlatformName, packageOf } from './platforms.ts';

/** An installation of Krait, on a platform. */
export interface Installation {
  /** Folder of the package `krait`, or of the clone. */
  readonly root: string;
  readonly os: string;
  readonly cpu: string;
  /** The platform with a prebuilt addon, if there is one; asked only where there is no local build. */
  platform(): PlatformName | undefined;
}

export interface Found<T> {
  readonly addon?: T;
  /** One line: where the addon came from, or why there is none and what helps. */
  readonly reason: string;
}

const LOCAL = join('build', 'native', 'krait.node');
const CHECKED = {
  run: '',
  emulated: '; before its release it ran in an emulator only',
  compiled: '; before its release it was only compiled, not run',
} as const;

const firstLine = (error: unknown): string => (error instanceof Error ? error.message : String(error)).split('\n')[0];
const versionIn = (manifest: string): string =>
  (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;

/**
 * The addon of an installation. Never throws.
 * @param load what loads a binary by its path
 */
export function findAddon<T>(at: Installation, load: (path: string) => T): Found<T> {
  const problems: string[] = [];
  const attempt = (source: string, find: () => Found<T> | undefined): Found<T> | undefined => {
    try {
      const found = find();
      return found && { ...found, reason: [found.reason, ...problems].join('; ') };
    } catch (error) {
      problems.push(`${source}: ${firstLine(error)}`);
      return undefined;
    }
  };
  const local = attempt(LOCAL, () => fromBuild(at, load));
  if (local) return local;
  const platform = at.platform();
  const broken = problems.length;
  const prebuilt = platform && attempt(packageOf(platform), () => fromPackage(at, platform, load));
  if (prebuilt) return prebuilt;
  if (problems.length === broken) problems.push(missing(at, platform));
  return { reason: problems.join('; ') };
}

function fromBuild<T>({ root }: Installation, load: (path: string) => T): Found<T> | undefined {
  const path = join(root, LOCAL);
  return existsSync(path) ? { addon: load(path), reason: `${LOCAL}, built on this machine` } : undefined;
}

/** @throws an error of one line if the package is there and is not of this version, or cannot be loaded */
function fromPackage<T>(at: Installation, platform: PlatformName, load: (path: string) => T): Found<T> | undefined {
  const name = packageOf(platform);
  const manifest = findManifest(at.root, name);
  if (!manifest) return undefined;
  const [version, own] = [versionIn(manifest), versionIn(join(at.root, 'package.json'))];
  if (version !== own) {
    throw new Error(`its version ${version} is not that of krait, ${own}; npm install ${name}@${own}`);
  }
  try {
    const addon = load(join(dirname(manifest), 'krait.node'));
    return { addon, reason: `${name} ${version}, prebuilt${CHECKED[PLATFORMS[platform].checked]}` };
  } catch (error) {
    throw new Error(`${firstLine(error)}${orBuild(at)}`);
  }
}

/** The package.json of a package that stands beside `root` or above, as Node looks for it. */
function findManifest(root: string, name: string): string | undefined {
  try {
    return createRequire(join(root, 'package.json')).resolve(`${name}/package.json`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND') return undefined;
    throw error;
  }
}

/** The command that builds an addon here, or nothing where none can be built. */
function buildCommand({ root, os, cpu }: Installation): string {
  if (os === 'win32' || !['x64', 'arm64'].includes(cpu)) return '';
  return `node ${relative(process.cwd(), join(root, 'scripts', 'build-native.mjs'))}`;
}

function orBuild(at: Installation): string {
  const build = buildCommand(at);
  return build && `; or build it: ${build}`;
}

/** Why there is no addon at all, and what helps. */
function missing(at: Installation, platform: PlatformName | undefined): string {
  const build = buildCommand(at);
  const isClone = existsSync(join(at.root, 'src'));
  if (isClone && build) return `the native addon is not built; run ${build}`;
  if (!platform) return `no addon is prebuilt for ${at.os}-${at.cpu}${orBuild(at) || ', and none can be built'}`;
  const manifest = join(at.root, 'package.json'); // not there where a bundler moved this code
  const version = existsSync(manifest) ? `@${versionIn(manifest)}` : '';
  return `no prebuilt addon is installed: npm install ${packageOf(platform)}${version}${orBuild(at)}`;
}
