/**
 * Flags that commands share, and readers of their values. Every command declares its flags with these before anything of
 * a model is loaded, so this file imports nothing heavy.
 */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { DeviceName } from '../backend/index.ts';
import { DEVICE_NAMES } from '../backend/select.ts';
import type { DType } from '../core/index.ts';

/** Most threads that every device takes. */
const MOST_THREADS = 128;

const FLOATS = ['f32', 'bf16', 'f16'] as const;
/** Values of `--dtype`. int8 quantises the weights and leaves activations in f32. */
export type TypeName = (typeof FLOATS)[number] | 'int8';

/** The storage type of weights that `--dtype` asks for. */
export const storageOf = (name: TypeName): DType => (name === 'int8' ? 'i8' : name);
/** The type of activations that `--dtype` asks for. */
export const activationsOf = (name: TypeName): DType => (name === 'int8' ? 'f32' : name);

export interface CommonOptions {
  json?: boolean;
  device: DeviceName | 'auto';
  dtype: TypeName;
  threads?: number;
}

export interface ModelOptions extends CommonOptions {
  model: string;
  adapter?: string;
  revision?: string;
}

/** True without a file, undefined without the flag. */
export type ProfileFlag = string | true | undefined;

// --- values -----------------------------------------------------------------------------------------------------

/** A whole number inside [least, most], for an option. */
export const integer =
  (least = 0, most = Number.MAX_SAFE_INTEGER) =>
  (text: string): number => {
    const value = Number(text);
    if (!/^-?\d+$/.test(text.trim()) || value < least || value > most) {
      const end = most === Number.MAX_SAFE_INTEGER ? '' : ` and <= ${most}`;
      throw new InvalidArgumentError(`expected a whole number >= ${least}${end}.`);
    }
    return value;
  };

/** A finite number from `low` to `high`, or above `low` where it is `open`, for an option. */
export const number =
  (low: number, high = Number.POSITIVE_INFINITY, { open = false } = {}) =>
  (text: string): number => {
    const value = Number(text);
    const isInside = Number.isFinite(value) && (open ? value > low : value >= low) && value <= high;
    if (text.trim() === '' || !isInside) {
      const end = Number.isFinite(high) ? ` and <= ${high}` : '';
      throw new InvalidArgumentError(`expected a number ${open ? '>' : '>='} ${low}${end}.`);
    }
    return value;
  };

/** The error of a list that has a part which is not one of its values. */
const expected = (what: string) => new InvalidArgumentError(`expected ${what}.`);

/**
 * Values with commas between, for an option.
 * @param read gives the value of a part without the spaces around it, or undefined where the part is none
 * @param refuse the error for such a part, and for an empty one
 */
export const list =
  <T>(
    read: (part: string) => T | undefined,
    refuse: (part: string) => Error = () => expected('values with commas between'),
  ) =>
  (text: string): T[] =>
    text.split(',').map((untrimmed) => {
      const part = untrimmed.trim();
      const value = part === '' ? undefined : read(part);
      if (value === undefined) throw refuse(part);
      return value;
    });

/** The list that `read` gives, each value once, in the order of their first mention. */
export const distinct =
  <T>(read: (text: string) => T[]) =>
  (text: string): T[] => [...new Set(read(text))];

/** Some of the names that are known, with commas between, each once. */
export const someOf = <T extends string>(known: readonly T[]): ((text: string) => T[]) =>
  distinct(
    list(
      (part) => known.find((name) => name === part),
      (part) => expected(`some of ${known.join(',')}, got ${part}`),
    ),
  );

/** Names with commas between, each once; `example` shows what they look like. */
export const nameList = (example: string): ((text: string) => string[]) =>
  distinct(list(String, () => expected(`names with commas between, such as ${example}`)));

/** Whole numbers inside [least, most] with commas between, each once; `what` is expected, in words. */
export const integerList = (least: number, most: number, what: string): ((text: string) => number[]) =>
  distinct(
    list(
      (part) => (/^\d+$/.test(part) && Number(part) >= least && Number(part) <= most ? Number(part) : undefined),
      () => expected(what),
    ),
  );

// --- flags ------------------------------------------------------------------------------------------------------

/** `--dtype`, with int8 for commands that only read the weights. */
function dtypeOption(takesInt8: boolean): Option {
  const choices: readonly string[] = takesInt8 ? [...FLOATS, 'int8'] : FLOATS;
  const about = takesInt8
    ? 'type of weights and activations; int8: of weights, activations stay f32'
    : 'type of weights and activations';
  return new Option('--dtype <type>', about)
    .choices(choices)
    .default('f32')
    .argParser((text) => {
      if (choices.includes(text)) return text;
      if (text === 'int8')
        throw new InvalidArgumentError('Weights in int8 are for generate, score and bench; give f32, bf16 or f16.');
      throw new InvalidArgumentError(`Allowed choices are ${choices.join(', ')}.`);
    });
}

/** `--device`, with every device that there is a row of. */
export const deviceOption = (about = 'where to compute'): Option =>
  new Option('--device <name>', about).choices(['auto', ...DEVICE_NAMES]).default('auto');

export const withJsonOption = (command: Command): Command =>
  command.option('--json', 'print one JSON document on stdout');

/** `--json --device --dtype --threads`, which every command takes; no `--dtype` where the command itself compares types. */
export function withCommonOptions(command: Command, { takesInt8 = false, takesDtype = true } = {}): Command {
  withJsonOption(command).addOption(deviceOption());
  if (takesDtype) command.addOption(dtypeOption(takesInt8));
  return command.option('--threads <n>', 'threads that share a kernel', integer(1, MOST_THREADS));
}

/** `--model --revision`, required. */
export const withModelOption = (command: Command): Command =>
  command
    .requiredOption('--model <dir|id>', 'folder of a model, or its id on the hub')
    .option('--revision <name>', 'branch, tag or commit on the hub');

/** `--model --adapter --revision` and the common options. */
export function withModelOptions(command: Command, common: { takesInt8?: boolean } = {}): Command {
  return withCommonOptions(withModelOption(command).option('--adapter <dir>', 'LoRA adapter in PEFT format'), common);
}

export const withProfileOption = (command: Command): Command =>
  command.option('--profile [file.json]', 'time of every kernel; into the file a trace for ui.perfetto.dev');
