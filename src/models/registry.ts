/** Which file builds which `model_type`. A new architecture is one file and one row here. */
import { ConfigError, type DType } from '../core/index.ts';
import type { Device, Tensor } from '../tensor/index.ts';
import { type MambaConfig, MODEL_TYPES, type ModelType } from './config.ts';
import { MambaModel } from './mamba.ts';
import { type WeightRow, weightTable } from './weight-table.ts';

/** A configuration of any family; one today. */
export type ModelConfig = MambaConfig;
/** A model of any family; one today. */
export type LanguageModel = MambaModel;

export interface ModelFamily {
  /** File in this folder that holds the architecture. */
  readonly file: string;
  /** Its tensors: names, shapes, types and first values. */
  readonly weights: (config: ModelConfig) => WeightRow[];
  /** The model over its weights, which it then owns. */
  readonly build: (
    device: Device,
    config: ModelConfig,
    weights: ReadonlyMap<string, Tensor>,
    activations: DType,
  ) => LanguageModel;
}

const MAMBA: ModelFamily = {
  file: 'mamba.ts',
  weights: weightTable,
  build: (device, config, weights, activations) => new MambaModel(device, config, weights, activations),
};

export const modelFamilies: Readonly<Record<ModelType, ModelFamily>> = { mamba: MAMBA, falcon_mamba: MAMBA };

/** @throws ConfigError listing the model types that there are */
export function familyOf(config: ModelConfig): ModelFamily {
  const family = modelFamilies[config.modelType];
  if (family) return family;
  throw new ConfigError(`model type ${config.modelType} is not supported; supported are ${MODEL_TYPES.join(', ')}`);
}
