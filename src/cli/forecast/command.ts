/**
 * `krait forecast`: a forecast from a CSV file; models that are kept; the papers' benchmark. The flags alone; `run.ts`
 * and `bench.ts` do the work.
 */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { findBenchmarkData } from '../../forecast/benchmark.ts';
import { FILLS, TRAINED_MODELS } from '../../forecast/names.ts';
import { integer, list, withCommonOptions } from '../options.ts';
import { outputOf } from '../output.ts';
import {
  type BenchFlags,
  type FitFlags,
  modelName,
  type PredictFlags,
  type TrainFlags,
  withModelFlags,
} from './options.ts';

const withReadFlags = (command: Command): Command =>
  command
    .argument('<data.csv>', 'a date column and a column for each variable, or unique_id,ds,y')
    .option('--date-column <name>', 'column of dates; found by name and content unless given')
    .option('--columns <names>', 'variables that are read; all unless given', list(String))
    .addOption(new Option('--fill <rule>', 'of missing values').choices(FILLS).default('forward'))
    .option('--max-rows <n>', 'read no more than the last rows of a huge file', integer(2));

const withWriteFlags = (command: Command): Command =>
  command
    .option('--target <names>', 'variables that are told; all unless given', list(String))
    .option('--plot <file.svg>', 'draw history and forecast of the first target');

const levelList = list(
  (part) => (Number(part) > 0 && Number(part) < 1 ? Number(part) : undefined),
  (part) =>
    new InvalidArgumentError(
      part === '' ? 'expected values with commas between.' : 'expected numbers between 0 and 1, such as 0.1,0.5,0.9.',
    ),
);

const withTraining = (command: Command): Command =>
  withModelFlags(
    command
      .requiredOption('--horizon <n>', 'steps ahead', integer(1))
      .option('--model <name>', TRAINED_MODELS.join(', '), modelName, 'mambats')
      .option('--quantiles <list>', 'levels of the forecast, between 0 and 1', levelList, [0.1, 0.5, 0.9])
      .option('--seed <n>', 'of weights, orders and dropout', integer(0, 2 ** 32 - 1), 0),
  );

const common = (command: Command): Command => withCommonOptions(command, { takesDtype: false });

function defineRun(command: Command): void {
  common(withTraining(withWriteFlags(withReadFlags(command))))
    .description('train, back-test, compare with simple models, forecast; `run` may be left out')
    .option('--out <file.csv>', 'write the forecast there; printed unless given')
    .option('--report <file.html>', 'write a page with plots, scores and coverage')
    .action(async (path: string, flags: TrainFlags) => (await import('./run.ts')).run(path, flags, outputOf(flags)));
}

function defineFit(command: Command): void {
  common(withTraining(withReadFlags(command)))
    .description('train, back-test and keep a model')
    .requiredOption('--out <dir>', 'folder for the model')
    .option('--force', 'write over what --out holds')
    .action(async (path: string, flags: FitFlags) =>
      (await import('./run.ts')).fitAndKeep(path, flags, outputOf(flags)),
    );
}

function definePredict(command: Command): void {
  common(withWriteFlags(withReadFlags(command)))
    .description('forecast what follows the last row by a model that was kept')
    .requiredOption('--model <dir>', 'what fit wrote')
    .option('--out <file.csv>', 'write the forecast there; printed unless given')
    .action(async (path: string, flags: PredictFlags) =>
      (await import('./run.ts')).predict(path, flags, outputOf(flags)),
    );
}

function defineBench(command: Command): void {
  const own = command
    .description("train and test by the papers' protocol, with their figures beside")
    .requiredOption(
      '--data <names>',
      'etth1, etth2, ettm1, ettm2, weather, electricity, traffic',
      list(findBenchmarkData),
    )
    .option('--data-dir <dir>', 'where their CSV files are; KRAIT_SHARED_DATA unless given')
    .option('--horizon <list>', 'steps ahead', list(integer(1)), [96, 192, 336, 720])
    .option('--seeds <n>', 'runs from different seeds', integer(1), 3)
    .option('--model <names>', 'models to train, with commas between', list(modelName), ['mambats'])
    .option('--out <dir>', 'keep checkpoints and results there')
    .option('--resume', 'go on from what --out holds')
    .option('--force', 'remove the results and checkpoints that --out holds first');
  common(withModelFlags(own)).action(async (flags: BenchFlags) =>
    (await import('./bench.ts')).bench(flags, outputOf(flags)),
  );
}

export function define(command: Command): Command {
  defineRun(command.command('run', { isDefault: true }));
  defineBench(command.command('bench'));
  defineFit(command.command('fit'));
  definePredict(command.command('predict'));
  return command;
}
