/** Every forecaster by name, with the settings that it has unless others are given. */
import { ConfigError, RandomSource } from '../../core/index.ts';
import type { Device, Tensor } from '../../tensor/index.ts';
import { DLinear, type DLinearConfig, initDLinear } from './dlinear.ts';
import { driftRule, LinearRule, seasonalRule } from './linear-rules.ts';
import { initMambaTs, MambaTs, type MambaTsConfig } from './mambats.ts';
import { type ForecastModel, Initializer } from './model.ts';
import { initPatchTst, PatchTst, type PatchTstConfig } from './patchtst.ts';

export interface SeasonalConfig {
  readonly kind: 'seasonal';
  readonly lookback: number;
  readonly horizon: number;
  /** Rows of a season. */
  readonly season: number;
}

export interface DriftConfig {
  readonly kind: 'drift';
  readonly lookback: number;
  readonly horizon: number;
}

export type ForecastConfig = SeasonalConfig | DriftConfig | DLinearConfig | PatchTstConfig | MambaTsConfig;
export type ModelName = ForecastConfig['kind'];

const MAMBA = { layers: 3, width: 16, expand: 2, stateSize: 16, dropout: 0.3, patch: 48 } as const;

const DEFAULTS = {
  seasonal: { season: 24 },
  drift: {},
  dlinear: { window: 25 },
  patchtst: { patch: 16, layers: 3, width: 16, heads: 4, inner: 128, dropout: 0.3 },
  mamba: { ...MAMBA, scan: 'separate', convolution: true, permute: false, order: 'file' },
  mambats: { ...MAMBA, scan: 'variable-major', convolution: false, permute: true, order: 'annealing' },
} as const satisfies Record<ModelName, Record<string, unknown>>;

export const MODEL_NAMES = Object.keys(DEFAULTS) as ModelName[];

/** Settings of a model, those that are not given as above. @throws ConfigError for a name that there is not */
export function forecastConfig(
  kind: ModelName,
  sizes: { lookback: number; horizon: number },
  given: Record<string, unknown> = {},
): ForecastConfig {
  if (!Object.hasOwn(DEFAULTS, kind)) throw new ConfigError(`model: expected ${MODEL_NAMES.join(', ')}, got ${kind}`);
  const known: readonly string[] = Object.keys(DEFAULTS[kind]);
  const unknown = Object.keys(given).find((key) => given[key] !== undefined && !known.includes(key));
  if (unknown !== undefined)
    throw new ConfigError(`${kind}: no setting ${unknown}; it has ${known.join(', ') || 'none'}`);
  const stated = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return { kind, ...DEFAULTS[kind], ...stated, ...sizes } as ForecastConfig;
}

/** A model around parameters that are there already. Takes them over. */
export function forecasterOf(
  device: Device,
  config: ForecastConfig,
  parameters: ReadonlyMap<string, Tensor>,
): ForecastModel {
  const { kind, lookback, horizon } = config;
  switch (kind) {
    case 'seasonal':
      return new LinearRule(device, kind, lookback, horizon, seasonalRule(lookback, horizon, config.season));
    case 'drift':
      return new LinearRule(device, kind, lookback, horizon, driftRule(lookback, horizon));
    case 'dlinear':
      return new DLinear(device, config, parameters);
    case 'patchtst':
      return new PatchTst(config, parameters);
    default:
      return new MambaTs(config, parameters);
  }
}

/** Parameters of a new model: the same for the same seed on every device. */
export function newParameters(
  device: Device,
  config: ForecastConfig,
  seed: number,
  dtype: 'f32' | 'f64' = 'f32',
): Map<string, Tensor> {
  const init = new Initializer(device, new RandomSource(seed), dtype);
  if (config.kind === 'dlinear') initDLinear(init, config);
  else if (config.kind === 'patchtst') initPatchTst(init, config);
  else if (config.kind === 'mambats' || config.kind === 'mamba') initMambaTs(init, config);
  return init.parameters;
}

/** A new model, ready to be trained. */
export const createForecaster = (device: Device, config: ForecastConfig, seed: number): ForecastModel =>
  forecasterOf(device, config, newParameters(device, config, seed));
