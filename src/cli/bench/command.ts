/** `krait bench`: tokens per second of a model on this machine. The flags alone; `run.ts` does the work. */
import { type Command, Option } from 'commander';
import { SHAPE_NAMES, type ShapeName, WORKS, type Work } from '../../measure/works.ts';
import {
  type CommonOptions,
  integer,
  type ProfileFlag,
  someOf,
  withCommonOptions,
  withProfileOption,
} from '../options.ts';
import { outputOf } from '../output.ts';

export interface BenchFlags extends CommonOptions {
  model?: string;
  revision?: string;
  shape?: ShapeName;
  what: Work[];
  tokens?: number;
  batch: number;
  rounds: number;
  profile: ProfileFlag;
}

export function define(command: Command): Command {
  const own = command
    .option('--model <dir|id>', 'folder of a model, or its id on the hub')
    .option('--revision <name>', 'branch, tag or commit on the hub')
    .addOption(new Option('--shape <name>', 'random weights of a known shape; 130m unless given').choices(SHAPE_NAMES))
    .addOption(
      new Option('--what <list>', `some of ${WORKS.join(',')}`)
        .argParser(someOf(WORKS))
        .default(['prefill', 'decode'], 'prefill,decode'),
    )
    .option('--tokens <n>', 'of each sequence in a round: 512, for decode 32', integer(2))
    .option('--batch <b>', 'sequences at the same time', integer(1), 1)
    .option('--rounds <n>', 'that are timed', integer(1), 5);
  return withCommonOptions(withProfileOption(own), { takesInt8: true }).action(async (flags: BenchFlags) =>
    (await import('./run.ts')).run(flags, outputOf(flags)),
  );
}
