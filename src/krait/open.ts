/**
 * Opens a model from a folder or an id on the hub: device, weights, adapter and tokenizer. The class `Krait` and the command
 * line use it.
 *
 * It prints nothing. Warnings, downloads and the choice of the device go to callbacks.
 */
import { type DeviceOptions, openBackend } from '../backend/select.ts';
import { type DType, UsageError } from '../core/index.ts';
import { copySideFiles, type DownloadProgress, loadTokenizer, resolveModel, type Tokenizer } from '../io/index.ts';
import { type LanguageModel, loadModel } from '../models/index.ts';
import { NodeFileSystem, readHubSettings } from '../platform/node/index.ts';
import { Device } from '../tensor/index.ts';
import type { LoraAdapter } from '../tune/index.ts';

export interface LocateOptions {
  /** Branch, tag or commit on the hub. */
  revision?: string;
  /** Called with one line for each usable but unexpected thing: weights that are not finite, only the slow device. */
  onWarning?: (line: string) => void;
  /** Called for each file of the model as its bytes arrive. */
  onDownload?: (progress: DownloadProgress) => void;
}

export interface OpenDeviceOptions extends DeviceOptions {
  /** Called with the device that was opened and one line that says why. */
  onDevice?: (device: Device, reason: string) => void;
}

export interface OpenOptions extends LocateOptions, OpenDeviceOptions {
  /**
   * Storage type of the weights that feed matrix products; f32 unless given. i8: weights quantised to 8 bits, activations
   * f32; such a model generates and scores, with an adapter too, but is not tuned, merged or saved.
   */
  dtype?: DType;
  /** Type of the activations; that of the weights unless given. */
  activations?: DType;
  /** Folder of a LoRA adapter in PEFT's format, which is put on the model. */
  adapter?: string;
  /** A device that is open: the model is loaded there. Its owner closes it. */
  on?: Device;
}

/** A model on a device, without the tokenizer. */
export interface OpenedWeights {
  /** The local folder that the model was loaded from. */
  readonly folder: string;
  readonly device: Device;
  readonly model: LanguageModel;
  /** The adapter on the model; null if none was requested. */
  readonly adapter: LoraAdapter | null;
  /** Seconds that weights and adapter took to load. */
  readonly loadSeconds: number;
  /** Copies the files of the tokenizer and of generation to another folder, where there are such files. */
  copySideFiles(to: string): Promise<void>;
  /** Frees the memory of the model, and closes the device if it was opened for this model. */
  close(): void;
}

export interface OpenedModel extends OpenedWeights {
  readonly tokenizer: Tokenizer;
}

const files = new NodeFileSystem();

/**
 * The local folder of a model: the folder itself, or the snapshot in the hub's cache, downloaded where it is not there.
 * @throws UsageError, EnvironmentError, FileFormatError: what `resolveModel` throws
 */
export function locateModel(idOrFolder: string, options: LocateOptions = {}): Promise<string> {
  const { revision, onWarning: warn, onDownload: progress } = options;
  return resolveModel(files, idOrFolder, readHubSettings(), { revision, warn, progress });
}

/**
 * Opens the fastest available device, or the one that the options name.
 * @throws UsageError for a name that does not exist; EnvironmentError for a device that cannot be opened
 */
export async function openDevice({ onDevice, ...options }: OpenDeviceOptions = {}): Promise<Device> {
  const { backend, reason } = await openBackend(options);
  const device = new Device(backend);
  onDevice?.(device, reason);
  return device;
}

/**
 * Opens a model without its tokenizer. On failure everything that was opened is closed.
 * @throws KraitError in one line that names the file, the value and the remedy
 */
export async function openWeights(idOrFolder: string, options: OpenOptions = {}): Promise<OpenedWeights> {
  return openFolder(await locateModel(idOrFolder, options), options);
}

/**
 * Opens a model with its tokenizer, which is read while the weights are. Where both are wrong, the error is the model's.
 * On failure everything that was opened is closed.
 * @throws KraitError in one line that names the file, the value and the remedy; UsageError for a tokenizer that has more
 * tokens than the model has rows
 */
export async function openModel(idOrFolder: string, options: OpenOptions = {}): Promise<OpenedModel> {
  const folder = await locateModel(idOrFolder, options);
  const reading = loadTokenizer(files, folder);
  reading.catch(() => undefined); // what is wrong with the model is said first
  const opened = await openFolder(folder, options);
  try {
    return { ...opened, tokenizer: checkTokenizer(await reading, opened.model) };
  } catch (error) {
    opened.close();
    throw error;
  }
}

async function openFolder(folder: string, options: OpenOptions): Promise<OpenedWeights> {
  const device = options.on ?? (await openDevice(options));
  let model: LanguageModel | null = null;
  const close = () => {
    model?.dispose();
    if (!options.on) device.close();
  };
  try {
    const startedMs = performance.now();
    const { dtype, activations, onWarning } = options;
    model = await loadModel(device, files, folder, { dtype, activations, onWarning });
    const adapter = options.adapter === undefined ? null : await putAdapter(model, options.adapter);
    const loadSeconds = (performance.now() - startedMs) / 1000;
    return {
      folder,
      device,
      model,
      adapter,
      loadSeconds,
      copySideFiles: (to) => copySideFiles(files, folder, to),
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

/** Tuning is a third of all modules: it is loaded for those who have an adapter. */
async function putAdapter(model: LanguageModel, folder: string): Promise<LoraAdapter> {
  const { loadAdapter } = await import('../tune/index.ts');
  return loadAdapter(model, files, folder);
}

function checkTokenizer(tokenizer: Tokenizer, model: LanguageModel): Tokenizer {
  if (tokenizer.vocabSize > model.vocabSize) {
    throw new UsageError(
      `${tokenizer.path}: ${tokenizer.vocabSize} tokens do not fit the model's vocabulary of ${model.vocabSize}; use the tokenizer that belongs to the weights`,
    );
  }
  return tokenizer;
}
