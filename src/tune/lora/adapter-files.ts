/** Adapters to and from PEFT's folder: `adapter_config.json` and `adapter_model.safetensors`. */
import { CheckpointError, formatShape } from '../../core/index.ts';
import {
  ADAPTER_CONFIG_FILE,
  ADAPTER_WEIGHTS_FILE,
  ALL_LINEAR,
  type FileSystem,
  formatAdapterConfig,
  formatAdapterName,
  joinPath,
  openSafetensors,
  parseAdapterConfig,
  parseAdapterName,
  type SafetensorsFile,
  writeSafetensors,
} from '../../io/index.ts';
import { type CausalLM, tensorEntry } from '../../models/index.ts';
import type { Tensor } from '../../tensor/index.ts';
import { attachLora, detachLora, type LoraAdapter } from './attach.ts';

/**
 * Writes an adapter for PEFT. Each file whole or not at all, the configuration last: without it a folder is no adapter.
 * Factors on a convolution are Krait's own and not for PEFT.
 */
export async function saveAdapter(adapter: LoraAdapter, files: FileSystem, folder: string): Promise<void> {
  const { config, trainable, factors } = adapter;
  const entries = [...trainable].map(([name, tensor]) => tensorEntry(name, tensor));
  await writeSafetensors(files, joinPath(folder, ADAPTER_WEIGHTS_FILE), entries);
  // As PEFT does it: what `all-linear` meant is written down, not left to be found out again.
  const targetModules =
    config.targetModules === ALL_LINEAR ? factors.map(({ layer }) => layer.name) : config.targetModules;
  const text = formatAdapterConfig({ ...config, targetModules });
  await files.writeAtomic(joinPath(folder, ADAPTER_CONFIG_FILE), text);
}

/** The tensors of an adapter file by the names that this adapter gives them, whatever spelling the file has. */
function namesInFile(source: SafetensorsFile, wanted: ReadonlyMap<string, Tensor>): Map<string, string> {
  const names = new Map<string, string>();
  for (const stored of source.tensors.keys()) {
    const tensor = parseAdapterName(stored);
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

async function readTensors(source: SafetensorsFile, wanted: ReadonlyMap<string, Tensor>): Promise<void> {
  const names = namesInFile(source, wanted);
  for (const [name, tensor] of wanted) source.info(names.get(name) ?? name, tensor.shape);
  for (const [name, tensor] of wanted) {
    const raw = await source.readAs(names.get(name)!, tensor.dtype);
    tensor.device.backend.upload(tensor.storage.use(), 0, new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength));
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
  model: CausalLM,
  files: FileSystem,
  folder: string,
  { trainable = false }: LoadAdapterOptions = {},
): Promise<LoraAdapter> {
  const path = joinPath(folder, ADAPTER_CONFIG_FILE);
  const config = parseAdapterConfig(path, await files.readText(path));
  const source = await openSafetensors(files, joinPath(folder, ADAPTER_WEIGHTS_FILE));
  try {
    const adapter = attachLora(model, config, { isStrict: false });
    try {
      await readTensors(source, adapter.trainable);
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
