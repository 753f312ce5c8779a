/**
 * Krait in Node: a model from a folder or the hub with everything that belongs to it. The parts (engine, models,
 * tuning, data) are exported beside it; `krait/tensor` is the engine alone, without anything of Node.
 */
import { type DeviceOptions, openBackend } from './backend/index.ts';
import type { DType } from './core/index.ts';
import { loadTokenizer, resolveModel, type Tokenizer } from './io/index.ts';
import {
  type Completion,
  complete,
  type GeneratedToken,
  type GenerateOptions,
  generate,
  type Prompt,
} from './models/generate/index.ts';
import { type LanguageModel, loadModel, saveModel, scoreTokens } from './models/index.ts';
import { NodeFileSystem, readHubSettings } from './platform/node/index.ts';
import { Device } from './tensor/index.ts';

export { type DeviceOptions, openBackend } from './backend/index.ts';
export * from './core/index.ts';
export * from './models/generate/index.ts';
export * from './models/index.ts';
export { NodeFileSystem } from './platform/node/index.ts';
export { Device, Tensor } from './tensor/index.ts';

export interface OpenOptions extends DeviceOptions {
  /** Type of weights and activations; f32 unless given. */
  dtype?: DType;
  /** Branch, tag or commit on the hub. */
  revision?: string;
  /** Told, in one line, of what is odd but usable. */
  onWarning?: (line: string) => void;
}

/** Opens the fastest device that is there, or the one that the options name. */
export async function openDevice(options: DeviceOptions = {}): Promise<Device> {
  return new Device((await openBackend(options)).backend);
}

/** A language model with its tokenizer and device. */
export class Krait {
  private constructor(
    readonly model: LanguageModel,
    readonly tokenizer: Tokenizer,
    readonly device: Device,
    /** Folder that it was loaded from. */
    readonly folder: string,
  ) {}

  /**
   * Loads a model from a folder or by its id on the hub (from the cache where it is there).
   * @throws KraitError in one line that names the file, the value and the remedy
   */
  static async load(idOrFolder: string, options: OpenOptions = {}): Promise<Krait> {
    const files = new NodeFileSystem();
    const { revision, onWarning } = options;
    const folder = await resolveModel(files, idOrFolder, readHubSettings(), { revision, warn: onWarning });
    const device = await openDevice(options);
    try {
      const model = await loadModel(device, files, folder, { dtype: options.dtype, onWarning });
      return new Krait(model, await loadTokenizer(files, folder), device, folder);
    } catch (error) {
      device.close();
      throw error;
    }
  }

  /** Continues a prompt, token by token; stop it by breaking out of the loop or by the signal. */
  generate(prompt: Prompt | readonly Prompt[], options: GenerateOptions = {}): AsyncGenerator<GeneratedToken> {
    return generate(this.model, this.tokenizer, prompt, options);
  }

  /** Whole completions, one for each prompt. */
  complete(prompts: Prompt | readonly Prompt[], options: GenerateOptions = {}): Promise<Completion[]> {
    return complete(this.model, this.tokenizer, prompts, options);
  }

  /** Log-probability in nats of each token of a text; the first is null. */
  score(text: string): Promise<(number | null)[]> {
    return scoreTokens(this.model, this.tokenizer.encode(text));
  }

  /** Writes config.json and model.safetensors as the hub has them. */
  async save(folder: string): Promise<void> {
    await saveModel(this.model, new NodeFileSystem(), folder);
  }

  /** Gives the model's memory and the device's threads back. */
  close(): void {
    this.model.dispose();
    this.device.close();
  }
}
