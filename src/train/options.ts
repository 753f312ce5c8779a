/** Options of the trainer, filled by the settings of training, with defaults and checks. */
import { z } from 'zod';
import { ConfigError } from '../core/index.ts';
import { OPTIMIZERS, type OptimizerName, type OptimizerSettings, type ScheduleOptions } from './optim/index.ts';
import { defaultsOf, type Setting, type SettingsOf } from './setting.ts';
import { TRAIN_SETTINGS } from './settings.ts';

type Rows = typeof TRAIN_SETTINGS;
/** Settings that are options under the same name. */
type OwnName = { [K in keyof Rows]: Rows[K] extends { readonly fills: string | null } ? never : K }[keyof Rows];
type OwnOptions = Required<SettingsOf<Pick<Rows, Exclude<OwnName, keyof OptimizerSettings>>>>;

/** Options of training. The table of settings describes them. */
export interface TrainerOptions extends OwnOptions, Partial<OptimizerSettings> {
  /** First loss scale of f16. */
  initialLossScale: number;
}

/** @throws ConfigError for a value that the setting cannot have: `learning_rate: expected a number above 0, got -1` */
function checkValue({ key, kind }: Setting, value: unknown): void {
  if (kind.schema(z).safeParse(value).success) return;
  throw new ConfigError(`${key}: expected ${kind.expected}, got ${value}`);
}

const ROWS = Object.entries<Setting>(TRAIN_SETTINGS);

const OWN_DEFAULTS = defaultsOf(TRAIN_SETTINGS);

/** Defaults with AdamW. Another optimiser has its own. */
export const TRAINER_DEFAULTS: Omit<TrainerOptions, 'steps'> = {
  ...OWN_DEFAULTS,
  ...OPTIMIZERS[OWN_DEFAULTS.optimizer].defaults,
  initialLossScale: 65536,
};

/** Options of optimisers. Each optimiser takes some of them. */
export const OPTIMIZER_OPTIONS = [
  ...new Set(Object.values(OPTIMIZERS).flatMap(({ defaults }) => Object.keys(defaults))),
] as (keyof OptimizerSettings)[];

/** True if an optimiser takes an option, or the option is not one of optimisers. */
export const takesOption = (optimizer: OptimizerName, option: string): boolean =>
  option in OPTIMIZERS[optimizer].defaults || !(OPTIMIZER_OPTIONS as readonly string[]).includes(option);

/** Settings that an optimiser is made with. */
export const optimizerSettings = (options: TrainerOptions): Partial<OptimizerSettings> =>
  Object.fromEntries(OPTIMIZER_OPTIONS.filter((name) => name in options).map((name) => [name, options[name]]));

/** Options that a checkpoint stores. A resumed run compares them. */
export function runSettings(options: TrainerOptions): Record<string, unknown> {
  const { optimizer, ...rest } = options;
  const isFixed = (name: string) => !(TRAIN_SETTINGS as Record<string, Setting>)[name]?.isFree;
  const entries = Object.entries(rest).filter(([name]) => isFixed(name));
  return JSON.parse(JSON.stringify({ optimizer, ...Object.fromEntries(entries) })) as Record<string, unknown>;
}

/** Value of an option in a checkpoint; its default if the checkpoint does not have it. */
export const rememberedSetting = (settings: Record<string, unknown>, name: string): unknown =>
  settings[name] ?? (TRAINER_DEFAULTS as unknown as Record<string, unknown>)[name];

/** @throws ConfigError naming the setting, its value and what was expected */
function checkOption(name: keyof Rows, value: unknown): void {
  // Whole steps or a share of all: a number that is neither is rounded.
  if (name === 'warmup' && typeof value === 'number' && value >= 0 && Number.isFinite(value)) return;
  checkValue(TRAIN_SETTINGS[name], value);
}

/** @throws ConfigError naming the value that makes no schedule */
export function checkSchedule(options: ScheduleOptions): void {
  const { schedule, learningRate, steps, warmup = 0, minLearningRate = 0 } = options;
  for (const [name, value] of Object.entries({ schedule, learningRate, steps, warmup, minLearningRate })) {
    checkOption(name as keyof Rows, value);
  }
  if (minLearningRate <= learningRate) return;
  const expected = `a number from 0 to the learning rate, ${learningRate}`;
  throw new ConfigError(`${TRAIN_SETTINGS.minLearningRate.key}: expected ${expected}, got ${minLearningRate}`);
}

function checkOptimizerOptions({ betas, eps }: TrainerOptions): void {
  betas?.forEach((beta, i) => {
    checkOption(i === 0 ? 'adamBeta1' : 'adamBeta2', beta);
  });
  if (eps !== undefined) checkOption('adamEpsilon', eps);
}

function checkEvaluations({ evalEvery, evalOnStart, patience }: TrainerOptions): void {
  if (evalEvery > 0) return;
  const fail = (name: string, expected: unknown, got: unknown) => {
    throw new ConfigError(`${name}: expected ${expected} where nothing is evaluated, got ${got}; give evalEvery too`);
  };
  if (patience > 0) fail('patience', 0, patience);
  if (evalOnStart) fail('evalOnStart', false, evalOnStart);
}

/** Defaults filled in. @throws ConfigError naming the setting and the value that cannot be used */
export function resolveOptions(given: Partial<TrainerOptions> & { steps: number }): TrainerOptions {
  const stated = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as typeof given;
  const { optimizer = OWN_DEFAULTS.optimizer } = stated;
  checkOption('optimizer', optimizer);
  const { defaults, rateShare } = OPTIMIZERS[optimizer];
  const idle = OPTIMIZER_OPTIONS.find((name) => stated[name] !== undefined && !takesOption(optimizer, name));
  if (idle) throw new ConfigError(`${idle}: the optimizer ${optimizer} does not take it; leave it out`);
  const { initialLossScale } = TRAINER_DEFAULTS;
  const learningRate = OWN_DEFAULTS.learningRate * rateShare;
  const options = { ...OWN_DEFAULTS, learningRate, ...defaults, initialLossScale, ...stated };
  checkSchedule(options);
  for (const [name, row] of ROWS)
    if (!('fills' in row) && name in options) checkOption(name as keyof Rows, options[name as OwnName]);
  checkOptimizerOptions(options);
  checkEvaluations(options);
  return options;
}

/**
 * Steps of a run that is given in steps or in passes over the data.
 * @throws ConfigError if neither is given, or epochs of data that has no end
 */
export function stepsFor({ steps, epochs }: { steps?: number; epochs?: number }, stepsPerEpoch?: number): number {
  if (steps !== undefined) return steps;
  if (epochs === undefined) throw new ConfigError('max_steps, num_train_epochs: neither is given; give one');
  if (stepsPerEpoch === undefined) throw new ConfigError('epochs: the data has no end; give --steps instead');
  return Math.max(1, Math.round(epochs * stepsPerEpoch));
}
