/** What must hold of the sequence kernels however a sequence is cut, packed, padded or divided into chunks. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { FLAG_PAD, FLAG_RESET } from '../kernels.ts';
import { FLAG_MODES } from '../testing/cases/flags.ts';
import { Draw, operand } from '../testing/operands.ts';
import { evaluate, type Launch } from '../testing/runner.ts';
import { added, carried, pickRows, range, SEQUENCE_KERNELS, type SequenceKernel, take } from '../testing/sequences.ts';

const flags = fc.constantFrom(...FLAG_MODES);
const seed = fc.nat(1e9);

function close(got: ArrayLike<number>, expected: ArrayLike<number>, what: string): void {
  assert.equal(got.length, expected.length, what);
  for (let i = 0; i < got.length; i++) {
    const error = Math.abs(got[i] - expected[i]);
    assert.ok(error <= 1e-11 * (1 + Math.abs(expected[i])), `${what}[${i}]: ${got[i]}, expected ${expected[i]}`);
  }
}

const plus = (a: Float64Array, b: Float64Array): Float64Array => a.map((value, i) => value + b[i]);

async function holds<T>(arbitrary: fc.Arbitrary<T>, law: (x: T) => Promise<void>): Promise<void> {
  await fc.assert(fc.asyncProperty(arbitrary, law), { numRuns: 80, seed: 11 });
}

/** Cotangents of `whole` for some of its positions, in a backward launch for the same positions of the forward. */
async function backwardPart(kernel: SequenceKernel, draw: Draw, forward: Launch, whole: Launch, positions: number[]) {
  const part = await kernel.backward(draw, forward);
  const { dy } = take(whole, positions).tensors;
  return { ...part, tensors: { ...part.tensors, dy } };
}

for (const kernel of SEQUENCE_KERNELS) {
  describe(`laws of ${kernel.name}`, () => {
    const sequences = { b: fc.integer({ min: 1, max: 2 }), l: fc.integer({ min: 0, max: 11 }), flags, seed };

    it('a sequence cut anywhere, with the state carried over, equals the whole', () =>
      holds(fc.record({ ...sequences, at: fc.nat(11) }), async ({ b, l, flags, seed, at }) => {
        const whole = kernel.forward(new Draw(seed, 'f64'), b, l, flags);
        const cut = Math.min(at, l);
        const expected = await evaluate(whole);
        const first = await evaluate(take(whole, range(0, cut)));
        const stateIn = carried(whole.tensors.stateIn!, first.stateOut);
        const second = await evaluate(take(whole, range(cut, l), { stateIn }));
        close(first.y, pickRows(expected.y, b, l, range(0, cut)), 'y before the cut');
        close(second.y, pickRows(expected.y, b, l, range(cut, l)), 'y after the cut');
        close(second.stateOut, expected.stateOut, 'stateOut');
      }));

    it('so do its gradients, with the gradient of the state carried back', () =>
      holds(fc.record({ ...sequences, at: fc.nat(11) }), async ({ b, l, flags, seed, at }) => {
        const draw = new Draw(seed, 'f64');
        const whole = kernel.forward(draw, b, l, flags);
        const wholeBack = await kernel.backward(draw, whole);
        const expected = await evaluate(wholeBack);
        const [before, after] = [range(0, Math.min(at, l)), range(Math.min(at, l), l)];
        const head = take(whole, before);
        const stateIn = carried(whole.tensors.stateIn!, (await evaluate(head)).stateOut);
        const tail = take(whole, after, { stateIn });
        const tailBack = await backwardPart(kernel, draw, tail, wholeBack, after);
        const { dstateOut } = wholeBack.tensors;
        const tailLaunch = { ...tailBack, tensors: { ...tailBack.tensors, dstateOut } };
        const second = await evaluate(tailLaunch);
        const headBack = await backwardPart(kernel, draw, head, wholeBack, before);
        const handed = carried(dstateOut!, second.dstateIn);
        const headLaunch = { ...headBack, tensors: { ...headBack.tensors, dstateOut: handed } };
        const first = await evaluate(headLaunch);
        close(first.dstateIn, expected.dstateIn, 'dstateIn');
        for (const name of kernel.along) {
          close(first[name], pickRows(expected[name], b, l, before), `${name} before the cut`);
          close(second[name], pickRows(expected[name], b, l, after), `${name} after the cut`);
        }
        for (const name of kernel.summed) {
          const sum = plus(added(headLaunch, first, name), added(tailLaunch, second, name));
          close(sum, added(wholeBack, expected, name), name);
        }
      }));

    it('a packed sequence with resets equals its documents run one by one', () =>
      holds(fc.record({ lengths: fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 4 }), seed }), async (x) => {
        const starts = x.lengths.map((_, i) => x.lengths.slice(0, i).reduce((a, n) => a + n, 0));
        const l = x.lengths.reduce((a, n) => a + n, 0);
        const marks = range(0, l).map((t) => (starts.includes(t) ? FLAG_RESET : 0));
        const random = kernel.forward(new Draw(x.seed, 'f64'), 1, l, 'none');
        const packed = take(random, range(0, l), { flags: operand(1, l, marks, 'i32') });
        const expected = await evaluate(packed);
        for (const [i, length] of x.lengths.entries()) {
          const positions = range(starts[i], starts[i] + length);
          const single = await evaluate(take(random, positions, { stateIn: null }));
          close(pickRows(expected.y, 1, l, positions), single.y, `y of document ${i}`);
          if (i === x.lengths.length - 1) close(expected.stateOut, single.stateOut, 'state after the last document');
        }
      }));

    it('padding anywhere equals the sequence without it, and gets zeros', () =>
      holds(fc.record({ ...sequences, b: fc.constant(1) }), async ({ l, flags, seed }) => {
        const draw = new Draw(seed, 'f64');
        const padded = kernel.forward(draw, 1, l, flags === 'none' ? 'mixed' : flags);
        const paddedBack = await kernel.backward(draw, padded);
        const isPad = (t: number) => (padded.tensors.flags!.values![t] & FLAG_PAD) !== 0;
        const kept = range(0, l).filter((t) => !isPad(t));
        const pads = range(0, l).filter(isPad);
        const compact = take(padded, kept);
        const back = await backwardPart(kernel, draw, compact, paddedBack, kept);
        const { dstateOut } = paddedBack.tensors;
        const compactBack = { ...back, tensors: { ...back.tensors, dstateOut } };
        const outputs = { ...(await evaluate(padded)), ...(await evaluate(paddedBack)) };
        const expected = { ...(await evaluate(compact)), ...(await evaluate(compactBack)) };
        for (const name of ['y', ...kernel.along]) {
          close(pickRows(outputs[name], 1, l, kept), expected[name], name);
          assert.ok(
            pickRows(outputs[name], 1, l, pads).every((value) => value === 0),
            `${name} of padding`,
          );
        }
        for (const name of ['stateOut', 'dstateIn']) close(outputs[name], expected[name], name);
        for (const name of kernel.summed) {
          close(added(paddedBack, outputs, name), added(compactBack, expected, name), name);
        }
      }));

    it('what happens at a position changes nothing before it', () =>
      holds(fc.record({ ...sequences, at: fc.nat(10) }), async ({ b, l, flags, seed, at }) => {
        const whole = kernel.forward(new Draw(seed, 'f64'), b, l, flags);
        const before = range(0, Math.min(at, l));
        const expected = await evaluate(take(whole, before));
        const { y } = await evaluate(whole);
        assert.deepEqual(pickRows(y, b, l, before), pickRows(expected.y, b, before.length, before));
      }));
  });
}

describe('laws of the chunks of selective_scan', () => {
  const scan = SEQUENCE_KERNELS[1];
  const shapes = fc.record({
    b: fc.integer({ min: 1, max: 2 }),
    l: fc.integer({ min: 0, max: 11 }),
    chunk: fc.integer({ min: 1, max: 12 }),
    flags,
    seed,
  });
  const chunked = (launch: Launch, chunk: number): Launch => {
    const rows = launch.dims.b * Math.ceil(launch.dims.l / chunk) * launch.dims.n;
    const checkpoints = { ...launch.tensors.checkpoints!, rows, values: null };
    return { ...launch, tensors: { ...launch.tensors, checkpoints }, dims: { ...launch.dims, chunk } };
  };

  it('a checkpoint is the state at the start of its chunk', () =>
    holds(shapes, async ({ b, l, chunk, flags, seed }) => {
      const launch = chunked(scan.forward(new Draw(seed, 'f64'), b, l, flags), chunk);
      const { n, d } = launch.dims;
      const { checkpoints } = await evaluate(launch);
      const chunks = Math.ceil(l / chunk);
      for (let i = 0; i < chunks; i++) {
        const { stateOut } = await evaluate(take(launch, range(0, i * chunk)));
        for (let batch = 0; batch < b; batch++) {
          const at = (batch * chunks + i) * n * d;
          const state = stateOut.subarray(batch * n * d, (batch + 1) * n * d);
          close(checkpoints.subarray(at, at + n * d), state, `checkpoint ${i} of batch ${batch}`);
        }
      }
    }));

  it('any chunk gives the same outputs and gradients', () =>
    holds(shapes, async ({ b, l, chunk, flags, seed }) => {
      const forward = scan.forward(new Draw(seed, 'f64'), b, l, flags);
      const other = chunked(forward, chunk);
      close((await evaluate(other)).y, (await evaluate(forward)).y, 'y');
      const expected = await evaluate(await scan.backward(new Draw(seed, 'f64'), forward));
      const outputs = await evaluate(await scan.backward(new Draw(seed, 'f64'), other));
      for (const [name, values] of Object.entries(outputs)) close(values, expected[name], name);
    }));
});
