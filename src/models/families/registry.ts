/** Which file builds which `model_type`. A new architecture is one file and one row here. */
import { ConfigError, type DType, sizeOf } from '../../core/index.ts';
import type { Device, Tensor } from '../../tensor/index.ts';
import type { CheckpointNames, WeightRow } from '../checkpoint/table.ts';
import type { CausalModel } from './causal-model.ts';
import { MODEL_TYPES, type ModelConfig, type ModelType } from './config.ts';
import { GptNeoXModel } from './gpt-neox.ts';
import type { GptNeoXConfig } from './gpt-neox-config.ts';
import { gptNeoXNames, gptNeoXWeights, settleGptNeoX } from './gpt-neox-weights.ts';
import { MambaModel } from './mamba.ts';
import type { MambaConfig } from './mamba-config.ts';
import { mambaNames, mambaWeights, settleMamba } from './mamba-weights.ts';

/** A model of any family; `instanceof MambaModel` and the like tell them apart. */
export type LanguageModel = CausalModel<ModelConfig>;

export interface ModelFamily<C extends ModelConfig = ModelConfig> {
  /** File in this folder that holds the architecture. */
  readonly file: string;
  /** How its tensors are called in checkpoints. */
  readonly names: CheckpointNames;
  /** Its tensors: names, shapes, types and first values. */
  weights(config: C): WeightRow[];
  /** The configuration with what it leaves open decided: by what a checkpoint holds, or for a new model. */
  settle(config: C, has?: (name: string) => boolean): C;
  /** The model over its weights, which it then owns. */
  build(device: Device, config: C, weights: ReadonlyMap<string, Tensor>, activations: DType): LanguageModel;
}

const MAMBA: ModelFamily<MambaConfig> = {
  file: 'mamba.ts',
  names: mambaNames,
  weights: mambaWeights,
  settle: settleMamba,
  build: (device, config, weights, activations) => new MambaModel(device, config, weights, activations),
};

const GPT_NEOX: ModelFamily<GptNeoXConfig> = {
  file: 'gpt-neox.ts',
  names: gptNeoXNames,
  weights: gptNeoXWeights,
  settle: settleGptNeoX,
  build: (device, config, weights, activations) => new GptNeoXModel(device, config, weights, activations),
};

/** Each family is asked only about configurations of its own model types. */
export const modelFamilies: Readonly<Record<ModelType, ModelFamily>> = {
  mamba: MAMBA,
  falcon_mamba: MAMBA,
  gpt_neox: GPT_NEOX,
};

/** @throws ConfigError listing the model types that there are */
export function familyOf(config: ModelConfig): ModelFamily {
  const family = modelFamilies[config.modelType];
  if (family) return family;
  throw new ConfigError(`model type ${config.modelType} is not supported; supported are ${MODEL_TYPES.join(', ')}`);
}

/** Elements of all tensors of a model. */
export const parameterCount = (config: ModelConfig): number =>
  familyOf(config)
    .weights(config)
    .reduce((sum, row) => sum + sizeOf(row.shape), 0);
