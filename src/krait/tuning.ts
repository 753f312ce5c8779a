/** Fine-tuning of a model that is loaded, as `Krait.tune` does it: options to a configuration, and `fineTune`. */
import type { FileSystem, Tokenizer } from '../io/index.ts';
import type { LanguageModel } from '../models/index.ts';
import { PRECISIONS } from '../train/index.ts';
import { type FineTuneResult, fineTune, type LoraAdapter } from '../tune/index.ts';
import { checkAdapter, checkUses, type TuneOptions, tuneConfigOf } from './tune-options.ts';

/** What is tuned. */
export interface TuneTarget {
  readonly model: LanguageModel;
  readonly tokenizer: Tokenizer;
  readonly files: FileSystem;
  /** What the adapter's configuration names as its base. */
  readonly name: string;
  /** The adapter on the model, which is then trained on. */
  readonly adapter: LoraAdapter | null;
}

/**
 * Tunes a model in place. A new adapter stays on it, unless this throws: then the adapter is off again.
 * @throws ConfigError, UsageError, FileFormatError, KraitError in one line that names the option, file or record
 */
export async function tuneModel(target: TuneTarget, options: TuneOptions): Promise<FineTuneResult> {
  const { model, name, ...rest } = target;
  const stated = tuneConfigOf(options);
  checkUses(options);
  checkAdapter(target.adapter, stated.method ?? 'lora', options);
  const { activations } = model;
  const loadedAs = PRECISIONS.find((precision) => precision === activations); // none for f64, which stays as it is
  const config = { ...stated, model: name, dtype: stated.dtype ?? loadedAs };
  const { data, validation, out, resume, signal, onStart, onOpen, onStep, onEval, onCheckpoint } = options;
  const run = { data, validation, out, resume, signal, onStart, onOpen, onStep, onEval, onCheckpoint };
  model.activations = config.dtype ?? activations;
  try {
    return await fineTune({ ...rest, ...run, model, config });
  } finally {
    model.activations = activations;
  }
}
