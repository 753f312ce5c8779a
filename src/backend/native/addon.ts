/**
 * The native device's binary with the types of its functions (native/node/addon.cc implements them), and whether it serves.
 * What it is not: it starts no threads and chooses nothing but the instruction set; find-addon.ts finds the file.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { type Found, findAddon } from './find-addon.ts';
import { thisPlatform } from './platforms.ts';

/** A device of the addon; it dies with `close` or with its last reference. */
export type Handle = { readonly __native: unique symbol };

export interface Addon {
  /** Instruction-set variants in the binary, the widest first. */
  variants(): { name: string; runnable: boolean }[];
  kernels(variant: string): string[];
  open(variant: string, threads: number): Handle;
  /** One packed command, the input of `launch`. */
  commandBuffer(device: Handle): Float64Array;
  threads(device: Handle): number;
  /** Address of fresh memory, or 0. */
  alloc(device: Handle, bytes: number): number;
  /** 0, or 1 + the index of the tensor whose dtype the kernel does not take. */
  launch(device: Handle): number;
  /** The number of a list of packed commands; or -(1 + 32 c + t) where the kernel of command c refuses the dtype of tensor t. */
  makeList(device: Handle, commands: Float64Array): number;
  launchList(device: Handle, list: number): void;
  /** The number may then name another list. */
  dropList(device: Handle, list: number): void;
  write(device: Handle, address: number, data: Uint8Array): void;
  read(device: Handle, address: number, bytes: number): Promise<Uint8Array>;
  /** Fills memory from an open file. Rejects if not all of it is there. */
  load(device: Handle, address: number, file: number, offset: number, bytes: number): Promise<void>;
  sync(device: Handle): Promise<void>;
  /** Whether launches from now on are timed. */
  setTiming(device: Handle, on: boolean): void;
  /** Start and duration in nanoseconds of the timed launches that have run since the last call. */
  takeTimes(device: Handle): Float64Array;
  close(device: Handle): void;
}

export interface NativeAvailability {
  readonly available: boolean;
  /** One line: where the addon came from, or why it is not there and what to do. */
  readonly reason: string;
  /** Variants that this machine can run, the widest first. */
  readonly variants: string[];
  /** The variant that a new device takes; `KRAIT_ISA` forces one. */
  readonly variant: string | undefined;
}

const root = fileURLToPath(new URL('../../..', import.meta.url));
let loaded: Found<Addon> | undefined;

/** The addon, or the reason in one line; tried once per process. */
export function loadAddon(): Found<Addon> {
  const { platform: os, arch: cpu } = process;
  loaded ??= findAddon(
    { root, os, cpu, platform: thisPlatform },
    createRequire(import.meta.url) as (path: string) => Addon,
  );
  return loaded;
}

/** Whether the native device can be used here, with which instruction set, or why not. Never throws. */
export function nativeAvailability(): NativeAvailability {
  const { addon, reason } = loadAddon();
  if (!addon) return { available: false, reason, variants: [], variant: undefined };
  const variants = addon
    .variants()
    .filter((v) => v.runnable)
    .map((v) => v.name);
  const forced = process.env.KRAIT_ISA;
  if (forced && !variants.includes(forced)) {
    const remedy = `this machine can run ${variants.join(', ')}`;
    return { available: false, reason: `KRAIT_ISA=${forced}: ${remedy}`, variants, variant: undefined };
  }
  const variant = forced || variants[0];
  if (!variant) return { available: false, reason: `${reason}: no variant for this machine`, variants, variant };
  return { available: true, reason, variants, variant };
}
