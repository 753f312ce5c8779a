export { CellLog, type CellLogOptions, CellStore, type CellStoreOptions, identityHash } from './cells.ts';
export type { ChatTemplateOptions } from './chat-template.ts';
export {
  isPickleName,
  openCheckpoint,
  PICKLE_REMEDY,
  parseWeightMap,
  WEIGHTS_FILE,
  WEIGHTS_INDEX_FILE,
} from './checkpoint.ts';
export { describeIssues, parseStrict } from './config-keys.ts';
export { crc32c, maskedCrc32c } from './crc32c.ts';
export { type CsvRecord, type CsvValue, formatCsv, parseCsv } from './csv.ts';
export { DecodeStream } from './decode-stream.ts';
export {
  baseName,
  type CacheFileSystem,
  type FileContent,
  type FileStatus,
  type FileSystem,
  formatBytes,
  joinPath,
  type RandomAccessFile,
  type WritableFile,
} from './files.ts';
export { type GgufVocabulary, ggufVocabulary, type SpecialIds } from './gguf-tokenizer.ts';
export {
  countNonFiniteBlocks,
  type EncodedWeight,
  encodeGguf,
  GGUF_LAYOUTS,
  GGUF_TYPES,
  type GgufType,
} from './gguf-types.ts';
export {
  type GgufMetadata,
  type GgufTensor,
  type GgufValue,
  ggufBytes,
  type WriteGgufOptions,
  writeGguf,
} from './gguf-writer.ts';
export { NetworkError } from './http-exchange.ts';
export { type DownloadProgress, type ResolveOptions, resolveModel } from './hub.ts';
export { cachedSnapshots, type DatasetSplit, PARQUET_BRANCH, resolveSplit, splitAddress } from './hub-dataset.ts';
export { HUB_ENDPOINT, type HubSettings, hubSettings } from './hub-settings.ts';
export { describe, findDuplicateKey, isRecord, oneLine, parseJson, parseJsonObject } from './json.ts';
export { formatJsonl, type Line, type LinesOptions, MOST_LINE_BYTES, readJsonl, readLines } from './jsonl.ts';
export { ALL_LINEAR, LORA_DEFAULTS, type LoraConfig } from './lora-config.ts';
export { type ModelIdentity, modelIdentity } from './model-identity.ts';
export { nearest, suggestion } from './nearest.ts';
export { readParquet } from './parquet.ts';
export {
  ADAPTER_CONFIG_FILE,
  ADAPTER_WEIGHTS_FILE,
  formatAdapterConfig,
  isSavedWhole,
  isTargeted,
  parseAdapterConfig,
  rankAndScale,
  UNSUPPORTED_FEATURES,
} from './peft.ts';
export {
  type AdapterFactor,
  type AdapterParameter,
  type AdapterTensor,
  formatAdapterName,
  parseAdapterName,
} from './peft-names.ts';
export {
  type Message,
  type NumberedRecord,
  parseRecord,
  RECORD_SHAPES,
  ROLES,
  readRecords,
  type TrainingRecord,
} from './records.ts';
export {
  findTensor,
  openSafetensors,
  SafetensorsFile,
  STREAM_CHUNK_BYTES,
  type StoredPlace,
  type TensorSource,
} from './safetensors.ts';
export type { TensorInfo } from './safetensors-header.ts';
export { type TensorEntry, writeSafetensors } from './safetensors-writer.ts';
export { copySideFiles, SIDE_FILES } from './side-files.ts';
export {
  countNonFinite,
  decodeStored,
  engineDType,
  isStoredDType,
  LOADABLE_DTYPES,
  STORED_DTYPES,
  type StoredDType,
  storedBits,
  storedName,
} from './stored-dtype.ts';
export { tensorEntry } from './tensor-entry.ts';
export { EventWriter, type EventWriterOptions, formatRecord } from './tfevents.ts';
export {
  type DecodeOptions,
  type EncodeOptions,
  loadTokenizer,
  TOKENIZER_FILE,
  TOKENIZER_FILES,
  type Tokenizer,
} from './tokenizer.ts';
