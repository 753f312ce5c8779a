/** The kernel table and its commands: the ABI that every device shares. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Allocation } from './allocation.ts';
import { COMMAND, type Command, command, packCommand, type TensorArg } from './command.ts';
import { argumentName, isOptional, KERNEL_NAMES, KERNELS, type KernelSpec } from './kernels.ts';

const block: Allocation = { address: 4096, bytes: 1024 };
const tensor = (offset = 0, ld = 8, dtype: TensorArg['dtype'] = 'f32'): TensorArg => ({ block, offset, ld, dtype });

describe('kernel table', () => {
  for (const name of KERNEL_NAMES) {
    const spec: KernelSpec = KERNELS[name];

    it(`${name} fits into a command`, () => {
      assert.ok(spec.tensors.length >= 1 && spec.tensors.length <= COMMAND.maxTensors);
      assert.ok(spec.dims.length <= COMMAND.maxDims);
      assert.ok(spec.scalars.length <= COMMAND.maxScalars);
    });

    it(`${name} has well-formed names, each once`, () => {
      for (const mark of spec.tensors) assert.match(mark, /^[a-z][A-Za-z0-9]*(\+=)?\??$/);
      for (const list of [spec.tensors.map(argumentName), spec.dims, spec.scalars]) {
        assert.equal(new Set(list).size, list.length);
      }
      assert.match(name, /^[a-z]+(_[a-z]+)*$/);
      assert.ok(spec.doc.length > 0);
    });

    it(`${name} has costs that grow with its sizes and are 0 without any`, () => {
      const filled = (value: number) => Object.fromEntries(spec.dims.map((dim) => [dim, value]));
      const scalars = Object.fromEntries(spec.scalars.map((scalar) => [scalar, 0]));
      const sizes = (value: number) => [spec.elements(filled(value), scalars)].flat();
      // Sums and controls are a few numbers, however long what they are of.
      const isFixed = spec.tensors.map((mark) => ['acc', 'control'].includes(argumentName(mark)));
      const growing = (value: number) => sizes(value).filter((_, i) => !isFixed[i]);
      const elements = (value: number) => growing(value).reduce((sum, size) => sum + size, 0);
      for (const cost of [(value: number) => spec.flops(filled(value)), elements]) {
        const [none, some, more] = [0, 2, 3].map(cost);
        assert.ok(Number.isFinite(more) && some >= 0 && more >= some);
        if (spec.dims.length > 0) assert.equal(none, 0);
      }
      assert.ok([1, spec.tensors.length].includes(sizes(3).length));
      assert.ok(sizes(3).every((size) => size > 0));
    });
  }

  it('gives a backward kernel what its forward kernel reads, in the same order', () => {
    const backward = KERNEL_NAMES.filter((name) => name === 'causal_conv_bwd' || name === 'selective_scan_bwd');
    assert.equal(backward.length, 2);
    for (const name of backward) {
      const forward: KernelSpec = KERNELS[name.replace('_bwd', '') as keyof typeof KERNELS];
      const spec: KernelSpec = KERNELS[name];
      const inputs = forward.tensors.slice(0, forward.tensors.indexOf('y'));
      const read = spec.tensors.slice(0, spec.tensors.indexOf('dy'));
      assert.deepEqual(
        read.filter((mark) => inputs.includes(mark)),
        inputs.filter((mark) => read.includes(mark)),
      );
      assert.deepEqual(spec.dims, forward.dims);
    }
  });

  it('reads the marks of arguments', () => {
    assert.deepEqual(['x', 'bias?', 'acc+=', 'dweight+=?'].map(argumentName), ['x', 'bias', 'acc', 'dweight']);
    assert.deepEqual(['x', 'bias?', 'acc+=', 'dweight+=?'].map(isOptional), [false, true, false, true]);
  });
});

describe('command()', () => {
  const dims = { rows: 2, cols: 3 };

  it('puts arguments into the order of the table, whatever order they come in', () => {
    const x = tensor();
    const y = tensor(100);
    const made = command('accumulate', { y, x }, { cols: 3, rows: 2 }, { alpha: 0.5 });
    assert.deepEqual(made, { kernel: 'accumulate', tensors: [x, y], dims: [2, 3], scalars: [0.5] });
  });

  it('fills in what is optional and absent', () => {
    const made = command('rms_norm', { x: tensor(), y: tensor(), weight: undefined, sum: null }, dims, { eps: 1e-5 });
    assert.deepEqual(
      made.tensors.map((t) => t !== null),
      [true, false, false, true, false, false],
    );
  });

  const refusals: readonly (readonly [what: string, make: () => Command, message: RegExp])[] = [
    ['a missing tensor', () => command('copy', { x: tensor() }, dims), /\[copy\] y is missing/],
    ['a null that is required', () => command('copy', { x: null, y: tensor() }, dims), /\[copy\] x is missing/],
    ['a wrong tensor', () => command('copy', { x: tensor(), z: tensor() }, dims), /\[copy\] y is missing/],
    ['a tensor too many', () => command('fill', { y: tensor(), x: tensor() }, dims, { value: 1 }), /\[fill\]/],
    ['a missing dim', () => command('copy', { x: tensor(), y: tensor() }, { rows: 2 }), /\[copy\].*rows/],
    ['a wrong dim', () => command('copy', { x: tensor(), y: tensor() }, { rows: 2, n: 3 }), /\[copy\] cols is missing/],
    ['a dim too many', () => command('copy', { x: tensor(), y: tensor() }, { ...dims, n: 3 }), /\[copy\]/],
    ['a missing scalar', () => command('fill', { y: tensor() }, dims), /\[fill\].*value/],
    ['a wrong scalar', () => command('fill', { y: tensor() }, dims, { alpha: 1 }), /\[fill\] value is missing/],
    [
      'i8 without a scale',
      () => command('embedding', { table: tensor(0, 8, 'i8'), ids: tensor(), y: tensor() }, { n: 1, d: 1, v: 1 }),
      /\[embedding\] scale.*table of i8/,
    ],
    [
      'a scale without i8',
      () =>
        command('embedding', { table: tensor(), ids: tensor(), y: tensor(), scale: tensor() }, { n: 1, d: 1, v: 1 }),
      /\[embedding\] scale.*table of f32/,
    ],
    ['a scalar too many', () => command('copy', { x: tensor(), y: tensor() }, dims, { alpha: 1 }), /\[copy\]/],
  ];
  for (const [what, make, message] of refusals) it(`refuses ${what}`, () => void assert.throws(make, message));
});

describe('packCommand()', () => {
  it('has room for the limits, as native/kernels/abi.h lays it out', () => {
    assert.equal(COMMAND.dimsAt, COMMAND.tensorsAt + 3 * COMMAND.maxTensors);
    assert.equal(COMMAND.scalarsAt, COMMAND.dimsAt + COMMAND.maxDims);
    assert.equal(COMMAND.slots, COMMAND.scalarsAt + COMMAND.maxScalars);
  });

  it('writes kernel, tensors, dims and scalars where they belong, and nothing else', () => {
    const out = new Float64Array(2 * COMMAND.slots).fill(-7);
    const x = tensor(3, 5, 'bf16');
    const y = tensor(2, 9, 'f16');
    const sum = tensor(1, 4, 'f32');
    const made = command('rms_norm', { x, y, sum }, { rows: 6, cols: 4 }, { eps: 0.25 });
    packCommand(made, 17, out, COMMAND.slots);
    const expected = new Float64Array(2 * COMMAND.slots).fill(-7);
    const head = [17, 6];
    const tensors = [
      [4096 + 6, 5, 1],
      [0, 0, 0],
      [0, 0, 0],
      [4096 + 4, 9, 2],
      [4096 + 4, 4, 0],
      [0, 0, 0],
    ].flat();
    expected.set([...head, ...tensors], COMMAND.slots);
    expected.set([6, 4], COMMAND.slots + COMMAND.dimsAt);
    expected.set([0.25], COMMAND.slots + COMMAND.scalarsAt);
    assert.deepEqual(out, expected);
  });

  it('keeps large numbers exact', () => {
    const out = new Float64Array(COMMAND.slots);
    const far = { ...tensor(0, 2 ** 40), block: { address: 2 ** 47 + 64, bytes: 8 } };
    const made = command(
      'random_uniform',
      { y: far },
      { rows: 2 ** 33, cols: 1, seed: 2 ** 32 - 1, stream: 5 },
      {
        low: -1e300,
        high: 0.1,
      },
    );
    packCommand(made, 0, out);
    assert.deepEqual([...out.subarray(2, 5)], [2 ** 47 + 64, 2 ** 40, 0]);
    const { dimsAt, scalarsAt } = COMMAND;
    assert.deepEqual([...out.subarray(dimsAt, dimsAt + 4)], [2 ** 33, 1, 2 ** 32 - 1, 5]);
    assert.deepEqual([...out.subarray(scalarsAt, scalarsAt + 2)], [-1e300, 0.1]);
  });
});
