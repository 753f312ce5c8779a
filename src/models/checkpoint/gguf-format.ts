/** How a family's models are laid out in GGUF files, as llama.cpp reads them. */
import type { Shape } from '../../core/index.ts';
import type { GgufTensor, GgufType, GgufValue } from '../../io/index.ts';

/** Metadata of a file. */
export interface GgufAbout {
  /** Type of the weights that feed matrix products. */
  readonly type: GgufType;
  /** For people. */
  readonly name: string;
  readonly parameters: number;
}

export interface GgufFormat<C> {
  /** Name of a tensor in the file; undefined for what llama.cpp has no place for. */
  nameOf(name: string): string | undefined;
  /** @throws ConfigError for sizes that llama.cpp has no way to run */
  check(config: C): void;
  /** Entries that describe the model, other than its tokenizer. */
  metadata(config: C, about: GgufAbout): Map<string, GgufValue>;
  /** One line for each setting that llama.cpp takes otherwise. */
  warnings(config: C): string[];
  /** Shape in the file of a tensor of this name and shape. */
  shapeOf(name: string, shape: Shape): Shape;
  /** A function of each value where the file has another than the checkpoint; null where they are the same. */
  valueOf(name: string): ((value: number) => number) | null;
  /** Tensors that llama.cpp wants and the checkpoint lacks. */
  added(config: C): GgufTensor[];
}
