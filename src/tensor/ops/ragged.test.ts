/** Ragged batches against each of their sequences alone. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { createReferenceBackend } from '../../backend/reference/index.ts';
import { HostRandom, type Shape, sizeOf } from '../../core/index.ts';
import * as T from '../index.ts';

const device = new T.Device(createReferenceBackend());

const normal = (shape: Shape, seed = 1) => {
  const random = new HostRandom(seed);
  const values = Array.from({ length: sizeOf(shape) }, () => random.normal());
  return device.from(values, shape, 'f64');
};

async function same(a: readonly T.Tensor[], b: readonly T.Tensor[]) {
  for (const [i, t] of a.entries()) {
    const [got, expected] = [await t.read(), await b[i].read()];
    assert.equal(got.length, expected.length);
    got.forEach(
      (x, j) =>
        void assert.ok(
          Math.abs(x - expected[j]) <= 1e-10 * Math.max(1, Math.abs(x)),
          `output ${i}, ${j}: ${x}, not ${expected[j]}`,
        ),
    );
  }
}

it('causalConv and selectiveScan of a ragged batch are those of each sequence alone', async () => {
  // Three sequences of two positions, two of four of which one is padded, one of three; slices of wider rows.
  const ragged = [
    { rows: 3, length: 2 },
    { rows: 2, length: 4 },
    { rows: 1, length: 3 },
  ];
  const [n, sequences] = [17, 6];
  const wide = normal([1, n, 10]);
  const [x, z, B, C] = T.split(wide, [3, 3, 2, 2]);
  const [w, b, dt, a, D] = [normal([3, 4], 2), normal([3], 3), normal([1, n, 3], 4), normal([2, 3], 5), normal([3], 8)];
  // States are slices of wider rows too.
  const [before, hidden] = [3, 2].map((k, i) => T.split(normal([sequences, k, 5], 10 + i), [3, 2])[0]);
  const marks = Array.from({ length: n }, (_, i) => (i === 13 ? 2 : i === 8 ? 1 : 0));
  const flags = device.from(marks, [1, n], 'i32');
  const both = (part: (t: T.Tensor) => T.Tensor, own: (t: T.Tensor) => T.Tensor, some: T.ConvOptions) => {
    const conv = T.causalConv(part(x), w, {
      bias: b,
      activation: true,
      wantState: true,
      state: own(before),
      ...some,
    });
    const inputs = { u: conv.y, dt: part(dt), A: T.neg(T.exp(a)), B: part(B), C: part(C), D, z: part(z), dtBias: b };
    const scan = T.selectiveScan(inputs, { wantState: true, state: own(hidden), ...some });
    return [conv.y, scan.y, conv.state!, scan.state!];
  };
  const whole = both(
    (t) => t,
    (t) => t,
    { ragged, flags },
  );
  let [position, sequence] = [0, 0];
  for (const { rows, length } of ragged) {
    for (let i = 0; i < rows; i++) {
      const part = (t: T.Tensor) =>
        T.contiguous(T.reshape(T.narrow(T.reshape(t, [n, t.cols]), 0, position, length), [1, length, t.cols]));
      const own = (t: T.Tensor) => T.contiguous(T.narrow(t, 0, sequence, 1));
      const some = { flags: device.from(marks.slice(position, position + length), [1, length], 'i32') };
      const expected = both(part, own, some);
      await same([...whole.slice(0, 2).map(part), ...whole.slice(2).map(own)], expected);
      position += length;
      sequence++;
    }
  }
  assert.equal(position, n);
  const wrong = () => T.causalConv(x, w, { ragged: [{ rows: 2, length: 8 }] });
  assert.throws(wrong, /causalConv.*ragged.*17 positions in all.*16/);
  assert.throws(() => T.causalConv(x, normal([3, 4], 2).trainable(), { ragged }), /ragged batches have no gradients/);
  assert.throws(() => T.causalConv(x, w, { ragged, state: normal([5, 3, 3]) }), /causalConv.*state.*6,3,3/);
});
