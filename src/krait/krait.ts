/** A language model with its tokenizer and device: load, generate, score, fine-tune, adapt, merge, save. */
import { KraitError } from '../core/index.ts';
import type { Tokenizer } from '../io/index.ts';
import {
  type Completion,
  complete,
  type GeneratedToken,
  type GenerateOptions,
  generate,
  type Prompt,
} from '../models/generate/index.ts';
import { type LanguageModel, saveModel, scoreTokens } from '../models/index.ts';
import { NodeFileSystem } from '../platform/node/index.ts';
import type { Device } from '../tensor/index.ts';
import {
  detachLora,
  type FineTuneResult,
  keepMerged,
  type LoraAdapter,
  loadAdapter,
  mergeLora,
  saveAdapter,
  unmergeLora,
} from '../tune/index.ts';
import { type OpenedModel, type OpenOptions, openModel } from './open.ts';
import { type TuneOptions, tuneModel } from './tuning.ts';

/**
 * A language model with its tokenizer and device. What changes or saves the model runs alone: until its promise
 * settles every other method throws, and so does every method after `close`.
 */
export class Krait {
  private readonly files = new NodeFileSystem();
  private current: LoraAdapter | null;
  private running: string | null = null;
  private isClosed = false;

  private constructor(
    private readonly opened: OpenedModel,
    /** Source of the model: an id on the hub, or a folder. */
    readonly name: string,
  ) {
    this.current = opened.adapter;
  }

  /**
   * Loads a model from a folder or by its id on the hub (from the cache where it is there), with an adapter if one is named.
   * @throws KraitError in one line that names the file, the value and the remedy
   */
  static async load(idOrFolder: string, options: OpenOptions = {}): Promise<Krait> {
    const onDevice = (device: Device, reason: string) => {
      if (device.name === 'reference' && options.device !== 'reference') options.onWarning?.(`device: ${reason}`);
      options.onDevice?.(device, reason);
    };
    return new Krait(await openModel(idOrFolder, { ...options, onDevice }), idOrFolder);
  }

  get model(): LanguageModel {
    return this.opened.model;
  }

  get tokenizer(): Tokenizer {
    return this.opened.tokenizer;
  }

  get device(): Device {
    return this.opened.device;
  }

  /** Folder that it was loaded from. */
  get folder(): string {
    return this.opened.folder;
  }

  // --- using it -------------------------------------------------------------------------------------------------

  /**
   * Continues a prompt, token by token; stop it by breaking out of the loop or by the signal. The adapter takes part.
   * @throws UsageError for options out of range; the signal's reason once it fires; KraitError if closed meanwhile
   */
  async *generate(
    prompt: Prompt | readonly Prompt[],
    options: GenerateOptions = {},
  ): AsyncGenerator<GeneratedToken, void, undefined> {
    this.check('generate');
    for await (const token of generate(this.model, this.tokenizer, prompt, options)) {
      yield token;
      this.check('generate');
    }
  }

  /** Whole completions, one for each prompt. Throws what `generate` throws. */
  async complete(prompts: Prompt | readonly Prompt[], options: GenerateOptions = {}): Promise<Completion[]> {
    this.check('complete');
    return complete(this.model, this.tokenizer, prompts, options);
  }

  /** Log-probability in nats of each token of a text; the first is null. @throws UsageError for an empty text */
  async score(text: string): Promise<(number | null)[]> {
    this.check('score');
    return scoreTokens(this.model, this.tokenizer.encode(text));
  }

  // --- fine-tuning ----------------------------------------------------------------------------------------------

  /**
   * Trains on records, in place. LoRA leaves its adapter on the model, which generates with it from then on, and trains
   * an adapter further that is on it already; `method: 'full'` changes the weights. With `out` the result is saved there
   * too: an adapter, or a whole model. After the signal the model stands as after the last step, status `aborted`.
   * Where this throws, a new adapter is taken off again; weights that were trained whole stay as after the last good step.
   * @throws ConfigError, UsageError, FileFormatError naming the option, `file:line` or `data[i]`; KraitError for a loss
   * that is not finite; what a callback throws
   */
  tune(options: TuneOptions): Promise<FineTuneResult> {
    return this.alone('tune', async () => {
      const { model, tokenizer, files, name, current } = this;
      const result = await tuneModel({ model, tokenizer, files, name, adapter: current }, options);
      this.current = result.adapter;
      const isModelSaved = options.out !== undefined && !result.adapter && result.status === 'completed';
      if (isModelSaved) await this.opened.copySideFiles(options.out!);
      return result;
    });
  }

  /** The adapter on the model, merged or not: its configuration, coverage and tensors; null if there is none. */
  get adapter(): LoraAdapter | null {
    return this.current;
  }

  /**
   * Puts an adapter in PEFT's format on the model that it was trained for.
   * @throws ConfigError, CheckpointError, FileFormatError naming file, tensor or field; the model is then as it was.
   * KraitError if an adapter is on it already
   */
  loadAdapter(folder: string): Promise<void> {
    return this.alone('loadAdapter', async () => {
      if (this.current) {
        const remedy = 'merge({ permanent: true }) or removeAdapter() first';
        throw new KraitError(`loadAdapter: ${folder}: an adapter is on the model already; ${remedy}`);
      }
      this.current = await loadAdapter(this.model, this.files, folder);
    });
  }

  /**
   * Writes the adapter as PEFT reads it: `adapter_config.json` and `adapter_model.safetensors`.
   * @throws KraitError if there is none; FileFormatError for a full disk and the like
   */
  saveAdapter(folder: string): Promise<void> {
    return this.alone('saveAdapter', () => saveAdapter(this.adapterFor('saveAdapter'), this.files, folder));
  }

  /**
   * Adds the adapter to the weights, so that a layer costs what it did. The base weights are kept for `unmerge`;
   * `permanent` gives them and the adapter back, and the model is then one without adapter.
   * @throws KraitError if there is no adapter, or it is merged already (`permanent` takes that too)
   */
  merge({ permanent = false }: { permanent?: boolean } = {}): void {
    this.check('merge');
    const adapter = this.adapterFor('merge');
    if (permanent) {
      keepMerged(adapter);
      this.current = null;
    } else mergeLora(adapter);
  }

  /** Undoes `merge`: base weights, bit for bit, and the adapter beside them. @throws KraitError if it is not merged */
  unmerge(): void {
    this.check('unmerge');
    unmergeLora(this.adapterFor('unmerge'));
  }

  /** Takes the adapter off, merged or not: the model is as it was before. @throws KraitError if there is none */
  removeAdapter(): void {
    this.check('removeAdapter');
    detachLora(this.adapterFor('removeAdapter'));
    this.current = null;
  }

  // --- keeping it -----------------------------------------------------------------------------------------------

  /**
   * Writes config.json and model.safetensors as the hub has them, and the files of the tokenizer: a folder to `load`.
   * @throws KraitError while an adapter is beside the weights: the folder would hold the model without it
   */
  save(folder: string): Promise<void> {
    return this.alone('save', async () => {
      if (this.current && !this.current.mergedBases) {
        const remedy = 'merge() first, or saveAdapter() to save it alone, or removeAdapter() to leave it out';
        throw new KraitError(`save: ${folder}: the model has an adapter that would be lost; ${remedy}`);
      }
      await saveModel(this.model, this.files, folder);
      await this.opened.copySideFiles(folder);
    });
  }

  /**
   * Gives the model's memory and the device's threads back. Safe to call twice.
   * @throws KraitError while `tune` or a save is running: end it by its signal and await it first
   */
  close(): void {
    if (this.isClosed) return;
    this.check('close');
    this.isClosed = true;
    this.opened.close();
  }

  private adapterFor(method: string): LoraAdapter {
    if (this.current) return this.current;
    throw new KraitError(`${method}: the model has no adapter; tune() it with LoRA or loadAdapter() first`);
  }

  private check(method: string): void {
    if (this.isClosed) throw new KraitError(`${method}: ${this.name} is closed; load it again with Krait.load`);
    if (this.running) {
      const remedy = this.running === 'tune' ? 'await it, or abort it by its signal, first' : 'await it first';
      throw new KraitError(`${method}: ${this.running} is running on ${this.name}; ${remedy}`);
    }
  }

  /** Runs what must not meet another call. */
  private async alone<T>(method: string, work: () => Promise<T>): Promise<T> {
    this.check(method);
    this.running = method;
    try {
      return await work();
    } finally {
      this.running = null;
    }
  }
}
