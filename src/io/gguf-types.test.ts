import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { fromF16 } from '../core/index.ts';
import { countNonFiniteBlocks, encodeGguf, GGUF_LAYOUTS, GGUF_TYPES } from './gguf-types.ts';
import { valuesOf } from './testing/gguf-reader.ts';

const WEIGHT = { file: 'model.safetensors', name: 'w' };
const bytesOf = (values: readonly number[]) => new Uint8Array(Float32Array.from(values).buffer);
const encode = (type: (typeof GGUF_TYPES)[number], values: readonly number[]) =>
  encodeGguf(type, 'F32', bytesOf(values), WEIGHT);
const block = (...values: number[]) => [...values, ...new Array(32 - values.length).fill(0)];

describe('q8_0', () => {
  test('a block by hand: scale 1, halves away from zero', () => {
    const out = encode('q8_0', block(127, -127, 2.5, -2.5, 0.5, -0.5, 0.49, 1.51));
    assert.equal(out.length, 34);
    const view = new DataView(out.buffer);
    assert.equal(view.getUint16(0, true), 0x3c00); // 1 as f16
    assert.deepEqual([...new Int8Array(out.buffer, 2, 9)], [127, -127, 3, -3, 1, -1, 0, 2, 0]);
  });

  test('zeros, and a block after another', () => {
    const out = encode('q8_0', [...block(), ...block(-12.7)]);
    assert.deepEqual([...out.subarray(0, 34)], new Array(34).fill(0));
    const view = new DataView(out.buffer, 34);
    assert.ok(Math.abs(fromF16(view.getUint16(0, true)) - 0.1) < 1e-4);
    assert.equal(view.getInt8(2), -127);
  });

  test('no value is off by more than half a step, whatever the scale', () => {
    const values = fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: 32, maxLength: 32 });
    fc.assert(
      fc.property(values, fc.integer({ min: -8, max: 8 }), (list, power) => {
        const given = Float32Array.from(list, (x) => x * 10 ** power);
        const most = given.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
        if (most < 1e-2 || most > 1e6) return; // scales that f16 holds with all of its bits
        const got = valuesOf({ code: 8, data: encode('q8_0', [...given]) });
        const step = most / 127;
        // Half a step of rounding, and the scale itself rounded to 11 bits.
        for (let i = 0; i < 32; i++) assert.ok(Math.abs(got[i] - given[i]) <= step / 2 + most * 2 ** -11 + 1e-12);
      }),
      { numRuns: 200, seed: 3 },
    );
  });

  test('refuses a part of a block, and scales that f16 cannot hold', () => {
    assert.throws(() => encode('q8_0', [1, 2, 3]), /tensor w: expected whole blocks of 32, got 3 elements/);
    assert.throws(() => encode('q8_0', block(1e9)), /scales of blocks of at most 65504.*bf16/);
  });
});

describe('floats', () => {
  test('each stored type becomes each type', () => {
    const bf16 = new Uint8Array(Uint16Array.of(0x3fc0, 0xc000).buffer); // 1.5, -2
    for (const type of ['f32', 'f16', 'bf16'] as const) {
      const out = encodeGguf(type, 'BF16', bf16, WEIGHT);
      assert.equal(out.length, 2 * GGUF_LAYOUTS[type].blockBytes);
      assert.deepEqual([...valuesOf({ code: GGUF_LAYOUTS[type].code, data: out })], [1.5, -2]);
    }
    const f64 = new Uint8Array(Float64Array.of(0.1, -7).buffer);
    assert.deepEqual([...valuesOf({ code: 0, data: encodeGguf('f32', 'F64', f64, WEIGHT) })], [Math.fround(0.1), -7]);
  });

  test('finite values beyond f16 are refused, infinite ones are not', () => {
    assert.throws(
      () => encode('f16', [1, -65600]),
      /model\.safetensors: tensor w: expected values of at most 65504, got -65600; choose another type, such as bf16/,
    );
    assert.deepEqual([...valuesOf({ code: 1, data: encode('f16', [Infinity, 65504]) })], [Infinity, 65504]);
    assert.equal(encode('bf16', [-65600]).length, 2);
  });

  test('what is not finite is counted in every type', () => {
    const values = block(Number.NaN, Number.POSITIVE_INFINITY, 1);
    for (const type of GGUF_TYPES) {
      assert.equal(countNonFiniteBlocks(type, encode(type, block(1))), 0, type);
      assert.equal(countNonFiniteBlocks(type, encode(type, values)), type === 'q8_0' ? 1 : 2, type);
    }
  });
});
