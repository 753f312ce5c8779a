/** A family of language models: its configuration, the names of its checkpoints, and its layers as data. */
import type { BackbonePlan } from '../backbone.ts';
import type { GgufFormat } from '../checkpoint/gguf-format.ts';
import type { CheckpointNames, WeightRow } from '../checkpoint/table.ts';
import type { CommonConfig } from './fields.ts';

/** A module with one weight [vocabSize, hiddenSize], and its first values. */
export interface TablePlan {
  readonly module: string;
  readonly initial: WeightRow['initial'];
}

/** A language model as data. */
export interface LanguagePlan {
  readonly vocabSize: number;
  /** Positions that the model was made for; null where it remembers without an end. */
  readonly contextLength: number | null;
  readonly table: TablePlan;
  readonly head: TablePlan;
  readonly backbone: BackbonePlan;
}

/** A configuration of one of the family's model types. */
export interface FamilyConfig extends CommonConfig {
  readonly modelType: string;
}

/**
 * A family. Its functions take the configurations that its own `parse` makes, and no others.
 * The type of the configuration is lost where families stand in one list: hence the methods, which TypeScript compares
 * loosely.
 */
export interface Family<C extends FamilyConfig = FamilyConfig> {
  readonly modelTypes: readonly string[];
  /** Keys of config.json that are used. */
  readonly keys: readonly string[];
  /** Keys that transformers takes as Python floats alone: its loader refuses `1` where it wants `1.0`. */
  readonly floatKeys: readonly string[];
  /** Whether a config.json without a model type is of this family. */
  claims?(json: Record<string, unknown>): boolean;
  /** @throws ConfigError naming the file, the key, the value and what would do */
  parse(json: Record<string, unknown>, file: string): C;
  /** The configuration in Hugging Face's dialect, after the keys of its source that Krait does not use. */
  toJson(config: C): Record<string, unknown>;
  /**
   * The configuration with what it leaves open inferred from a checkpoint, or decided for a new model.
   * @param has whether the checkpoint holds a weight; absent for a new model
   */
  resolve(config: C, has?: (name: string) => boolean): C;
  plan(config: C): LanguagePlan;
  /** How its tensors are called in checkpoints. */
  readonly names: CheckpointNames;
  /** How llama.cpp reads it; absent where it is not exported. */
  readonly gguf?: GgufFormat<C>;
}
