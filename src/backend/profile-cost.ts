/** Least cost of a command, by its row in the kernel table. */
import { type DType, dtypeBytes } from '../core/index.ts';
import type { Command } from './command.ts';
import { argumentName, KERNEL_NAMES, KERNELS, type KernelName, type KernelSpec } from './kernels.ts';

export interface Cost {
  /** Floating-point operations. A transcendental counts as one, though it takes some twenty, but in scans and convolutions. */
  readonly flops: number;
  /** Bytes that are read and written at least once: what memory moves if caches keep nothing between kernels. */
  readonly bytes: number;
}

const named = (names: readonly string[], values: readonly number[]): Record<string, number> =>
  Object.fromEntries(names.map((name, i) => [name, values[i]]));

/** Cost of one launch. Tensors that are absent cost nothing. */
export function costOf({ kernel, tensors, dims, scalars }: Command): Cost {
  const spec: KernelSpec = KERNELS[kernel];
  const sizes = named(spec.dims, dims);
  const elements = spec.elements(sizes, named(spec.scalars, scalars));
  const bytes = tensors.map((tensor, i) => {
    if (!tensor) return 0;
    const count = typeof elements === 'number' ? elements : elements[i];
    return count * dtypeBytes(tensor.dtype) * (spec.tensors[i].includes('+=') ? 2 : 1);
  });
  return { flops: spec.flops(sizes), bytes: bytes.reduce((sum, size) => sum + size, 0) };
}

/** Dims that change from launch to launch of the same work. */
const isPasser = (name: string): boolean => ['seed', 'stream', 'ignore'].includes(name);

const LASTING = new Map<KernelName, number[]>(
  KERNEL_NAMES.map((kernel) => [
    kernel,
    [...KERNELS[kernel].dims.keys()].filter((i) => !isPasser(KERNELS[kernel].dims[i])),
  ]),
);

/** Launches that are alike: the same kernel, sizes and types, and so the same cost. */
export interface LaunchShape extends Cost {
  readonly kernel: KernelName;
  /** Dimensions, without seeds. */
  readonly dims: Readonly<Record<string, number>>;
  /** Types of the tensors that are given. */
  readonly dtypes: Readonly<Record<string, DType>>;
}

/** The same text for launches of the same shape. */
export function shapeKey({ kernel, tensors, dims, scalars }: Command): string {
  let key: string = kernel;
  for (const i of LASTING.get(kernel)!) key += ` ${dims[i]}`;
  for (const tensor of tensors) key += tensor ? ` ${tensor.dtype}` : ' -';
  return kernel === 'matmul' && scalars[1] !== 0 ? `${key} +` : key; // with a beta it reads c too
}

export function shapeOf(command: Command): LaunchShape {
  const { kernel, tensors, dims } = command;
  const spec: KernelSpec = KERNELS[kernel];
  const kept = LASTING.get(kernel)!;
  const present = spec.tensors.flatMap((mark, i) => {
    const tensor = tensors[i];
    return tensor ? [[argumentName(mark), tensor.dtype] as const] : [];
  });
  return {
    kernel,
    dims: Object.fromEntries(kept.map((i) => [spec.dims[i], dims[i]])),
    dtypes: Object.fromEntries(present),
    ...costOf(command),
  };
}
