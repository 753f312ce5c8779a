/** A profile for people and programs: rows by kernel, held against the roofline, and a trace for a viewer. */
import type { DType } from '../core/index.ts';
import type { Backend } from './backend.ts';
import type { KernelName } from './kernels.ts';
import type { Profile, ShapeTimes } from './profile.ts';
import type { LaunchShape } from './profile-cost.ts';
import type { Roofline } from './profile-roofline.ts';

export interface ProfileRow {
  readonly calls: number;
  readonly seconds: number;
  /** Share of the profile's wall time. */
  readonly share: number;
  readonly gflops: number;
  readonly gigabytesPerSecond: number;
  /**
   * What the roofline allows over the time that it took: the longer of operations at the peak (for products of bf16 that
   * of `peakFactor`) and bytes at the speed of memory, launch by launch. Above 1 where operands come from caches; low,
   * whatever is done, where transcendentals count.
   */
  readonly roofShare: number;
}

export interface KernelRow extends ProfileRow {
  readonly kernel: KernelName;
}

export interface ShapeRow extends ProfileRow {
  readonly kernel: KernelName;
  readonly dims: LaunchShape['dims'];
  readonly dtypes: LaunchShape['dtypes'];
}

/** The part of a device that determines how it computes products. */
type Kind = Pick<Backend, 'variant'>;

/**
 * How many times the peak of f32 multiply-adds a product of these types can reach: dot products of bf16 pairs, where a
 * processor has them, do twice the operations, by instructions of the same rate.
 */
export const peakFactor = ({ variant }: Kind, a: DType, b: DType): number =>
  a === 'bf16' && b === 'bf16' && variant.includes('bf16') ? 2 : 1;

/** Whether a profile has products that may take dot products of pairs. */
export const hasPairs = (device: Kind, { shapes }: Profile): boolean =>
  shapes.some((shape) => factorOf(device, shape) > 1);

const factorOf = (device: Kind, { kernel, dtypes }: LaunchShape): number =>
  kernel === 'matmul' ? peakFactor(device, dtypes['a'], dtypes['b']) : 1;

function rowOf(shapes: readonly ShapeTimes[], wallSeconds: number, roofline: Roofline, device: Kind): ProfileRow {
  const total = (value: (shape: ShapeTimes) => number) => shapes.reduce((sum, shape) => sum + value(shape), 0);
  const seconds = total((shape) => shape.seconds);
  const over = (amount: number, time: number) => (time > 0 ? amount / time : 0);
  const least = (shape: ShapeTimes) =>
    Math.max(shape.flops / (factorOf(device, shape) * roofline.flopsPerSecond), shape.bytes / roofline.bytesPerSecond);
  return {
    calls: total(({ calls }) => calls),
    seconds,
    share: over(seconds, wallSeconds),
    gflops: over(total(({ calls, flops }) => calls * flops) / 1e9, seconds),
    gigabytesPerSecond: over(total(({ calls, bytes }) => calls * bytes) / 1e9, seconds),
    roofShare: over(
      total((shape) => shape.calls * least(shape)),
      seconds,
    ),
  };
}

const longestFirst = (a: ProfileRow, b: ProfileRow) => b.seconds - a.seconds;

/** Launches added up by kernel, the longest first. */
export function kernelRows({ shapes, wallSeconds }: Profile, roofline: Roofline, device: Kind): KernelRow[] {
  const kernels = [...new Set(shapes.map(({ kernel }) => kernel))];
  const rows = kernels.map((kernel) => {
    const own = shapes.filter((shape) => shape.kernel === kernel);
    return { kernel, ...rowOf(own, wallSeconds, roofline, device) };
  });
  return rows.sort(longestFirst);
}

/** Launches added up by kernel, sizes and types, the longest first. */
export function shapeRows({ shapes, wallSeconds }: Profile, roofline: Roofline, device: Kind): ShapeRow[] {
  const rows = shapes.map((shape) => {
    const { kernel, dims, dtypes } = shape;
    return { kernel, dims, dtypes, ...rowOf([shape], wallSeconds, roofline, device) };
  });
  return rows.sort(longestFirst);
}

/** Time in which a kernel ran. */
export const kernelSeconds = ({ shapes }: Profile): number => shapes.reduce((sum, { seconds }) => sum + seconds, 0);

const microseconds = (ns: number): number => Math.round(ns) / 1000;

function eventsOf({ shapes, spans }: Profile, name: string, tid: number, offsetNs: number): object[] {
  const place = { pid: 1, tid };
  const details = shapes.map(({ dims, dtypes, flops, bytes }) => ({
    dims: Object.entries(dims)
      .map(([key, value]) => `${key} ${value}`)
      .join(', '),
    dtypes: Object.entries(dtypes)
      .map(([key, value]) => `${key} ${value}`)
      .join(', '),
    flops,
    bytes,
  }));
  const launches = spans.shape.map((shape, i) => ({
    name: shapes[shape].kernel,
    cat: 'kernel',
    ph: 'X',
    ...place,
    ts: microseconds(offsetNs + spans.startNs[i]),
    dur: microseconds(spans.durationNs[i]),
    args: details[shape],
  }));
  return [{ name: 'thread_name', ph: 'M', ...place, args: { name } }, ...launches];
}

/**
 * Trace events as JSON, for chrome://tracing or ui.perfetto.dev: a track for each profile, one after the other. Only the
 * launches that the profiles kept one by one are in it.
 */
export function chromeTrace(profiles: Readonly<Record<string, Profile>>, program: string): string {
  let offsetNs = 0;
  const events: object[] = [{ name: 'process_name', ph: 'M', pid: 1, args: { name: program } }];
  Object.entries(profiles).forEach(([name, profile], i) => {
    events.push(...eventsOf(profile, name, i + 1, offsetNs));
    offsetNs += profile.wallSeconds * 1e9;
  });
  const lines = events.map((event) => JSON.stringify(event));
  return `{"displayTimeUnit":"ms","traceEvents":[\n${lines.join(',\n')}\n]}\n`;
}
