/** Cuts launches of the sequence kernels along time: parts, documents, sequences without their padding. */
import type { KernelName } from '../kernels.ts';
import { convBackward, convForward } from './cases/causal-conv.ts';
import type { FlagMode } from './cases/flags.ts';
import { scanBackward, scanForward } from './cases/selective-scan.ts';
import { type Draw, type Operand, operand } from './operands.ts';
import type { Launch, Outputs } from './runner.ts';

/** Tensors with a row for each position. */
const ALONG_TIME: Partial<Record<KernelName, readonly string[]>> = {
  causal_conv: ['x', 'y'],
  causal_conv_bwd: ['x', 'dy', 'dx'],
  selective_scan: ['u', 'dt', 'b', 'c', 'z', 'y'],
  selective_scan_bwd: ['u', 'dt', 'b', 'c', 'z', 'dy', 'du', 'ddt', 'db', 'dc', 'dz'],
};

/** The positions from `start` to before `end`. */
export const range = (start: number, end: number): number[] => Array.from({ length: end - start }, (_, i) => start + i);

/** Dense values of the rows at `positions` of every batch. */
export function pickRows(values: Float64Array, b: number, l: number, positions: readonly number[]): Float64Array {
  const cols = b * l === 0 ? 0 : values.length / (b * l);
  const rows = range(0, b).flatMap((batch) => positions.map((t) => batch * l + t));
  return Float64Array.from(rows.flatMap((row) => [...values.subarray(row * cols, (row + 1) * cols)]));
}

function pickOperand(x: Operand, b: number, l: number, positions: readonly number[]): Operand {
  const rows = b * positions.length;
  if (!x.values) return { ...x, rows };
  return operand(rows, x.cols, pickRows(x.values, b, l, positions), x.dtype);
}

/** The same launch with only some of its positions; `change` replaces flags, states and the like. */
export function take(launch: Launch, positions: readonly number[], change: Launch['tensors'] = {}): Launch {
  const { b, l } = launch.dims;
  const tensors = { ...launch.tensors };
  for (const name of ALONG_TIME[launch.kernel]!) {
    const x = tensors[name];
    if (x) tensors[name] = pickOperand(x, b, l, positions);
  }
  const { flags } = tensors;
  if (flags) tensors.flags = operand(b, positions.length, pickRows(flags.values!, b, l, positions), 'i32');
  if (tensors.checkpoints) {
    const rows = b * Math.ceil(positions.length / launch.dims.chunk) * launch.dims.n;
    tensors.checkpoints = { ...tensors.checkpoints, rows, values: null };
  }
  return { ...launch, tensors: { ...tensors, ...change }, dims: { ...launch.dims, l: positions.length } };
}

/** A sequence kernel, as the tests of its properties launch it. */
export interface SequenceKernel {
  readonly name: string;
  /** A random launch with states in and out. */
  forward(draw: Draw, b: number, l: number, flags: FlagMode): Launch;
  /** The backward launch for it, with random cotangents. */
  backward(draw: Draw, forward: Launch): Promise<Launch>;
  /** Outputs of `backward` with a row for each position, and those that are summed over positions. */
  readonly along: readonly string[];
  readonly summed: readonly string[];
}

export const SEQUENCE_KERNELS: readonly SequenceKernel[] = [
  {
    name: 'causal_conv',
    forward: (draw, b, l, flags) =>
      convForward(draw, { b, l, d: 3, k: 4, silu: 1 }, { flags, bias: true, stateIn: true, stateOut: true }),
    backward: async (draw, forward) => convBackward(draw, forward),
    along: ['dx'],
    summed: ['dweight', 'dbias'],
  },
  {
    name: 'selective_scan',
    forward: (draw, b, l, flags) =>
      scanForward(
        draw,
        { b, l, d: 3, n: 2, chunk: 4, softplus: 1 },
        { flags, skip: true, gate: true, dtBias: true, stateIn: true, stateOut: true, checkpoints: true },
      ),
    backward: scanBackward,
    along: ['du', 'ddt', 'db', 'dc', 'dz'],
    summed: ['da', 'dd', 'ddtBias'],
  },
];

/** An output as an input of another launch, shaped like `like`. */
export const carried = (like: Operand, values: Float64Array): Operand =>
  operand(like.rows, like.cols, values, like.dtype);

/** Values that `backward` added to its summed outputs. */
export function added(launch: Launch, outputs: Outputs, name: string): Float64Array {
  return outputs[name].map((value, i) => value - launch.tensors[name]!.values![i]);
}
