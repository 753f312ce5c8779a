/** A LoRA adapter's configuration and its defaults, which are PEFT's; peft.ts reads and writes it. */

/** Meaning every linear layer but the head. */
export const ALL_LINEAR = 'all-linear';

/** A LoRA adapter's configuration: PEFT's fields in camel case. */
export interface LoraConfig {
  /** Rank, before `rankPattern`. */
  readonly r: number;
  readonly loraAlpha: number;
  readonly loraDropout: number;
  /** Ends of module paths, a regular expression that matches whole paths, or `all-linear`. */
  readonly targetModules: readonly string[] | string;
  /** Modules left out, in the same two forms. */
  readonly excludeModules: readonly string[] | string | null;
  /** Which biases are trained. */
  readonly bias: 'none' | 'all' | 'lora_only';
  /** Modules that are trained and saved whole. */
  readonly modulesToSave: readonly string[];
  /** Scale by alpha / sqrt(r) instead of alpha / r. */
  readonly useRslora: boolean;
  /** Only matters to layers that store weights transposed, which no Mamba has; kept as it was. */
  readonly fanInFanOut: boolean;
  /** How A and B start: true is B = 0 with a uniform A, false leaves both random. */
  readonly initLoraWeights: boolean | 'gaussian' | 'orthogonal' | 'eva';
  readonly rankPattern: Readonly<Record<string, number>>;
  readonly alphaPattern: Readonly<Record<string, number>>;
  readonly baseModelNameOrPath: string | null;
  readonly revision: string | null;
  readonly taskType: string | null;
}

export const LORA_DEFAULTS: LoraConfig = {
  r: 8,
  loraAlpha: 8,
  loraDropout: 0,
  targetModules: ALL_LINEAR,
  excludeModules: null,
  bias: 'none',
  modulesToSave: [],
  useRslora: false,
  fanInFanOut: false,
  initLoraWeights: true,
  rankPattern: {},
  alphaPattern: {},
  baseModelNameOrPath: null,
  revision: null,
  taskType: 'CAUSAL_LM',
};
