/** Forecasters by name. A new one that is trained is a file of its own and one row here. */
import { UsageError } from '../../core/index.ts';
import type { Device } from '../../tensor/index.ts';
import { CALENDAR_PARTS, type CalendarPart } from '../data/index.ts';
import type { NaiveModelName, TrainedModelName } from '../names.ts';
import { isSolved } from '../names.ts';
import { CalendarEffects } from './calendar-effects.ts';
import { DLINEAR } from './dlinear.ts';
import type { ForecastModel, ForecastSize } from './forecast-model.ts';
import type { ForecasterKind } from './kind.ts';
import { MAMBA, MAMBATS } from './mambats.ts';
import { drift, type RowForecast, seasonalNaive } from './naive.ts';
import { PATCH_TRANSFORMER } from './patch-transformer.ts';
import { RIDGE, RidgeShortcut } from './ridge-shortcut.ts';

/** The names stand in names.ts, which the command line lists before it loads a model. */
const KINDS = {
  mambats: MAMBATS,
  mamba: MAMBA,
  'patch-transformer': PATCH_TRANSFORMER,
  dlinear: DLINEAR,
  ridge: RIDGE,
} as const satisfies { readonly [N in TrainedModelName]: { readonly name: N } };
type Kind = (typeof KINDS)[TrainedModelName];

type Everything<T> = (T extends unknown ? (of: T) => void : never) extends (of: infer U) => void ? U : never;

/** Settings of a model beside its sizes; what a model does not have is not read. */
export type ModelSettings = Partial<Everything<Kind['defaults']>> & {
  /** Parts of the calendar whose effects are added; none unless given. */
  readonly calendar?: readonly CalendarPart[];
  /** True to add the linear forecast of ridge regression. The model then learns the remaining error. */
  readonly shortcut?: boolean;
};

/** The kind of a name, to be asked with its own settings alone. */
export const kindOf = (name: TrainedModelName): ForecasterKind<TrainedModelName, Record<string, unknown>> =>
  KINDS[name] as unknown as ForecasterKind<TrainedModelName, Record<string, unknown>>;

/** The defaults of a kind with those of the settings that it has and that are given. */
function settingsOf({ defaults }: { defaults: object }, given: object): Record<string, unknown> {
  const own = Object.entries(given).filter(([key, value]) => value !== undefined && Object.hasOwn(defaults, key));
  return { ...defaults, ...Object.fromEntries(own) };
}

function checkNumbers(name: string, config: Record<string, unknown>): void {
  for (const [key, value] of Object.entries(config)) {
    if (typeof value !== 'number') continue;
    if (key === 'dropout' ? value >= 0 && value < 1 : Number.isInteger(value) && value > 0) continue;
    const expected = key === 'dropout' ? 'a number from 0 to below 1' : 'a whole number above 0';
    throw new UsageError(`${name}: ${key}: expected ${expected}, got ${value}`);
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
  { calendar = [], shortcut = false, ...given }: ModelSettings,
  seed: number,
): ForecastModel {
  if (isSolved(name) && calendar.length > 0) {
    throw new UsageError(`${name}: is solved, and learns no effects of the calendar; take dlinear or mambats with it`);
  }
  const kind = kindOf(name);
  const config = { ...settingsOf(kind, given), ...size };
  checkNumbers(name, config);
  kind.check?.(config);
  const parts = checkCalendar(calendar);
  const base = kind.create(device, config, seed);
  try {
    const model = base && !shortcut ? base : new RidgeShortcut(device, size, base);
    return parts.length > 0 ? new CalendarEffects(model, size, parts) : model;
  } catch (error) {
    base?.dispose();
    throw error;
  }
}

function checkCalendar(parts: readonly CalendarPart[]): readonly CalendarPart[] {
  const unknown = parts.find((part) => !CALENDAR_PARTS.includes(part));
  if (unknown === undefined) return parts;
  throw new UsageError(`calendar: expected some of ${CALENDAR_PARTS.join(', ')}, got ${unknown}`);
}

/** `season` in steps: a day of hours, a week of days. */
export const naiveForecast = (name: NaiveModelName, season: number): RowForecast =>
  name === 'drift' ? drift : seasonalNaive(season);
