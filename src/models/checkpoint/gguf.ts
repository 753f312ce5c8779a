/**
 * Mamba and Falcon-Mamba as GGUF files, which llama.cpp and the programs around it run as architecture `mamba`.
 *
 * Its names for our tensors stand in `NAMES`. Three things differ in content: the convolution's taps lose their middle
 * axis, `ssm_a` is -exp(A_log), and a tied head is left out. Whatever feeds a matrix product is stored in the wanted
 * type; taps, rates, skips, norms and biases are f32 always, as its operators demand. llama.cpp knows no bias of
 * in_proj, out_proj or the head, and no width other than twice the hidden size.
 * Source: src/models/mamba.cpp @ 8a5c4e0, mamba-base.cpp @ 11246cf, conversion/mamba.py @ 32e9e04 of ggml-org/llama.cpp.
 */
import { ConfigError } from '../../core/index.ts';
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
import type { ModelConfig } from '../families/config.ts';
import type { MambaConfig } from '../families/mamba-config.ts';
import { EMBEDDING_NAME, HEAD_NAME, mambaNames, mambaWeights } from '../families/mamba-weights.ts';
import type { LanguageModel } from '../families/registry.ts';
import { ggufMetadata, ggufWarnings } from './gguf-metadata.ts';
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

/** Names of a layer's tensors in Krait and in llama.cpp. */
const NAMES: Readonly<Record<string, string>> = {
  'norm.weight': 'attn_norm.weight',
  'mixer.in_proj.weight': 'ssm_in.weight',
  'mixer.conv1d.weight': 'ssm_conv1d.weight',
  'mixer.conv1d.bias': 'ssm_conv1d.bias',
  'mixer.x_proj.weight': 'ssm_x.weight',
  'mixer.dt_proj.weight': 'ssm_dt.weight',
  'mixer.dt_proj.bias': 'ssm_dt.bias',
  'mixer.A_log': 'ssm_a',
  'mixer.D': 'ssm_d',
  'mixer.out_proj.weight': 'ssm_out.weight',
};

/** Name in the file; undefined for what llama.cpp has no place for. */
function ggufName(name: string): string | undefined {
  if (name === EMBEDDING_NAME) return 'token_embd.weight';
  if (name === 'backbone.norm_f.weight') return 'output_norm.weight';
  if (name === HEAD_NAME) return 'output.weight';
  const [, layer, rest] = /^backbone\.layers\.(\d+)\.(.+)$/.exec(name) ?? [];
  return rest in NAMES ? `blk.${layer}.${NAMES[rest]}` : undefined;
}

/** @throws ConfigError for a family that is not exported */
function mambaOf(config: ModelConfig, folder: string): MambaConfig {
  if (config.modelType !== 'gpt_neox') return config;
  throw new ConfigError(`${folder}: GGUF export takes Mamba models, not ${config.modelType}; keep it as safetensors`);
}

/** @throws ConfigError for what llama.cpp has no way to run */
function checkRunnable(config: MambaConfig, names: Iterable<string>): void {
  const { hiddenSize, intermediateSize } = config;
  if (intermediateSize !== 2 * hiddenSize) {
    const got = `intermediate_size ${intermediateSize} with hidden_size ${hiddenSize}`;
    throw new ConfigError(`${got}: llama.cpp runs twice the hidden size alone; keep this model as safetensors`);
  }
  for (const name of names) {
    if (ggufName(name)) continue;
    throw new ConfigError(`tensor ${name}: llama.cpp has no place for it in a Mamba model; keep it as safetensors`);
  }
}

function typeOf({ isMatrix, shape }: WeightRow, wanted: GgufType): GgufType {
  if (!isMatrix) return 'f32';
  return shape[shape.length - 1] % GGUF_LAYOUTS[wanted].blockSize === 0 ? wanted : 'f16';
}

/** -exp(A_log) */
function encodeRates({ dtype, name }: Weight, bytes: Uint8Array): Uint8Array {
  const logs = decodeStored(dtype, bytes, 'f32', name);
  return new Uint8Array(Float32Array.from(logs, (log) => -Math.exp(log)).buffer);
}

/** A weight's bytes in the type that it gets. */
async function* encoded(weight: Weight, type: GgufType, onWarning: Warn): AsyncGenerator<Uint8Array> {
  const isRates = weight.name.endsWith('.A_log');
  let odd = 0;
  for await (const bytes of weight.stream()) {
    const piece = isRates ? encodeRates(weight, bytes) : encodeGguf(type, weight.dtype, bytes, weight);
    odd += countNonFiniteBlocks(type, piece);
    yield piece;
  }
  if (odd === 0) return;
  const what = type === 'q8_0' ? 'blocks hold values that' : 'values';
  onWarning?.(`${weight.file}: tensor ${weight.name}: ${odd} ${what} are NaN or infinite; its outputs will be NaN`);
}

function tensorsOf(
  config: MambaConfig,
  rows: readonly WeightRow[],
  weightOf: (row: WeightRow) => Weight,
  { wanted, onWarning }: { wanted: GgufType; onWarning: Warn },
): GgufTensor[] {
  const tensors = rows.map((row): GgufTensor => {
    const isTaps = row.name.endsWith('.conv1d.weight');
    const type = typeOf(row, wanted);
    const shape = isTaps ? [row.shape[0], row.shape[2]] : row.shape; // [e, 1, k] -> [e, k]
    return { name: ggufName(row.name)!, type, shape, data: () => encoded(weightOf(row), type, onWarning) };
  });
  if (config.useConvBias === false) {
    // llama.cpp always adds this bias.
    const { intermediateSize, numHiddenLayers } = config;
    for (let layer = 0; layer < numHiddenLayers; layer++) {
      const data = () => new Uint8Array(4 * intermediateSize);
      tensors.push({ name: `blk.${layer}.ssm_conv1d.bias`, type: 'f32', shape: [intermediateSize], data });
    }
  }
  return tensors;
}

interface Conversion {
  readonly config: MambaConfig;
  readonly rows: readonly WeightRow[];
  readonly weightOf: (row: WeightRow) => Weight;
  /** Folder of the tokenizer. */
  readonly folder: string;
}

async function writeModel(
  files: FileSystem,
  path: string,
  { config, rows, weightOf, folder }: Conversion,
  { type = 'f16', name = baseName(folder), onWarning, onProgress }: GgufOptions,
): Promise<GgufSummary> {
  const special = { bos: config.bosTokenId, eos: config.eosTokenIds[0] ?? null, pad: config.padTokenId };
  const vocabulary = await ggufVocabulary(files, folder, config.vocabSize, special);
  for (const warning of [...ggufWarnings(config), ...vocabulary.warnings]) onWarning?.(warning);
  const metadata = new Map([...ggufMetadata(config, { type, name }), ...vocabulary.metadata]);
  const tensors = tensorsOf(config, rows, weightOf, { wanted: type, onWarning });
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
    const config = mambaOf(found, folder);
    const rows = mambaWeights(config);
    checkRunnable(
      config,
      rows.map((row) => row.name),
    );
    const names = new Map(matchWeights(rows, source, mambaNames).map(({ row, storedName }) => [row.name, storedName]));
    const weightOf = (row: WeightRow) => storedWeight(source, names.get(row.name)!);
    return await writeModel(files, path, { config, rows, weightOf, folder }, options);
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
  const { parameters } = model;
  const config = { ...mambaOf(model.config, folder), tieWordEmbeddings: model.head === null };
  checkRunnable(config, parameters.keys());
  const weightOf = ({ name }: WeightRow): Weight => {
    const { dtype, data } = tensorEntry(name, parameters.get(name)!);
    return { dtype, file: folder, name, stream: () => data() as AsyncIterable<Uint8Array> };
  };
  return writeModel(files, path, { config, rows: mambaWeights(config), weightOf, folder }, options);
}
