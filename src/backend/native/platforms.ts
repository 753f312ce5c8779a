/**
 * The platforms that have a prebuilt addon, each in an npm package of its own: `@krait-ssm/linux-x64` and so on.
 * scripts/release-*.mjs build, pack and check them; find-addon.ts loads the one that fits.
 * What it is not: a list of where Krait runs. WebAssembly serves everywhere else.
 */

export interface Platform {
  /** Name of the operating system, as in `process.platform` and npm's field `os`. */
  readonly os: string;
  /** Name of the processor's architecture, as in `process.arch` and npm's field `cpu`. */
  readonly cpu: string;
  /** C library of Linux; npm's field `libc`. */
  readonly libc?: 'glibc' | 'musl';
  /**
   * Check of the addon before its release: it ran on such a machine, it ran in an emulator, or it was only compiled.
   */
  readonly checked: 'run' | 'emulated' | 'compiled';
}

export const PLATFORMS = {
  'linux-x64': { os: 'linux', cpu: 'x64', libc: 'glibc', checked: 'run' },
  'linux-x64-musl': { os: 'linux', cpu: 'x64', libc: 'musl', checked: 'run' },
  'linux-arm64': { os: 'linux', cpu: 'arm64', libc: 'glibc', checked: 'emulated' },
  'linux-arm64-musl': { os: 'linux', cpu: 'arm64', libc: 'musl', checked: 'emulated' },
  'darwin-arm64': { os: 'darwin', cpu: 'arm64', checked: 'compiled' },
  'darwin-x64': { os: 'darwin', cpu: 'x64', checked: 'compiled' },
  'win32-x64': { os: 'win32', cpu: 'x64', checked: 'emulated' },
} as const satisfies Record<string, Platform>;

export type PlatformName = keyof typeof PLATFORMS;

export const PLATFORM_NAMES = Object.keys(PLATFORMS) as PlatformName[];

/** Name of the npm package that holds a platform's addon. */
export const packageOf = (name: PlatformName): string => `@krait-ssm/${name}`;

/** The platform of a machine, or undefined where no addon is built for it. Asks for the C library only on Linux. */
export function platformOf(os: string, cpu: string, isMusl: () => boolean): PlatformName | undefined {
  const name = `${os}-${cpu}${os === 'linux' && isMusl() ? '-musl' : ''}`;
  return Object.hasOwn(PLATFORMS, name) ? (name as PlatformName) : undefined;
}

/** Whether this process runs on musl: Node's report names the version of glibc where that is the C library. */
function isMusl(): boolean {
  const report = process.report as NodeJS.ProcessReport & { excludeNetwork?: boolean };
  const before = report.excludeNetwork;
  report.excludeNetwork = true; // else Node may ask for the names of hosts
  const { header } = report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  report.excludeNetwork = before;
  return header.glibcVersionRuntime === undefined;
}

/** The platform of this process. */
export const thisPlatform = (): PlatformName | undefined => platformOf(process.platform, process.arch, isMusl);
