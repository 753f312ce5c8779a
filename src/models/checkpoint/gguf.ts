/**
 * Models as GGUF files, which llama.cpp and the programs around it run. Whatever feeds a matrix product is stored in the wanted
 * type; all other weights are f32 always, as its operators demand. What else differs from safetensors, the family says
 * (`GgufFormat`).
 */
import { ConfigError, sizeOf } from '../../core/index.ts';
import {
  baseName,
  countNonFiniteBlocks,
  decodeStored,
  encodeGguf,
  type FileSystem,
  GGUF_LAYOUTS,
  type GgufTensor,
  type GgufType,
  ggufVocabulary,
  type StoredDType,
  type TensorSource,
  tensorEntry,
  writeGguf,
} from '../../io/index.ts';
import type { FamilyConfig } from '../families/family.ts';
import { familyOf, type ModelConfig } from '../families/index.ts';
import { type LanguageModel, languageBlueprint } from '../heads/language-model.ts';
import type { GgufFormat } from './gguf-format.ts';
import { openModel } from './load.ts';
import { checkSavable } from './save.ts';
import { matchWeights, type WeightRow } from './table.ts';

export interface GgufOptions {
  /** Type of the weights that feed matrix products; f16 unless given. In q8_0, rows that are no multiple of 32 are f16. */
  type?: GgufType;
  /** The model's name for people; that of the folder, or of the file, unless given. */
  name?: string;
  /** Called with one line for each thing that llama.cpp will do otherwise than Krait. */
  onWarning?: (message: string) => void;
  /** Called with the share of bytes that are written. */
  onProgress?: (share: number) => void;
}

export interface GgufSummary {
  readonly type: GgufType;
  readonly tensors: number;
  readonly bytes: number;
  /** Whether the file has a tokenizer; otherwise it takes ids alone. */
  readonly hasTokenizer: boolean;
}

type Warn = GgufOptions['onWarning'];

/** A weight as it is stored now. */
interface Weight {
  readonly dtype: StoredDType;
  /** File and name, for errors. */
  readonly file: string;
  readonly name: string;
  /** Its bytes in pieces of whole blocks of any type. */
  stream(): AsyncIterable<Uint8Array>;
}

/** A configuration with its family's layout. @throws ConfigError for a family that is not exported */
function exported(config: ModelConfig, folder: string): { config: ModelConfig; format: GgufFormat<FamilyConfig> } {
  const { gguf: format } = familyOf(config);
  if (format) return { config, format };
  throw new ConfigError(`${folder}: GGUF export takes Mamba models, not ${config.modelType}; keep it as safetensors`);
}

/** @throws ConfigError for what llama.cpp has no way to run */
function checkRunnable({ config, format }: Pick<Conversion, 'config' | 'format'>, names: Iterable<string>): void {
  format.check(config);
  for (const name of names) {
    if (format.nameOf(name)) continue;
    throw new ConfigError(
      `tensor ${name}: llama.cpp has no place for it in a ${config.modelType} model; keep it as safetensors`,
    );
  }
}

function typeOf({ isMatrix, shape }: WeightRow, wanted: GgufType): GgufType {
  if (!isMatrix) return 'f32';
  return shape[shape.length - 1] % GGUF_LAYOUTS[wanted].blockSize === 0 ? wanted : 'f16';
}

/** Values changed one by one, in f32. */
function changed({ dtype, name }: Weight, bytes: Uint8Array, change: (value: number) => number): Uint8Array {
  const values = decodeStored(dtype, bytes, 'f32', name);
  return new Uint8Array(Float32Array.from(values, change).buffer);
}

/** A weight's bytes in the type that it gets. */
async function* encoded(
  weight: Weight,
  type: GgufType,
  { format, onWarning }: { format: GgufFormat<FamilyConfig>; onWarning: Warn },
): AsyncGenerator<Uint8Array> {
  const change = format.valueOf(weight.name);
  let nonFinite = 0;
  for await (const bytes of weight.stream()) {
    const piece = change ? changed(weight, bytes, change) : encodeGguf(type, weight.dtype, bytes, weight);
    nonFinite += countNonFiniteBlocks(type, piece);
    yield piece;
  }
  if (nonFinite === 0) return;
  const what = type === 'q8_0' ? 'blocks hold values that' : 'values';
  onWarning?.(
    `${weight.file}: tensor ${weight.name}: ${nonFinite} ${what} are NaN or infinite; its outputs will be NaN`,
  );
}

interface Conversion {
  readonly config: ModelConfig;
  readonly format: GgufFormat<FamilyConfig>;
  readonly rows: readonly WeightRow[];
  readonly weightOf: (row: WeightRow) => Weight;
  /** Folder of the tokenizer. */
  readonly folder: string;
}

function tensorsOf({ config, format, rows, weightOf }: Conversion, wanted: GgufType, onWarning: Warn): GgufTensor[] {
  const tensors = rows.map((row): GgufTensor => {
    const type = typeOf(row, wanted);
    const data = () => encoded(weightOf(row), type, { format, onWarning });
    return { name: format.nameOf(row.name)!, type, shape: format.shapeOf(row.name, row.shape), data };
  });
  return [...tensors, ...format.added(config)];
}

async function writeModel(
  files: FileSystem,
  path: string,
  conversion: Conversion,
  { type = 'f16', name = baseName(conversion.folder), onWarning, onProgress }: GgufOptions,
): Promise<GgufSummary> {
  const { config, format, rows, folder } = conversion;
  const special = { bos: config.bosTokenId, eos: config.eosTokenIds[0] ?? null, pad: config.padTokenId };
  const vocabulary = await ggufVocabulary(files, folder, config.vocabSize, special);
  for (const warning of [...format.warnings(config), ...vocabulary.warnings]) onWarning?.(warning);
  const parameters = rows.reduce((sum, row) => sum + sizeOf(row.shape), 0);
  const metadata = new Map([...format.metadata(config, { type, name, parameters }), ...vocabulary.metadata]);
  const tensors = tensorsOf(conversion, type, onWarning);
  const progress = onProgress && ((written: number, total: number) => onProgress(written / total));
  const bytes = await writeGguf(files, path, metadata, tensors, { onProgress: progress });
  return { type, tensors: tensors.length, bytes, hasTokenizer: vocabulary.hasText };
}

function storedWeight(source: TensorSource, name: string): Weight {
  return { dtype: source.info(name).dtype, file: source.fileOf(name), name, stream: () => source.stream(name) };
}

/**
 * Writes a model folder as a GGUF file. Weights go from file to file a piece at a time; no device is needed, and
 * memory does not grow with the model.
 * @throws ConfigError for a model that llama.cpp cannot run; CheckpointError, FileFormatError as `loadModel`, and for
 * values that the type cannot hold
 */
export async function convertToGguf(
  files: FileSystem,
  folder: string,
  path: string,
  options: GgufOptions = {},
): Promise<GgufSummary> {
  const { config: found, source } = await openModel(files, folder);
  try {
    const known = exported(found, folder);
    const { rows, head } = languageBlueprint(found);
    checkRunnable(
      known,
      rows.map((row) => row.name),
    );
    const matched = matchWeights(rows, source, familyOf(found).names, `${head}.weight`);
    const names = new Map(matched.map(({ row, storedName }) => [row.name, storedName]));
    const weightOf = (row: WeightRow) => storedWeight(source, names.get(row.name)!);
    return await writeModel(files, path, { ...known, rows, weightOf, folder }, options);
  } finally {
    await source.close();
  }
}

/**
 * As `convertToGguf`, for a model in memory: one with an adapter merged into it, say.
 * @param folder where its tokenizer is
 */
export async function saveGguf(
  model: LanguageModel,
  files: FileSystem,
  folder: string,
  path: string,
  options: GgufOptions = {},
): Promise<GgufSummary> {
  checkSavable(model, path);
  const { parameters, rows } = model;
  const known = exported(model.config, folder);
  checkRunnable(known, parameters.keys());
  const weightOf = ({ name }: WeightRow): Weight => {
    const { dtype, data } = tensorEntry(name, parameters.get(name)!);
    return { dtype, file: folder, name, stream: () => data() as AsyncIterable<Uint8Array> };
  };
  return writeModel(files, path, { ...known, rows, weightOf, folder }, options);
}
