/** The contract suite must notice a device that is wrong: each fault here is one that a kernel could have. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Backend } from '../backend.ts';
import { type Command, command, type TensorArg } from '../command.ts';
import { argumentName, KERNELS, type KernelName } from '../kernels.ts';
import { createReferenceBackend } from '../reference/index.ts';
import { checkKernel } from './contract.ts';

/** The reference device with another way to launch. */
function faulty(launch: (command: Command, device: Backend) => void): Backend {
  const device = createReferenceBackend();
  const real = device.launch.bind(device);
  const honest: Backend = Object.assign(Object.create(device) as Backend, { launch: real });
  device.launch = (cmd) => launch(cmd, honest);
  return device;
}

const indexOf = (kernel: KernelName, name: string): number =>
  KERNELS[kernel].tensors.findIndex((mark) => argumentName(mark) === name);

/** The command with one tensor argument changed. */
function changed(cmd: Command, name: string, change: (t: TensorArg) => TensorArg | null): Command {
  const at = indexOf(cmd.kernel, name);
  return { ...cmd, tensors: cmd.tensors.map((t, i) => (i === at && t ? change(t) : t)) };
}

const withDim = (cmd: Command, name: string, change: (value: number) => number): Command => ({
  ...cmd,
  dims: cmd.dims.map((value, i) => (KERNELS[cmd.kernel].dims[i] === name ? change(value) : value)),
});

type Fault = readonly [what: string, kernel: KernelName, launch: (cmd: Command, device: Backend) => void];

const FAULTS: readonly Fault[] = [
  ['does nothing', 'copy', () => {}],
  [
    'ignores the distance between rows',
    'copy',
    (cmd, device) => device.launch(changed(cmd, 'y', (t) => ({ ...t, ld: cmd.dims[1] }))),
  ],
  [
    'writes a whole vector at the end',
    'unary',
    (cmd, device) => {
      device.launch(cmd);
      const y = cmd.tensors[indexOf('unary', 'y')]!;
      if (cmd.dims[0] === 0) return;
      const tail = { ...y, offset: y.offset + cmd.dims[1] };
      device.launch(command('fill', { y: tail }, { rows: 1, cols: 1 }, { value: 0 }));
    },
  ],
  [
    'overwrites an input',
    'binary',
    (cmd, device) => {
      device.launch(cmd);
      const b = cmd.tensors[indexOf('binary', 'b')]!;
      if (cmd.dims[0] * cmd.dims[1] > 0) device.launch(command('fill', { y: b }, { rows: 1, cols: 1 }, { value: 9 }));
    },
  ],
  [
    'reads c where beta is 0',
    'matmul',
    (cmd, device) => device.launch({ ...cmd, scalars: [cmd.scalars[0], cmd.scalars[1] || 1e-30] }),
  ],
  ['forgets the bias', 'matmul', (cmd, device) => device.launch(changed(cmd, 'bias', () => null))],
  ['forgets the scale', 'matmul', (cmd, device) => device.launch(changed(cmd, 'scale', () => null))],
  ['forgets the scale', 'embedding', (cmd, device) => device.launch(changed(cmd, 'scale', () => null))],
  ['ignores flags', 'selective_scan', (cmd, device) => device.launch(changed(cmd, 'flags', () => null))],
  ['ignores flags', 'causal_conv_bwd', (cmd, device) => device.launch(changed(cmd, 'flags', () => null))],
  [
    'drops the gradient of the last state',
    'selective_scan_bwd',
    (cmd, device) => device.launch(changed(cmd, 'dstateOut', () => null)),
  ],
  [
    'misses the last position',
    'causal_conv',
    (cmd, device) => device.launch(withDim(cmd, 'l', (l) => Math.max(0, l - 1))),
  ],
  [
    'overwrites what it should add to',
    'rms_norm_bwd',
    (cmd, device) => {
      const dweight = cmd.tensors[indexOf('rms_norm_bwd', 'dweight')];
      if (dweight) device.launch(command('fill', { y: dweight }, { rows: 1, cols: cmd.dims[1] }, { value: 0 }));
      device.launch(cmd);
    },
  ],
  [
    'is a step of bf16 away',
    'layer_norm',
    (cmd, device) => {
      device.launch(cmd);
      const y = cmd.tensors[indexOf('layer_norm', 'y')]!;
      const [rows, cols] = cmd.dims;
      if (y.dtype === 'bf16') {
        device.launch(command('unary', { x: y, y }, { rows, cols, op: 14 }, { param: 1 + 2 ** -7 }));
      }
    },
  ],
  ['keeps another element', 'dropout', (cmd, device) => device.launch(withDim(cmd, 'stream', (s) => s + 1))],
  [
    'computes in bf16',
    'embedding_bwd',
    (cmd, device) => {
      const dy = cmd.tensors[indexOf('embedding_bwd', 'dy')]!;
      const [n, d] = cmd.dims;
      const block = device.alloc(2 * n * d);
      const rough = { block, offset: 0, ld: d, dtype: 'bf16' as const };
      device.launch(command('copy', { x: dy, y: rough }, { rows: n, cols: d }));
      device.launch(changed(cmd, 'dy', () => rough));
      device.free(block);
    },
  ],
  [
    'leaks',
    'fill',
    (cmd, device) => {
      device.launch(cmd);
      device.alloc(8);
    },
  ],
];

describe('the contract suite notices a device that', () => {
  for (const [what, kernel, launch] of FAULTS) {
    it(`${what} (${kernel})`, async () => {
      const device = faulty(launch);
      await assert.rejects(() => checkKernel([device, device], kernel), /KRAIT_SEED|memory is still in use/);
    });
  }

  it('gives other bits the second time (softmax)', async () => {
    const rough = faulty((cmd, device) => {
      device.launch(cmd);
      const y = cmd.tensors[1]!;
      if (y.dtype === 'f32') {
        const [rows, cols] = cmd.dims;
        device.launch(command('unary', { x: y, y }, { rows, cols, op: 14 }, { param: 1 + 2 ** -23 }));
      }
    });
    await assert.rejects(() => checkKernel([createReferenceBackend(), rough], 'softmax'), /differ/);
  });

  it('and accepts one that is right', () =>
    checkKernel([faulty((cmd, device) => device.launch(cmd)), createReferenceBackend()], 'binary'));
});
