import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { quantiseRows } from './quantisation.ts';

const { NaN: nan, POSITIVE_INFINITY: infinity } = Number;

/** Fails where a finite row is off by more than half its scale. */
function checkBound(values: Float32Array, cols: number): void {
  const { values: q, scales } = quantiseRows(values, cols);
  for (let i = 0; i < values.length; i++) {
    const scale = scales[Math.floor(i / cols)];
    const error = Math.abs(values[i] - q[i] * scale);
    // Half a step, and what rounding the scale to f32 moves 127 steps by.
    assert.ok(error <= scale * (0.5 + 127 * 2 ** -24), `${values[i]} became ${q[i]} * ${scale}, off by ${error}`);
    assert.ok(q[i] >= -127 && q[i] <= 127, `${q[i]}`);
  }
}

describe('quantiseRows', () => {
  it('is off by at most half a step of the row', () => {
    const size = fc.integer({ min: -30, max: 30 });
    const matrix = fc.record({
      cols: fc.integer({ min: 1, max: 40 }),
      sizes: fc.array(size, { maxLength: 5 }),
      seed: fc.nat(),
    });
    fc.assert(
      fc.property(matrix, ({ cols, sizes, seed }) => {
        let state = seed;
        const next = () => {
          state = (Math.imul(state, 1664525) + 1013904223) | 0;
          return state * 2 ** -31;
        };
        checkBound(
          Float32Array.from(sizes.flatMap((power) => Array.from({ length: cols }, () => next() * 2 ** power))),
          cols,
        );
      }),
      { seed: 5 },
    );
  });

  it('gives each row the scale of its own largest number', () => {
    const { values, scales } = quantiseRows(Float32Array.of(127, -63, 0.4, -2, 1, 0), 3);
    assert.deepEqual([...values], [127, -63, 0, -127, 64, 0]);
    assert.deepEqual([...scales], [1, Math.fround(2 / 127)]);
  });

  it('rounds halves to even, either sign alike', () => {
    const halves = [0.5, 1.5, 2.5, 126.5];
    const { values } = quantiseRows(Float32Array.of(127, ...halves, ...halves.map((x) => -x)), 9);
    assert.deepEqual([...values], [127, 0, 2, 2, 126, 0, -2, -2, -126]);
  });

  it('keeps rows of zeros, and takes matrices without rows or columns', () => {
    const { values, scales } = quantiseRows(Float32Array.of(0, -0, 1, 0), 2);
    assert.deepEqual(
      [[...values], [...scales]],
      [
        [0, 0, 127, 0],
        [0, Math.fround(1 / 127)],
      ],
    );
    assert.deepEqual([quantiseRows([], 3).scales.length, quantiseRows([], 0).scales.length], [0, 0]);
  });

  it('marks rows with NaN or infinity in them, and no others', () => {
    const rows = [
      [1, nan, 2],
      [1, 2, 4],
      [infinity, 0, 1],
      [0, -infinity, nan],
      [nan, 0, 0],
    ];
    const { scales } = quantiseRows(Float32Array.from(rows.flat()), 3);
    assert.deepEqual([...scales], [nan, Math.fround(4 / 127), nan, nan, nan]);
  });

  it('takes the smallest and the largest numbers', () => {
    checkBound(Float32Array.of(3.4e38, -3.4e38, 1e38, 1e-38), 2);
    const { values, scales } = quantiseRows(Float32Array.of(1e-45, -1e-45, 2e-43, -2e-43), 2);
    assert.deepEqual([...values], [0, 0, 127, -127], 'below what a scale can be');
    assert.ok(scales[0] === 0 && scales[1] > 0);
  });
});
