/**
 * Krait in Node: a model from a folder or the hub with everything that belongs to it. The parts (models, generation,
 * tuning, what they read and write) are exported beside it; `krait/tensor` is the engine alone, without anything of Node.
 */
export { type DeviceOptions, openBackend } from './backend/select.ts';
export * from './core/index.ts';
export {
  ALL_LINEAR,
  type FileSystem,
  LORA_DEFAULTS,
  type LoraConfig,
  loadTokenizer,
  type Message,
  parseRecord,
  readRecords,
  type Tokenizer,
  type TrainingRecord,
} from './io/index.ts';
export { Krait, type OpenOptions, openDevice } from './krait.ts';
export * from './models/generate/index.ts';
export * from './models/index.ts';
export { NodeFileSystem } from './platform/node/index.ts';
export { Device, Tensor } from './tensor/index.ts';
export * from './tune/index.ts';
export type { TuneOptions, TuneSettings } from './tune-options.ts';
