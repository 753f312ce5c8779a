import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DTypeError, fromBf16, fromF16, toBf16, toF16 } from '../core/index.ts';
import {
  countNonFinite,
  decodeStored,
  engineDType,
  STORED_DTYPES,
  type StoredDType,
  storedBits,
} from './stored-dtype.ts';

const bytesOf = (array: ArrayBufferView): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
const VALUES = [0, -0, 1, -2.5, 65504, 1e-8, 3.7, Number.POSITIVE_INFINITY, Number.NaN];

test('same dtype: a view of the same bytes, or a copy where they are not aligned', () => {
  const bytes = bytesOf(Float32Array.from(VALUES));
  const view = decodeStored('F32', bytes, 'f32', 'w');
  assert.equal(view.buffer, bytes.buffer);
  const shifted = new Uint8Array(bytes.length + 1);
  shifted.set(bytes, 1);
  assert.deepEqual(decodeStored('F32', shifted.subarray(1), 'f32', 'w'), view);
});

test('float to float, as the scalar conversions say', () => {
  const f32 = Float32Array.from(VALUES);
  const expected: [StoredDType, Uint8Array, 'f32' | 'bf16' | 'f16', number[]][] = [
    ['F32', bytesOf(f32), 'bf16', [...f32].map(toBf16)],
    ['F32', bytesOf(f32), 'f16', [...f32].map(toF16)],
    ['F64', bytesOf(Float64Array.from(VALUES)), 'f32', [...f32]],
    ['F64', bytesOf(Float64Array.from(VALUES)), 'bf16', VALUES.map(toBf16)],
    ['BF16', bytesOf(Uint16Array.from(f32, toBf16)), 'f32', [...f32].map((x) => fromBf16(toBf16(x)))],
    ['BF16', bytesOf(Uint16Array.from(f32, toBf16)), 'f16', [...f32].map((x) => toF16(fromBf16(toBf16(x))))],
    ['F16', bytesOf(Uint16Array.from(f32, toF16)), 'f32', [...f32].map((x) => fromF16(toF16(x)))],
    ['F16', bytesOf(Uint16Array.from(f32, toF16)), 'bf16', [...f32].map((x) => toBf16(fromF16(toF16(x))))],
  ];
  for (const [stored, bytes, to, values] of expected) {
    assert.deepEqual([...decodeStored(stored, bytes, to, 'w')], values, `${stored} to ${to}`);
  }
});

test('every bf16 and f16 pattern widens and comes back', () => {
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
  for (const [stored, to, isNan] of [
    ['BF16', 'bf16', (b: number) => (b & 0x7fff) > 0x7f80],
    ['F16', 'f16', (b: number) => (b & 0x7fff) > 0x7c00],
  ] as const) {
    const wide = decodeStored(stored, bytesOf(all), 'f32', 'w');
    const back = decodeStored('F32', bytesOf(wide), to, 'w');
    for (let i = 0; i < 65536; i++)
      assert.ok(isNan(i) ? Number.isNaN(wide[i]) && isNan(back[i]) : back[i] === i, `${stored} ${i}`);
  }
});

test('integers', () => {
  assert.deepEqual(
    [...decodeStored('I64', bytesOf(BigInt64Array.of(-5n, 2n ** 31n - 1n)), 'i32', 'w')],
    [-5, 2 ** 31 - 1],
  );
  assert.deepEqual([...decodeStored('I64', bytesOf(BigInt64Array.of(-5n)), 'f32', 'w')], [-5]);
  assert.deepEqual([...decodeStored('I16', bytesOf(Int16Array.of(-3)), 'i32', 'w')], [-3]);
  assert.deepEqual([...decodeStored('I8', bytesOf(Int8Array.of(-3)), 'f32', 'w')], [-3]);
  assert.deepEqual([...decodeStored('U16', bytesOf(Uint16Array.of(65535)), 'i32', 'w')], [65535]);
  assert.deepEqual([...decodeStored('U32', bytesOf(Uint32Array.of(7)), 'i32', 'w')], [7]);
  assert.deepEqual([...decodeStored('BOOL', Uint8Array.of(0, 1), 'i32', 'w')], [0, 1]);
  assert.throws(
    () => decodeStored('I64', bytesOf(BigInt64Array.of(0n, 2n ** 31n)), 'i32', 'ids'),
    /ids: expected integers of 32 bits, got 2147483648 at element 1/,
  );
  assert.throws(() => decodeStored('U32', bytesOf(Uint32Array.of(2 ** 31)), 'i32', 'ids'), DTypeError);
});

test('what cannot be loaded is named', () => {
  assert.throws(
    () => decodeStored('F8_E4M3', new Uint8Array(1), 'f32', 'w'),
    /w: expected one of F32, .*, got F8_E4M3/,
  );
  assert.throws(() => decodeStored('F32', new Uint8Array(4), 'i32', 'w'), /w: expected an integer dtype, got F32/);
  assert.throws(() => engineDType('C64'), DTypeError);
  assert.deepEqual((['F32', 'BF16', 'F16', 'F64', 'I64', 'BOOL'] as const).map(engineDType), [
    'f32',
    'bf16',
    'f16',
    'f64',
    'i32',
    'i32',
  ]);
  assert.ok(STORED_DTYPES.every((dtype) => storedBits(dtype) > 0));
});

test('NaN and infinity are counted in every float dtype', () => {
  const values = [1, Number.NaN, Number.NEGATIVE_INFINITY, 65504, 0];
  assert.equal(countNonFinite('f32', Float32Array.from(values)), 2);
  assert.equal(countNonFinite('f64', Float64Array.from(values)), 2);
  assert.equal(countNonFinite('bf16', Uint16Array.from(values, toBf16)), 2);
  assert.equal(countNonFinite('f16', Uint16Array.from(values, toF16)), 2);
  assert.equal(countNonFinite('i32', Int32Array.from([1, 2])), 0);
});
