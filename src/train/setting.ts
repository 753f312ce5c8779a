/**
 * A setting is one row of a table. Types, files, flags, options of the library, checks and documentation read that row. A row stands under the setting's name in code (`learningRate`); `key` is its name in
 * files (`learning_rate`).
 */
import type { z } from 'zod';

/** The library that checks values. It is an argument, so that a table of settings loads without it. */
export type Zod = typeof z;

/** Kind of the flag's value on the command line. */
export type FlagKind =
  | { readonly type: 'whole'; readonly least: number }
  | { readonly type: 'number'; readonly low: number; readonly open: boolean }
  | { readonly type: 'choice'; readonly choices: readonly (string | boolean)[] }
  | { readonly type: 'list' | 'switch' | 'text' };

/** The values that a setting may have. */
export interface Kind<T = unknown> {
  /** Schema that checks a value of a file. */
  readonly schema: (zod: Zod) => z.ZodType<T>;
  /** The values in words, for errors: `a number above 0`. */
  readonly expected: string;
  readonly flag: FlagKind;
}

export interface Setting<T = unknown> {
  /** Name in files: that of transformers' Trainer or of PEFT, where they have one. */
  readonly key: string;
  /** Other names in files, such as those of mlx-lm. The name of the flag is always one. */
  readonly aliases?: readonly string[];
  /** The flag in the help: `--lr <x>`. */
  readonly flag: string;
  /** Description for help and documentation. */
  readonly about: string;
  readonly kind: Kind<T>;
  /** The value where none is given. */
  readonly default?: T;
  /** The default in words, if it depends on another setting. */
  readonly defaultText?: string;
  /** Name of the option that it fills, if it differs from the name of the setting; null for none. */
  readonly fills?: string | null;
  /** True if a resumed run may change it. */
  readonly isFree?: boolean;
  /** True if `key` means the opposite of the name in code. Aliases have the meaning of the name in code. */
  readonly isInverted?: boolean;
  /** Key of the setting that takes a value between 0 and 1, unless it is given under `key` itself. */
  readonly shareKey?: string;
  /** Group of settings that exclude one another: at most one of them may be given. */
  readonly group?: string;
}

export type Settings = Readonly<Record<string, Setting>>;

/** The type of a setting's values. */
export type ValueOf<S> = S extends { readonly kind: Kind<infer T> } ? T : never;
/** Values under their names in code. */
export type SettingsOf<R extends Settings> = { [K in keyof R]?: ValueOf<R[K]> };
/** Values under their names in files. */
export type ConfigOf<R extends Settings> = { [K in keyof R as R[K]['key']]?: ValueOf<R[K]> };

/** Defaults under their names in code, of the settings that have one and are options under their own names. */
export type DefaultsOf<R extends Settings> = {
  [K in keyof R as R[K] extends { readonly fills: string | null }
    ? never
    : R[K] extends { readonly default: unknown }
      ? K
      : never]: ValueOf<R[K]>;
};

export const defaultsOf = <R extends Settings>(settings: R): DefaultsOf<R> =>
  Object.fromEntries(
    Object.entries(settings)
      .filter(([, row]) => row.default !== undefined && row.fills === undefined)
      .map(([name, row]) => [name, row.default]),
  ) as DefaultsOf<R>;

/** A whole number. */
export const whole = (least: number, most = Number.MAX_SAFE_INTEGER): Kind<number> => ({
  schema: (zod) => zod.int().min(least).max(most),
  expected: `a whole number from ${least}${most === Number.MAX_SAFE_INTEGER ? '' : ` to ${most}`}`,
  flag: { type: 'whole', least },
});

/** A number above 0. */
export const positive: Kind<number> = {
  schema: (zod) => zod.number().positive(),
  expected: 'a number above 0',
  flag: { type: 'number', low: 0, open: true },
};

/** A number from 0. */
export const nonnegative: Kind<number> = {
  schema: (zod) => zod.number().nonnegative(),
  expected: 'a number from 0',
  flag: { type: 'number', low: 0, open: false },
};

/** A number from 0 to below 1. */
export const fraction: Kind<number> = {
  schema: (zod) => zod.number().min(0).lt(1),
  expected: 'a number from 0 to below 1',
  flag: { type: 'number', low: 0, open: false },
};

export const oneOf = <const T extends string>(values: readonly T[]): Kind<T> => ({
  schema: (zod) => zod.enum(values),
  expected: values.join(', '),
  flag: { type: 'choice', choices: values },
});

/** True or false; the flag takes no value and means true. */
export const yesOrNo: Kind<boolean> = {
  schema: (zod) => zod.boolean(),
  expected: 'true or false',
  flag: { type: 'switch' },
};

export const text: Kind<string> = {
  schema: (zod) => zod.string().min(1),
  expected: 'text',
  flag: { type: 'text' },
};

/** A list of names. */
export const list: Kind<readonly string[]> = {
  schema: (zod) => zod.array(zod.string().min(1)),
  expected: 'a list of names',
  flag: { type: 'list' },
};

/** A list of names with at least one, or text that stands for some. */
export const names: Kind<string | readonly string[]> = {
  schema: (zod) => zod.union([zod.string().min(1), zod.array(zod.string().min(1)).min(1)]),
  expected: 'names',
  flag: { type: 'text' },
};

/** The flag's long name, `--eval-every`. */
export const flagName = ({ flag }: Setting): string => flag.split(' ')[0];

/** All names that a setting has in files: its key, its aliases, and the name of its flag. */
export const fileNames = (setting: Setting): string[] => [
  ...new Set([setting.key, ...(setting.aliases ?? []), flagName(setting).slice(2).replaceAll('-', '_')]),
];

/** The key and value in files of a value that is given under the name in code, or under an alias. */
export function fileEntry(setting: Setting, value: unknown): [key: string, value: unknown] {
  const { key, shareKey, isInverted } = setting;
  const isShare = typeof value === 'number' && value > 0 && value < 1;
  return [(isShare && shareKey) || key, isInverted && typeof value === 'boolean' ? !value : value];
}

/** Options filled by the settings of a file; settings that are not given fill none. */
export function filledOptions(settings: Settings, config: object): Record<string, unknown> {
  const options: Record<string, unknown> = {};
  for (const [name, { key, fills = name, isInverted }] of Object.entries(settings)) {
    const value = (config as Record<string, unknown>)[key];
    if (value !== undefined && fills !== null) options[fills] = isInverted ? !value : value;
  }
  return options;
}
