export {
  DTYPES,
  type DType,
  decode,
  dtypeBytes,
  dtypeCode,
  encode,
  type FloatDType,
  fromBf16,
  fromF16,
  isFloat,
  type NumericArray,
  toBf16,
  toF16,
  toI8,
  viewAs,
} from './dtype.ts';
export {
  CheckpointError,
  ConfigError,
  DivergedError,
  DTypeError,
  EnvironmentError,
  FileFormatError,
  KraitError,
  ShapeError,
  UnsupportedOpError,
  UsageError,
} from './errors.ts';
export { type QuantisedRows, quantiseRows } from './quantisation.ts';
export { type Counter4, HostRandom, philox, philoxBlock, RandomSource, toUnit } from './random.ts';
export { asMatrix, broadcastShapes, formatShape, normalizeAxis, type Shape, sameShape, sizeOf } from './shape.ts';
export { textHash } from './text-hash.ts';
