/** `--profile [file]`: what a command prints and writes of its profile. */
import { dirname, resolve } from 'node:path';
import {
  type Backend,
  chromeTrace,
  hasPairs,
  kernelRows,
  kernelSeconds,
  measureRoofline,
  type Profile,
  type ProfileRow,
  type Roofline,
  shapeRows,
} from '../backend/index.ts';
import { UsageError } from '../core/index.ts';
import { table } from '../report/terminal.ts';
import { nodeFiles } from './files.ts';
import type { ProfileFlag } from './options.ts';

/** @throws UsageError for a file that cannot be written, before there is anything to write */
export async function checkProfileFile(flag: ProfileFlag): Promise<void> {
  if (typeof flag !== 'string') return;
  if (flag.trim() === '') throw new UsageError('--profile: the path is empty; give a file, or nothing');
  if ((await nodeFiles.status(flag))?.isFolder) {
    throw new UsageError(`--profile: ${flag} is a folder; give a file, such as trace.json`);
  }
  const folder = dirname(resolve(flag)); // made where it is missing
  if ((await nodeFiles.status(folder))?.isFolder === false) {
    throw new UsageError(`--profile: ${folder} is a file, not a folder; give another path`);
  }
}

/** Runs work with the device's profiler on, if that is wanted. */
export async function profiled<T>(
  { profiler }: Backend,
  flag: ProfileFlag,
  work: () => Promise<T>,
): Promise<{ result: T; profile: Profile | null }> {
  if (!flag) return { result: await work(), profile: null };
  profiler.start();
  const result = await work();
  return { result, profile: await profiler.stop() };
}

const giga = (value: number): string => (value / 1e9).toFixed(1);
const percent = (share: number): string => (100 * share).toFixed(1);

const cells = (name: string, { calls, seconds, share, ...row }: ProfileRow): (string | number)[] => [
  name,
  calls,
  (1000 * seconds).toFixed(1),
  percent(share),
  row.gflops.toFixed(1),
  row.gigabytesPerSecond.toFixed(1),
  percent(row.roofShare),
];

export const rooflineText = ({ flopsPerSecond, bytesPerSecond }: Roofline): string =>
  `at most ${giga(flopsPerSecond)} GFLOP/s of multiply-adds, ${giga(bytesPerSecond)} GB/s read from memory, measured in this run`;

function profileText(name: string, profile: Profile, roofs: Roofline, device: Backend): string {
  const { wallSeconds, launches, clock } = profile;
  const idle = Math.max(0, wallSeconds - kernelSeconds(profile));
  return [
    `${name}: ${launches.toLocaleString('en')} launches in ${wallSeconds.toFixed(3)} s, timed ${clock}`,
    table([
      ['kernel', 'calls', 'ms', '% time', 'GFLOP/s', 'GB/s', '% roof'],
      ...kernelRows(profile, roofs, device).map((row) => cells(row.kernel, row)),
      ['(no kernel)', '', (1000 * idle).toFixed(1), percent(idle / wallSeconds), '', '', ''],
    ]),
    hasPairs(device, profile) && '% roof of products of bf16: of twice the multiply-adds, by dot products of pairs',
  ]
    .filter(Boolean)
    .join('\n');
}

function profileJson(profile: Profile, roofs: Roofline, device: Backend) {
  const { clock, wallSeconds, launches } = profile;
  const [kernels, shapes] = [kernelRows(profile, roofs, device), shapeRows(profile, roofs, device)];
  return { clock, wallSeconds, kernelSeconds: kernelSeconds(profile), launches, kernels, shapes };
}

export interface ProfileReport {
  /** For a command's JSON document, by the names of the profiles. */
  readonly json: Readonly<Record<string, ReturnType<typeof profileJson>>>;
  readonly text: string;
}

/** Tables of profiles, and the trace file if the flag names one. */
export async function reportProfiles(
  device: Backend,
  profiles: Readonly<Record<string, Profile>>,
  roofs: Roofline,
  flag: ProfileFlag,
): Promise<ProfileReport> {
  const { name, variant, threads } = device;
  const entries = Object.entries(profiles);
  const lines = entries.map(([title, profile]) => profileText(title, profile, roofs, device));
  if (typeof flag === 'string') {
    await nodeFiles.writeAtomic(flag, chromeTrace(profiles, `krait ${name} ${variant}, ${threads} threads`));
    const [kept, all] = [0, 1].map((i) =>
      entries.reduce((sum, [, { spans, launches }]) => sum + [spans.shape.length, launches][i], 0),
    );
    const part = kept < all ? `the first ${kept.toLocaleString('en')} of them ` : '';
    lines.push(`trace: ${part}in ${flag}; open it in ui.perfetto.dev or chrome://tracing`);
  }
  const json = Object.fromEntries(entries.map(([title, profile]) => [title, profileJson(profile, roofs, device)]));
  return { json, text: lines.join('\n\n') };
}

/** The profile of a command's work, with roofs measured after it. */
export async function reportProfile(
  backend: Backend,
  name: string,
  profile: Profile | null,
  flag: ProfileFlag,
): Promise<{ json: object; text: string } | null> {
  if (!profile) return null;
  const roofs = await measureRoofline(backend);
  const { json, text } = await reportProfiles(backend, { [name]: profile }, roofs, flag);
  return { json: { roofs, ...json[name] }, text: `${text}\n${rooflineText(roofs)}` };
}
