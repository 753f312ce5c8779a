/** Launches: a kernel of the table with its arguments, checked against its row, and as the devices read them. */
import { type DType, dtypeBytes, dtypeCode } from '../core/index.ts';
import type { Allocation } from './allocation.ts';
import {
  argumentName,
  isOptional,
  KERNEL_NAMES,
  KERNELS,
  type KernelName,
  type KernelSpec,
  QUANTISED,
} from './kernels.ts';

/** One tensor argument of a launch: `offset` and `ld` in elements. */
export interface TensorArg {
  readonly block: Allocation;
  readonly offset: number;
  readonly ld: number;
  readonly dtype: DType;
}

/** A launch with its arguments in the order of the kernel's table row. */
export interface Command {
  readonly kernel: KernelName;
  readonly tensors: readonly (TensorArg | null)[];
  readonly dims: readonly number[];
  readonly scalars: readonly number[];
}

const NAMES = new Map<KernelName, string[]>(KERNEL_NAMES.map((k) => [k, KERNELS[k].tensors.map(argumentName)]));

/** Properties of a plain object, counted without a list of them: this runs for every launch. */
function count(o: object): number {
  let n = 0;
  for (const _ in o) n++;
  return n;
}

function valuesOf(kernel: KernelName, names: readonly string[], from: Readonly<Record<string, number>>): number[] {
  const values: number[] = [];
  for (const name of names) {
    const value = from[name];
    if (value === undefined) throw new Error(`[${kernel}] ${name} is missing`);
    values.push(value);
  }
  return values;
}

const NONE: Readonly<Record<string, number>> = {};

/**
 * A command from named arguments. Names that a row does not have, and required ones that are missing, throw.
 * @param argument describes a tensor to the device
 * @throws Error naming the kernel and the argument (a mistake in Krait, never in user input).
 */
export function commandOf<T>(
  kernel: KernelName,
  tensors: Readonly<Record<string, T | null | undefined>>,
  dims: Readonly<Record<string, number>>,
  scalars: Readonly<Record<string, number>>,
  argument: (tensor: T) => TensorArg,
): Command {
  const spec: KernelSpec = KERNELS[kernel];
  const names = NAMES.get(kernel)!;
  if (count(tensors) > names.length || count(dims) !== spec.dims.length || count(scalars) !== spec.scalars.length) {
    throw new Error(
      `[${kernel}] arguments: expected (${spec.tensors} | ${spec.dims} | ${spec.scalars}), ` +
        `got (${Object.keys(tensors)} | ${Object.keys(dims)} | ${Object.keys(scalars)})`,
    );
  }
  const args: (TensorArg | null)[] = [];
  for (let i = 0; i < names.length; i++) {
    const tensor = tensors[names[i]] ?? null;
    if (tensor === null && !isOptional(spec.tensors[i])) throw new Error(`[${kernel}] ${names[i]} is missing`);
    args.push(tensor === null ? null : argument(tensor));
  }
  const quantised = QUANTISED[kernel];
  const weights = quantised ? args[names.indexOf(quantised)] : null;
  if (quantised && (weights?.dtype === 'i8') !== Boolean(tensors.scale)) {
    throw new Error(`[${kernel}] scale: expected with ${quantised} of i8 alone, got ${quantised} of ${weights?.dtype}`);
  }
  const { dims: dimNames, scalars: scalarNames } = spec;
  return {
    kernel,
    tensors: args,
    dims: valuesOf(kernel, dimNames, dims),
    scalars: valuesOf(kernel, scalarNames, scalars),
  };
}

/** As `commandOf`, of tensors that are described already. */
export const command = (
  kernel: KernelName,
  tensors: Readonly<Record<string, TensorArg | null | undefined>>,
  dims: Readonly<Record<string, number>> = NONE,
  scalars: Readonly<Record<string, number>> = NONE,
): Command => commandOf(kernel, tensors, dims, scalars, (tensor) => tensor);

/** Limits and layout of a command in memory: 8-byte floats throughout (see native/kernels/abi.h). */
export const COMMAND = {
  maxTensors: 24,
  maxDims: 12,
  maxScalars: 6,
  tensorsAt: 2,
  dimsAt: 74,
  scalarsAt: 86,
  slots: 92,
} as const;

/**
 * Writes a command as the native and WASM devices read it. `index` is the device's own number of the kernel;
 * absent tensors have address 0.
 */
export function packCommand(cmd: Command, index: number, out: Float64Array, at = 0): void {
  out[at] = index;
  out[at + 1] = cmd.tensors.length;
  let slot = at + COMMAND.tensorsAt;
  for (const t of cmd.tensors) {
    out[slot++] = t ? t.block.address + t.offset * dtypeBytes(t.dtype) : 0;
    out[slot++] = t ? t.ld : 0;
    out[slot++] = t ? dtypeCode(t.dtype) : 0;
  }
  out.set(cmd.dims, at + COMMAND.dimsAt);
  out.set(cmd.scalars, at + COMMAND.scalarsAt);
}
