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
  tensorEntry,
} from './io/index.ts';
export { Krait, type OpenOptions, openDevice, type TuneOptions } from './krait/index.ts';
export * from './models/generate/index.ts';
export * from './models/index.ts';
export { NodeFileSystem } from './platform/node/index.ts';
export { Device, scaleGradient, Tensor } from './tensor/index.ts';
export {
  type Best,
  CHECKPOINT_FOLDER,
  type CheckpointContent,
  CheckpointStore,
  type Evaluation,
  type LossOptions,
  METRICS_FILE,
  numberOf,
  type Pointer,
  PRECISIONS,
  type Precision,
  queueStep,
  RunLog,
  type RunPlace,
  recordOf,
  resolveOptions,
  runSettings,
  type Scalars,
  type StepBatches,
  type StepOutcome,
  type StepReport,
  type StepSettings,
  stepsFor,
  type TaskState,
  TRAINER_DEFAULTS,
  type TrainedParameter,
  type TrainerOptions,
  type TrainInput,
  type TrainingCallbacks,
  type TrainingResult,
  type TrainingTask,
  train,
} from './train/index.ts';
export * from './tune/index.ts';
