/**
 * Fine-tuning of a model that is loaded, as `Krait.tune` does it: options to a configuration, and `fineTune`. The settings
 * among the options are those of `TUNE_SETTINGS`.
 */
import { ConfigError } from '../core/index.ts';
import { type FileSystem, suggestion, type Tokenizer } from '../io/index.ts';
import type { LanguageModel } from '../models/index.ts';
import { PRECISIONS, type TrainingCallbacks } from '../train/index.ts';
import {
  configOf,
  type FineTunePlan,
  type FineTuneResult,
  fineTune,
  LORA_SETTINGS,
  type LoraAdapter,
  TUNE_SETTINGS,
  type TuneConfig,
  type TuneData,
  type TuneSettings,
} from '../tune/index.ts';

/** Options that are not settings: data, folders, callbacks. */
interface RunOptions extends TrainingCallbacks {
  data: TuneData;
  /** Held-out records, for `evalEvery`; `valid.jsonl` of the folder that `data` names unless given. */
  validation?: TuneData;
  /** Folder for the result, checkpoints and logs. Nothing is written without it. */
  out?: string;
  /** Go on from the last checkpoint in `out`; without it an earlier run there is removed. */
  resume?: boolean;
  /** Ends the run after the step it is in; the result's status is then `aborted`. */
  signal?: AbortSignal;
  /** Called before the first step with what was read and what will be trained. */
  onStart?(plan: FineTunePlan): void;
}

export interface TuneOptions extends TuneSettings, RunOptions {}

const RUN_OPTIONS: Readonly<Record<keyof RunOptions, true>> = {
  data: true,
  validation: true,
  out: true,
  resume: true,
  signal: true,
  onStart: true,
  onOpen: true,
  onStep: true,
  onEval: true,
  onCheckpoint: true,
};

/**
 * The configuration that options stand for.
 * @throws ConfigError naming the option, its value and what was expected, or the nearest option there is
 */
function tuneConfigOf(options: TuneOptions): TuneConfig {
  const settings: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(options)) {
    if (Object.hasOwn(RUN_OPTIONS, name) || value === undefined) continue;
    if (!Object.hasOwn(TUNE_SETTINGS, name)) {
      const known = [...Object.keys(TUNE_SETTINGS), ...Object.keys(RUN_OPTIONS)];
      throw new ConfigError(`tune: there is no option ${name}${suggestion(name, known)}; leave it out`);
    }
    settings[name] = value;
    configOf(`tune: ${name}`, { [name]: value }); // alone, so that an error names the option
  }
  return configOf('tune', settings);
}

/** @throws ConfigError for an option that would do nothing */
function checkUses(options: TuneOptions): void {
  const { data, evalEvery, validation, out } = options;
  if (evalEvery && validation === undefined && typeof data !== 'string') {
    throw new ConfigError(`tune: evalEvery is ${evalEvery} but there is nothing to evaluate on; give validation too`);
  }
  const waiting = (['evalOnStart', 'patience'] as const).find((name) => options[name]);
  if (waiting && !evalEvery) {
    throw new ConfigError(`tune: ${waiting} is ${options[waiting]} but nothing is evaluated; give evalEvery too`);
  }
  if (out !== undefined) return;
  const idle = (['resume', 'saveEvery', 'keepCheckpoints'] as const).find((name) => options[name]);
  if (idle) throw new ConfigError(`tune: ${idle} is ${options[idle]} but no folder is given to save to; give out too`);
}

/** @throws ConfigError if the adapter on the model excludes the requested method */
function checkAdapter(adapter: LoraAdapter | null, method: 'lora' | 'full', options: TuneOptions): void {
  const isFull = method === 'full';
  const given = Object.keys(LORA_SETTINGS).find((name) => options[name as keyof typeof LORA_SETTINGS] !== undefined);
  if (isFull && given) throw new ConfigError(`tune: ${given} is of LoRA, the method is full; leave one out`);
  if (!adapter) return;
  const away = 'merge({ permanent: true }) or removeAdapter() first';
  if (isFull) throw new ConfigError(`tune: the model has an adapter, which method full does not train; ${away}`);
  if (adapter.mergedBases) throw new ConfigError(`tune: the adapter is merged; unmerge() to train it on, or ${away}`);
  if (given)
    throw new ConfigError(`tune: ${given} is of a new adapter and the model has one; leave it out, or ${away}`);
}

/** The model to tune, with its tokenizer and files. */
export interface TuneTarget {
  readonly model: LanguageModel;
  readonly tokenizer: Tokenizer;
  readonly files: FileSystem;
  /** Name of the base model in the adapter's configuration. */
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
  checkAdapter(target.adapter, stated.method ?? TUNE_SETTINGS.method.default, options);
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
