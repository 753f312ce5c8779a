export { FLAG_PAD, FLAG_RESET } from '../backend/index.ts';
export * from './autograd.ts';
export * from './device.ts';
export * from './grad-check.ts';
export * from './ops/index.ts';
export { areExchangeable, type Recording } from './recording.ts';
export { type Recipe, Storage } from './storage.ts';
export { type HostArray, Tensor } from './tensor.ts';
