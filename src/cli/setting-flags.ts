/** Flags of a table of settings: one flag for each row, and what was given on the command line under the names in code. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { flagName, type Setting, type Settings } from '../train/setting.ts';
import { integer, number } from './options.ts';

/** Names with commas. */
function listOf(text: string): string[] {
  const found = text.split(',').map((name) => name.trim());
  if (found.includes('')) throw new InvalidArgumentError('expected names with commas.');
  return found;
}

/** The flag of one setting. Bounds that a flag does not check are checked with the whole configuration. */
function flagOf({ flag, about, kind }: Setting): Option {
  const option = new Option(flag, about);
  switch (kind.flag.type) {
    case 'whole':
      return option.argParser(integer(kind.flag.least));
    case 'number':
      return option.argParser(number(kind.flag.low, Number.POSITIVE_INFINITY, { open: kind.flag.open }));
    case 'choice':
      return option.choices(kind.flag.choices.map(String));
    case 'list':
      return option.argParser(listOf);
    case 'switch':
    case 'text':
      return option;
  }
}

const optionOf = (command: Command, setting: Setting): Option | undefined =>
  command.options.find(({ long }) => long === flagName(setting));

/** Adds the flag of each setting that the command does not have already; `--dtype` is common to all commands. */
export function withSettingFlags(command: Command, settings: Settings): Command {
  for (const setting of Object.values(settings)) {
    if (!optionOf(command, setting)) command.addOption(flagOf(setting));
  }
  return command;
}

/** The settings whose flags were given. */
export function givenSettings(command: Command, settings: Settings): Record<string, unknown> {
  const given: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries(settings)) {
    const attribute = optionOf(command, setting)!.attributeName();
    if (command.getOptionValueSource(attribute) !== 'cli') continue;
    const value: unknown = command.getOptionValue(attribute);
    const { flag } = setting.kind;
    given[name] = flag.type === 'choice' ? flag.choices.find((choice) => String(choice) === value) : value;
  }
  return given;
}
