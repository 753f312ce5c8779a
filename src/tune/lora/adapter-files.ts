/** Adapters to and from PEFT's folder: `adapter_config.json` and `adapter_model.safetensors`. */
import { CheckpointError, ConfigError, FileFormatError, formatShape, UsageError } from '../../core/index.ts';
import {
  ADAPTER_CONFIG_FILE,
  ADAPTER_WEIGHTS_FILE,
  ALL_LINEAR,
  type FileSystem,
  formatAdapterConfig,
  formatAdapterName,
  joinPath,
  type LoraConfig,
  openSafetensors,
  parseAdapterConfig,
  parseAdapterName,
  type SafetensorsFile,
  tensorEntry,
  writeSafetensors,
} from '../../io/index.ts';
import type { BackboneModel } from '../../models/index.ts';
import type { Tensor } from '../../tensor/index.ts';
import { attachLora, detachLora, type LoraAdapter } from './attach.ts';

/**
 * Writes an adapter for PEFT. Each file whole or not at all, the configuration last: without it a folder is no adapter.
 * Factors on a convolution are Krait's own and not for PEFT.
 * @throws UsageError for an adapter with untied down-projections, which has no such form
 */
export async function saveAdapter(adapter: LoraAdapter, files: FileSystem, folder: string): Promise<void> {
  const { config, trainable, factors } = adapter;
  const untied = factors.find(({ rowGroups }) => rowGroups);
  if (untied) {
    const { name } = untied.layer;
    throw new UsageError(
      `${name} has untied down-projections, which PEFT cannot hold; merge the adapter and save the model`,
    );
  }
  const entries = [...trainable].map(([name, tensor]) => tensorEntry(name, tensor));
  await writeSafetensors(files, joinPath(folder, ADAPTER_WEIGHTS_FILE), entries);
  // As PEFT does it: what `all-linear` meant is written down, not left to be found out again.
  const targetModules =
    config.targetModules === ALL_LINEAR ? factors.map(({ layer }) => layer.name) : config.targetModules;
  const text = formatAdapterConfig({ ...config, targetModules });
  await files.writeAtomic(joinPath(folder, ADAPTER_CONFIG_FILE), text);
}

/** Name of every model's output head in transformers since version 5. Checkpoints may have another name. */
const NEWER_HEAD = 'lm_head';

/** A configuration whose lists name the head as the checkpoint does. */
function withHead(config: LoraConfig, headPath: string): LoraConfig {
  const named = (names: readonly string[]) => names.map((name) => (name === NEWER_HEAD ? headPath : name));
  const { targetModules, modulesToSave } = config;
  const targets = typeof targetModules === 'string' ? targetModules : named(targetModules);
  return { ...config, targetModules: targets, modulesToSave: named(modulesToSave) };
}

/** The tensors of an adapter file by the names that this adapter gives them, whatever spelling the file has. */
function namesInFile(
  source: SafetensorsFile,
  wanted: ReadonlyMap<string, Tensor>,
  headPath: string,
): Map<string, string> {
  const names = new Map<string, string>();
  for (const stored of source.tensors.keys()) {
    const tensor = parseAdapterName(stored.replace(`base_model.model.${NEWER_HEAD}.`, `base_model.model.${headPath}.`));
    const spellings = tensor
      ? [tensor, ...(tensor.kind === 'parameter' ? [{ ...tensor, isWrapped: !tensor.isWrapped }] : [])]
      : [];
    const name = spellings.map(formatAdapterName).find((spelling) => wanted.has(spelling));
    if (name === undefined) {
      const remedy = 'use the base model and adapter_config.json that belong to the adapter';
      const got = `one of shape ${formatShape(source.info(stored).shape)}`;
      throw new CheckpointError(stored, 'no such tensor by the adapter_config.json', got, source.path, remedy);
    }
    names.set(name, stored);
  }
  return names;
}

async function readTensors(source: SafetensorsFile, { model, trainable: wanted }: LoraAdapter): Promise<void> {
  const names = namesInFile(source, wanted, model.headPath);
  for (const [name, tensor] of wanted) source.info(names.get(name) ?? name, tensor.shape);
  for (const [name, tensor] of wanted) {
    tensor.write(await source.readAs(names.get(name)!, tensor.dtype));
  }
}

/** File name of the weights in old versions of PEFT, before safetensors. */
const PICKLE_FILE = 'adapter_model.bin';

/** @throws FileFormatError where an adapter's files are not there, with what is there instead */
async function checkFolder(files: FileSystem, folder: string): Promise<void> {
  const has = (name: string) => files.exists(joinPath(folder, name));
  if (!(await has(ADAPTER_CONFIG_FILE))) {
    const isUnfinished = await has('checkpoints');
    const remedy = isUnfinished ? 'finish the run in it with --resume' : 'give the folder of a LoRA adapter';
    throw new FileFormatError(joinPath(folder, ADAPTER_CONFIG_FILE), 'no such file', remedy);
  }
  if ((await has(ADAPTER_WEIGHTS_FILE)) || !(await has(PICKLE_FILE))) return;
  const remedy = 'load the adapter with PEFT where you trust it and save it again: PEFT writes safetensors';
  throw new FileFormatError(joinPath(folder, PICKLE_FILE), 'weights as a PyTorch pickle, which can run code', remedy);
}

/** As `attachLora`, with errors that name the file. */
function attach(model: BackboneModel, config: LoraConfig, path: string): LoraAdapter {
  try {
    return attachLora(model, config, { isStrict: false });
  } catch (error) {
    throw error instanceof ConfigError ? new ConfigError(`${path}: ${error.message}`) : error;
  }
}

export interface LoadAdapterOptions {
  /** Whether it is to be trained further; false unless given. */
  trainable?: boolean;
}

/**
 * Puts a saved adapter on the model it was trained for; the model is frozen. On failure the model is as it was.
 * @throws FileFormatError, CheckpointError, ConfigError naming file, tensor or field, and the remedy
 */
export async function loadAdapter(
  model: BackboneModel,
  files: FileSystem,
  folder: string,
  { trainable = false }: LoadAdapterOptions = {},
): Promise<LoraAdapter> {
  const path = joinPath(folder, ADAPTER_CONFIG_FILE);
  await checkFolder(files, folder);
  const config = withHead(parseAdapterConfig(path, await files.readText(path)), model.headPath);
  const source = await openSafetensors(files, joinPath(folder, ADAPTER_WEIGHTS_FILE));
  try {
    const adapter = attach(model, config, path);
    try {
      await readTensors(source, adapter);
    } catch (error) {
      detachLora(adapter);
      throw error;
    }
    // A model may keep what it computes from frozen tensors; those whose values have just changed stay marked.
    const inPlace = new Set(adapter.whole.filter(({ isInPlace }) => isInPlace).map(({ tensor }) => tensor));
    for (const tensor of adapter.trainable.values()) tensor.trainable(trainable || inPlace.has(tensor));
    return adapter;
  } finally {
    await source.close();
  }
}
