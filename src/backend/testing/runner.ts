/** Runs one kernel with given operands on a device, and watches everything that it must not touch. */
import { deepEqual } from 'node:assert/strict';
import type { Allocation } from '../allocation.ts';
import type { Backend } from '../backend.ts';
import { type Command, command, type TensorArg } from '../command.ts';
import type { KernelName } from '../kernels.ts';
import { createReferenceBackend } from '../reference/index.ts';
import { fromBytes, guardsOf, inDouble, type Operand, toBytes } from './operands.ts';

/** One launch. Outputs that are added to carry values, the others are null. */
export interface Launch {
  readonly kernel: KernelName;
  readonly tensors: Readonly<Record<string, Operand | null>>;
  readonly dims: Readonly<Record<string, number>>;
  readonly scalars: Readonly<Record<string, number>>;
  /** Output: the input whose memory it shares. */
  readonly inPlace?: Readonly<Record<string, string>>;
}

/** Outputs of every kernel. */
const OUTPUTS: Readonly<Record<KernelName, readonly string[]>> = {
  fill: ['y'],
  copy: ['y'],
  accumulate: ['y'],
  permute: ['y'],
  unary: ['y'],
  unary_bwd: ['dx'],
  binary: ['y'],
  reduce: ['y'],
  argmax: ['y'],
  softmax: ['y'],
  softmax_bwd: ['dx'],
  dropout: ['y'],
  random_uniform: ['y'],
  matmul: ['c'],
  embedding: ['y'],
  embedding_bwd: ['dtable'],
  rms_norm: ['y', 'sum', 'rstd'],
  rms_norm_bwd: ['dx', 'dweight'],
  layer_norm: ['y', 'sum', 'mean', 'rstd'],
  layer_norm_bwd: ['dx', 'dweight', 'dbias'],
  causal_conv: ['y', 'stateOut'],
  causal_conv_bwd: ['dx', 'dweight', 'dbias', 'dstateIn'],
  selective_scan: ['y', 'stateOut', 'checkpoints'],
  selective_scan_bwd: ['du', 'ddt', 'da', 'db', 'dc', 'dd', 'dz', 'ddtBias', 'dstateIn'],
  sequence_positions: ['positions', 'documents', 'after'],
  rotary: ['y'],
  attention: ['y', 'lse'],
  attention_bwd: ['dq', 'dk', 'dv'],
  cross_entropy: ['losses', 'dlogits'],
  sum_squares: ['acc'],
  clip_control: ['control'],
  adamw: ['param', 'm', 'v', 'half'],
};

export type Outputs = Record<string, Float64Array>;

/** Blocks of a launch by argument; arguments that share memory share the block. */
function place(backend: Backend, launch: Launch): Map<string, Allocation> {
  const blocks = new Map<string, Allocation>();
  for (const [name, x] of Object.entries(launch.tensors)) {
    if (!x || launch.inPlace?.[name]) continue;
    const bytes = toBytes(x);
    const block = backend.alloc(bytes.byteLength);
    backend.upload(block, 0, bytes);
    blocks.set(name, block);
  }
  for (const [output, input] of Object.entries(launch.inPlace ?? {})) blocks.set(output, blocks.get(input)!);
  return blocks;
}

function toCommand(launch: Launch, blocks: Map<string, Allocation>): Command {
  const tensors: Record<string, TensorArg | null> = {};
  for (const [name, x] of Object.entries(launch.tensors)) {
    tensors[name] = x && { block: blocks.get(name)!, offset: x.offset + (x.start ?? 0), ld: x.ld, dtype: x.dtype };
  }
  return command(launch.kernel, tensors, launch.dims, launch.scalars);
}

/**
 * The outputs of a launch. Asserts that inputs, and the memory around every operand, are as before, and frees
 * what it took.
 */
export async function run(backend: Backend, launch: Launch): Promise<Outputs> {
  const blocks = place(backend, launch);
  const written = new Set(OUTPUTS[launch.kernel].map((name) => launch.inPlace?.[name] ?? name));
  const results: Outputs = {};
  try {
    backend.launch(toCommand(launch, blocks));
    const present = Object.entries(launch.tensors).filter((entry): entry is [string, Operand] => entry[1] !== null);
    for (const [name] of present) if (OUTPUTS[launch.kernel].includes(name)) results[name] = new Float64Array();
    const downloads = present.map(async ([name, x]) => {
      const before = toBytes(x);
      const after = await backend.download(blocks.get(name)!, 0, before.byteLength);
      const source = launch.inPlace?.[name] ?? name;
      if (written.has(source)) deepEqual(guardsOf(x, after), guardsOf(x, before), `memory around ${name} has changed`);
      else deepEqual(after, before, `input ${name} has changed`);
      if (name in results) results[name] = fromBytes(x, after);
    });
    await Promise.all(downloads);
  } finally {
    for (const block of new Set(blocks.values())) backend.free(block);
  }
  return results;
}

const reference = createReferenceBackend();

/** Expected outputs: those of the reference device, with every float stored in f64. */
export function evaluate(launch: Launch): Promise<Outputs> {
  const tensors = Object.fromEntries(Object.entries(launch.tensors).map(([name, x]) => [name, x && inDouble(x)]));
  return run(reference, { ...launch, tensors });
}
