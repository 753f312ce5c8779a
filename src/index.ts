/**
 * Krait in Node, for programs that use the class `Krait`: a model from a folder or the hub with all that belongs to it, and
 * what its methods take and return. The parts have entries of their own: `krait/models`, `krait/generate`, `krait/tune`,
 * `krait/train`, `krait/eval`, `krait/data`, `krait/io`, `krait/core`, `krait/statistics`, `krait/measure`, `krait/report`,
 * `krait/plots`, `krait/cli`; and, without anything of Node, `krait/tensor`, `krait/forecast` and `krait/wasm`.
 */

// The class, and devices.
export { type DeviceOptions, openBackend } from './backend/select.ts';
// Errors, and the types of numbers.
export {
  CheckpointError,
  ConfigError,
  DivergedError,
  type DType,
  DTypeError,
  EnvironmentError,
  FileFormatError,
  type FloatDType,
  KraitError,
  ShapeError,
  UnsupportedOpError,
  UsageError,
} from './core/index.ts';
// Files, the hub, tokenizers, records, adapters' settings.
export {
  ALL_LINEAR,
  type CacheFileSystem,
  type FileSystem,
  type HubSettings,
  LORA_DEFAULTS,
  type LoraConfig,
  loadTokenizer,
  type Message,
  parseRecord,
  readRecords,
  resolveModel,
  type Tokenizer,
  type TrainingRecord,
} from './io/index.ts';
export { Krait, type OpenOptions, openDevice, type TuneOptions } from './krait/index.ts';
// Models: loading, saving, scoring, generating.
export {
  type Completion,
  complete,
  type FinishReason,
  type GeneratedToken,
  type GenerateOptions,
  generate,
  type Prompt,
  type SamplingOptions,
} from './models/generate/index.ts';
export {
  convertToGguf,
  createModel,
  type LanguageModel,
  type LoadOptions,
  loadModel,
  type ModelConfig,
  type ModelState,
  parseConfig,
  readModelConfig,
  type SaveOptions,
  saveModel,
  scoreTokens,
} from './models/index.ts';
export { NodeFileSystem, NpmDataSource, readHubSettings } from './platform/node/index.ts';
export { Device, Tensor } from './tensor/index.ts';

// Fine-tuning.
export {
  type Evaluation,
  PRECISIONS,
  type Precision,
  type StepReport,
  type TrainingCallbacks,
  type TrainingResult,
} from './train/index.ts';
export {
  type AttachOptions,
  attachLora,
  detachLora,
  type FineTuneInput,
  type FineTunePlan,
  type FineTuneResult,
  fineTune,
  type LoraAdapter,
  loadAdapter,
  mergeLora,
  parseTuneConfig,
  saveAdapter,
  type TuneConfig,
  type TuneData,
  type TuneRecord,
  unmergeLora,
} from './tune/index.ts';
