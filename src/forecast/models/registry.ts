/** Forecasters by name. */
import { UsageError } from '../../core/index.ts';
import type { Device } from '../../tensor/index.ts';
import { CALENDAR_PARTS, type CalendarPart } from '../data/index.ts';
import { LAYOUTS, type NaiveModelName, type TrainedModelName } from '../names.ts';
import { CalendarEffects } from './calendar-effects.ts';
import { DLinear } from './dlinear.ts';
import type { ForecastModel, ForecastSize } from './forecast-model.ts';
import { MAMBATS_DEFAULTS, MambaTS, type MambaTSConfig } from './mambats.ts';
import { drift, type RowForecast, seasonalNaive } from './naive.ts';
import { PATCH_TRANSFORMER_DEFAULTS, PatchTransformer, type PatchTransformerConfig } from './patch-transformer.ts';
import { RidgeShortcut } from './ridge-shortcut.ts';

/** Settings of a model beside its sizes; what a model does not have is not read. */
export type ModelSettings = Partial<Omit<MambaTSConfig, keyof ForecastSize>> &
  Partial<Omit<PatchTransformerConfig, keyof ForecastSize>> & {
    /** Parts of the calendar whose effects are added; none unless given. */
    readonly calendar?: readonly CalendarPart[];
    /** Whether the linear forecast of ridge regression is added, and the model learns what it lacks. */
    readonly shortcut?: boolean;
  };

const stated = <T extends object>(settings: T): T =>
  Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined)) as T;

function checkConfig(name: string, config: Record<string, unknown>): void {
  for (const [key, value] of Object.entries(config)) {
    if (typeof value !== 'number') continue;
    if (key === 'dropout' ? value >= 0 && value < 1 : Number.isInteger(value) && value > 0) continue;
    const expected = key === 'dropout' ? 'a number from 0 to below 1' : 'a whole number above 0';
    throw new UsageError(`${name}: ${key}: expected ${expected}, got ${value}`);
  }
  const { patch, lookback, layout, d, heads } = config as Partial<MambaTSConfig & PatchTransformerConfig>;
  if (patch !== undefined && patch > lookback!) {
    throw new UsageError(`${name}: a patch of ${patch} does not fit the look-back of ${lookback}; give a smaller one`);
  }
  if (layout !== undefined && !LAYOUTS.includes(layout)) {
    throw new UsageError(`${name}: layout: expected one of ${LAYOUTS.join(', ')}, got ${layout}`);
  }
  if (heads !== undefined && d! % heads !== 0) {
    throw new UsageError(`${name}: a width of ${d} is not a multiple of ${heads} heads; give one that is`);
  }
}

/**
 * A new model with weights drawn from `seed`.
 * @throws UsageError for sizes and settings that cannot be
 */
export function createForecastModel(
  name: TrainedModelName,
  device: Device,
  size: ForecastSize,
  given: ModelSettings,
  seed: number,
): ForecastModel {
  const { calendar = [], shortcut = false, ...settings } = stated(given);
  if (name === 'ridge' && calendar.length > 0) {
    throw new UsageError('ridge: is solved, and learns no effects of the calendar; take dlinear or mambats with it');
  }
  const base = name === 'ridge' ? null : createBaseModel(name, device, size, settings, seed);
  const model = base && !shortcut ? base : new RidgeShortcut(device, size, base);
  return calendar.length > 0 ? new CalendarEffects(model, size, checkCalendar(calendar)) : model;
}

function checkCalendar(parts: readonly CalendarPart[]): readonly CalendarPart[] {
  const unknown = parts.find((part) => !CALENDAR_PARTS.includes(part));
  if (unknown === undefined) return parts;
  throw new UsageError(`calendar: expected some of ${CALENDAR_PARTS.join(', ')}, got ${unknown}`);
}

function createBaseModel(
  name: Exclude<TrainedModelName, 'ridge'>,
  device: Device,
  size: ForecastSize,
  settings: ModelSettings,
  seed: number,
): ForecastModel {
  if (name === 'dlinear') {
    checkConfig(name, { ...size });
    return new DLinear(device, size, seed);
  }
  if (name === 'patch-transformer') {
    const config = { ...PATCH_TRANSFORMER_DEFAULTS, ...settings, ...size };
    checkConfig(name, { ...config, layout: undefined });
    return new PatchTransformer(device, config, seed);
  }
  const plain = name === 'mamba' ? ({ layout: 'variables-apart', convolution: true } as const) : {};
  const config = { ...MAMBATS_DEFAULTS, ...plain, ...settings, ...size };
  checkConfig(name, { ...config, heads: undefined });
  return new MambaTS(device, config, seed);
}

/** `season` in steps: a day of hours, a week of days. */
export const naiveForecast = (name: NaiveModelName, season: number): RowForecast =>
  name === 'drift' ? drift : seasonalNaive(season);
