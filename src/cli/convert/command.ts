/** `krait convert`: writes a model in the format of another program. The flags alone; `run.ts` does the work. */
import { type Command, Option } from 'commander';
import { GGUF_TYPES, type GgufType } from '../../io/gguf-types.ts';
import { type CommonOptions, deviceOption, integer, withJsonOption, withModelOption } from '../options.ts';
import { outputOf } from '../output.ts';

export interface ConvertFlags extends Omit<CommonOptions, 'dtype'> {
  model: string;
  revision?: string;
  adapter?: string;
  to: 'gguf';
  out: string;
  type: GgufType;
  force?: boolean;
}

export function define(command: Command): Command {
  const own = withModelOption(command)
    .option('--adapter <dir>', 'LoRA adapter in PEFT format, to be merged into the weights')
    .addOption(
      new Option('--to <format>', 'format to write: gguf is for llama.cpp').choices(['gguf']).makeOptionMandatory(),
    )
    .requiredOption('--out <file>', 'file to write')
    .addOption(
      new Option('--type <type>', 'type of the weights that feed matrix products').choices(GGUF_TYPES).default('f16'),
    )
    .option('--force', 'write over --out');
  return withJsonOption(own)
    .addOption(deviceOption('where an adapter is merged'))
    .option('--threads <n>', 'threads that share a kernel', integer(1))
    .action(async (flags: ConvertFlags) => (await import('./run.ts')).run(flags, outputOf(flags)));
}
