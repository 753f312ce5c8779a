/**
 * The reference device: every kernel of the table as plain TypeScript loops in f64. Tests compare the other devices with
 * it. It is slow, and the only device that stores f64. A launch runs at once, so it needs no queue.
 */
import { type DType, KraitError } from '../../core/index.ts';
import type { Allocation } from '../allocation.ts';
import type { Backend, CommandList, MemoryStats } from '../backend.ts';
import type { Command } from '../command.ts';
import { argumentName, KERNELS, type KernelName } from '../kernels.ts';
import { HostTimes, Profiler } from '../profile.ts';
import { adamw, clipControl } from './adamw.ts';
import { attention, attentionBwd } from './attention.ts';
import { causalConv, causalConvBwd } from './causal-conv.ts';
import { crossEntropy } from './cross-entropy.ts';
import * as elementwise from './elementwise.ts';
import { embedding, embeddingBwd } from './embedding.ts';
import { matmul } from './matmul.ts';
import { BlockMemory } from './memory.ts';
import { layerNorm, layerNormBwd, rmsNorm, rmsNormBwd } from './norm.ts';
import { argmax, reduce, softmax, softmaxBwd, sumSquares } from './reduce.ts';
import { rotary, sequencePositions } from './rotary.ts';
import { selectiveScan, selectiveScanBwd } from './selective-scan.ts';
import { createView, type MatrixView, type Numbers } from './view.ts';

/**
 * A kernel. Written as a method, so that each function may name the tensors it takes: the table row says which
 * are there, and `command()` has checked it.
 */
interface ReferenceKernel {
  run(tensors: Record<string, MatrixView | null>, dims: Numbers, scalars: Numbers): void;
}

/** A kernel of the table that is missing here is a type error. */
const REFERENCE: { readonly [K in KernelName]: ReferenceKernel['run'] } = {
  fill: elementwise.fill,
  copy: elementwise.copy,
  accumulate: elementwise.accumulate,
  permute: elementwise.permute,
  unary: elementwise.unary,
  unary_bwd: elementwise.unaryBwd,
  binary: elementwise.binary,
  reduce,
  argmax,
  softmax,
  softmax_bwd: softmaxBwd,
  dropout: elementwise.dropout,
  random_uniform: elementwise.randomUniform,
  matmul,
  embedding,
  embedding_bwd: embeddingBwd,
  rms_norm: rmsNorm,
  rms_norm_bwd: rmsNormBwd,
  layer_norm: layerNorm,
  layer_norm_bwd: layerNormBwd,
  causal_conv: causalConv,
  causal_conv_bwd: causalConvBwd,
  selective_scan: selectiveScan,
  selective_scan_bwd: selectiveScanBwd,
  sequence_positions: sequencePositions,
  rotary,
  attention,
  attention_bwd: attentionBwd,
  cross_entropy: crossEntropy,
  sum_squares: sumSquares,
  clip_control: clipControl,
  adamw,
};

const named = (names: readonly string[], values: readonly number[]): Numbers =>
  Object.fromEntries(names.map((name, i) => [name, values[i]]));

export class ReferenceBackend implements Backend {
  readonly name = 'reference';
  readonly variant = 'typescript-f64';
  readonly threads = 1;
  readonly profiler: Profiler;
  private readonly blocks = new BlockMemory();
  private readonly times = new HostTimes();
  private isClosed = false;

  constructor() {
    const { times } = this;
    const source = {
      setTiming: (on: boolean) => {
        if (on) this.checkOpen();
        times.setTiming(on);
      },
      takeTimes: () => times.takeTimes(),
      sync: () => this.sync(),
    };
    this.profiler = new Profiler(source, 'on the JavaScript thread, which runs the kernels');
  }

  private checkOpen(): void {
    if (this.isClosed) throw new KraitError('the reference device is closed; create another one');
  }

  alloc(bytes: number): Allocation {
    this.checkOpen();
    return this.blocks.alloc(bytes);
  }

  /** @throws KraitError if the block was freed before. */
  free(block: Allocation): void {
    this.checkOpen();
    this.blocks.free(block);
  }

  upload(block: Allocation, byteOffset: number, data: Uint8Array): void {
    this.checkOpen();
    this.blocks.range(block, byteOffset, data.byteLength, 'upload').set(data);
  }

  async download(block: Allocation, byteOffset: number, bytes: number): Promise<Uint8Array> {
    this.checkOpen();
    return this.blocks.range(block, byteOffset, bytes, 'download').slice();
  }

  /** @throws KraitError naming the kernel, for memory that was freed or an access outside its block. */
  launch(cmd: Command): void {
    this.checkOpen();
    if (!this.profiler.isOn) {
      this.run(cmd);
      return;
    }
    const startedMs = performance.now();
    this.run(cmd);
    this.times.push(startedMs, performance.now() - startedMs);
    this.profiler.add(cmd);
  }

  list(commands: readonly Command[]): CommandList {
    this.checkOpen();
    let isClosed = false;
    return {
      length: commands.length,
      launch: () => {
        if (isClosed) throw new KraitError('this list of commands is closed; make another one');
        for (const cmd of commands) this.launch(cmd);
      },
      close: () => {
        isClosed = true;
      },
    };
  }

  private run({ kernel, tensors, dims, scalars }: Command): void {
    const spec = KERNELS[kernel];
    const views: Record<string, MatrixView | null> = {};
    spec.tensors.forEach((mark, i) => {
      const name = argumentName(mark);
      const tensor = tensors[i];
      const label = `[${kernel}] ${name}`;
      views[name] =
        tensor && createView(label, this.blocks.bufferOf(tensor.block, kernel), tensor.offset, tensor.ld, tensor.dtype);
    });
    REFERENCE[kernel](views, named(spec.dims, dims), named(spec.scalars, scalars));
  }

  supports(_dtype: DType): boolean {
    return true;
  }

  async sync(): Promise<void> {
    this.checkOpen();
  }

  memory(): MemoryStats {
    return this.blocks.stats();
  }

  resetPeak(): void {
    this.blocks.resetPeak();
  }

  close(): void {
    this.isClosed = true;
    this.blocks.clear();
  }
}

export const createReferenceBackend = (): Backend => new ReferenceBackend();
