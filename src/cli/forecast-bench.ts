/** `krait forecast bench`: the published protocol of long-term forecasting on the ETT data, beside published figures. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { EnvironmentError } from '../core/index.ts';
import {
  type BenchDataName,
  type BenchRow,
  type BenchRun,
  benchData,
  HORIZONS,
  MODEL_NAMES,
  type ModelName,
  ORDERS,
  type OrderName,
  runBench,
  SCANS,
  type ScanName,
  summarise,
} from '../forecast/index.ts';
import { Interrupted, withInterrupt } from './interrupt.ts';
import { type Progress, table } from './output.ts';
import { type CommonOptions, integer, nodeFiles, number, Output, openDevice, withCommonOptions } from './session.ts';

interface Options extends CommonOptions {
  data: BenchDataName[];
  dataDir?: string;
  model: ModelName[];
  horizon: number[];
  seeds: number;
  firstSeed: number;
  lookback?: number;
  out?: string;
  scan?: ScanName;
  convolution?: boolean;
  permute?: boolean;
  order?: OrderName;
  dropout?: number;
  layers?: number;
  width?: number;
  batch?: number;
  epochs?: number;
  learningRate?: number;
  variant?: string;
}

/** The folder of data: `--data-dir`, or KRAIT_SHARED_DATA. @throws EnvironmentError if the files are not there */
function dataFolder(options: Options): string {
  const folder = options.dataDir ?? process.env['KRAIT_SHARED_DATA'];
  const remedy = 'give --data-dir or set KRAIT_SHARED_DATA to the folder that holds ett/ETTh1.csv and ett/ETTh2.csv';
  if (folder === undefined) throw new EnvironmentError('the folder of data is not known', [remedy]);
  const missing = options.data.map((name) => join(folder, benchData(name).file)).find((path) => !existsSync(path));
  if (missing) throw new EnvironmentError(`${missing} is not there`, [remedy]);
  return folder;
}

/** What differs from the authors' settings; a model that lacks one of them says so. */
function runsOf(options: Options): BenchRun[] {
  const { scan, convolution, permute, order, dropout, layers, width, lookback, variant } = options;
  const settings = { scan, convolution, permute, order, dropout, layers, width };
  const given = { batchSize: options.batch, epochs: options.epochs, learningRate: options.learningRate };
  const training = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  const seeds = Array.from({ length: options.seeds }, (_, i) => options.firstSeed + i);
  return options.data.flatMap((data) =>
    options.model.flatMap((model) =>
      options.horizon.flatMap((horizon) => {
        const isFixed = model === 'seasonal' || model === 'drift'; // nothing is drawn
        return (isFixed ? seeds.slice(0, 1) : seeds).map((seed) => {
          const own = isFixed ? {} : { settings, training };
          return { data, model, horizon, seed, lookback, variant, ...own };
        });
      }),
    ),
  );
}

const pair = (value: number, deviation: number | null) =>
  deviation === null ? value.toFixed(3) : `${value.toFixed(3)} ± ${deviation.toFixed(3)}`;

function tableOf(rows: readonly BenchRow[]): string {
  const head = ['data', 'model', 'look-back', 'horizon', 'seeds', 'MSE', 'MAE', 'published MSE', 'published MAE'];
  const known = (value: number | null) => (value === null ? '-' : value.toFixed(3));
  const body = rows.map((r) => [
    ...[r.data, r.model, r.lookback, r.horizon, r.seeds],
    ...[pair(r.mse, r.mseDeviation), pair(r.mae, r.maeDeviation), known(r.publishedMse), known(r.publishedMae)],
  ]);
  return table([head, ...body]);
}

async function run(options: Options, output: Output): Promise<void> {
  const folder = dataFolder(options);
  const runs = runsOf(options);
  const device = await openDevice(options, output);
  let bar: Progress | null = null;
  const work = (signal: AbortSignal) =>
    runBench(
      {
        ...{ device, files: nodeFiles, dataFolder: folder, out: options.out, signal },
        onRun: (r, isKept) => {
          bar?.stop();
          bar = null;
          const name = `${r.model}${r.variant ? ` (${r.variant})` : ''} on ${r.data}, horizon ${r.horizon}, seed ${r.seed}`;
          output.say(isKept ? `${name}: kept` : name);
        },
        onStep: ({ step, steps, loss }) => {
          bar ??= output.progress('training', steps);
          bar.update(step, `loss ${loss.toFixed(3)}`);
        },
        onEval: (step, mse) => output.say(`validation after ${step} steps: MSE ${mse.toFixed(4)}`),
      },
      runs,
    );
  try {
    const results = await withInterrupt(output, 'stopping after this step', work).finally(() => bar?.stop());
    const rows = summarise(results);
    const isWhole = results.length === runs.length;
    output.result({ status: isWhole ? 'completed' : 'aborted', rows, runs: results }, () =>
      rows.length ? tableOf(rows) : 'no run was done',
    );
    if (isWhole) return;
    const remedy = options.out ? `; the same command goes on from ${options.out}` : '; with --out it could go on';
    output.say(`stopped: ${results.length} of ${runs.length} runs are done${remedy}`);
    throw new Interrupted();
  } finally {
    device.close();
  }
}

/** Some of `names` with commas between. */
const listOf =
  <T extends string>(names: readonly T[]) =>
  (text: string): T[] => {
    const wanted = text.split(',').map((name) => name.trim());
    const unknown = wanted.find((name) => !(names as readonly string[]).includes(name));
    if (unknown !== undefined) throw new InvalidArgumentError(`expected some of ${names.join(',')}, got ${unknown}.`);
    return [...new Set(wanted as T[])];
  };

const oneOf =
  <T extends string>(names: readonly T[]) =>
  (text: string): T => {
    if ((names as readonly string[]).includes(text)) return text as T;
    throw new InvalidArgumentError(`expected one of ${names.join(', ')}, got ${text}.`);
  };

const horizons = (text: string): number[] => text.split(',').map((part) => integer(1)(part));

export function defineBench(command: Command): Command {
  return withCommonOptions(command, { takesDtype: false })
    .summary('the published protocol on ETT data')
    .description(
      'Trains forecasters by the protocol of the published benchmarks and scores every test window, on scaled data. ' +
        'Settings are those of the authors unless given.',
    )
    .option('--data <list>', 'some of etth1,etth2', listOf<BenchDataName>(['etth1', 'etth2']), ['etth2'])
    .option('--data-dir <dir>', 'folder that holds ett/ETTh1.csv and ett/ETTh2.csv; KRAIT_SHARED_DATA unless given')
    .option('--model <list>', `some of ${MODEL_NAMES.join(',')}`, listOf(MODEL_NAMES), ['mambats'])
    .option('--horizon <list>', 'steps to forecast', horizons, [...HORIZONS])
    .option('--seeds <n>', 'runs with different seeds', integer(1, 100), 1)
    .option('--first-seed <n>', 'the first of them', integer(0, 2 ** 31), 1)
    .option('--lookback <n>', 'steps that a model sees', integer(2))
    .option('--out <dir>', 'keep runs here: those that are done are not done again, a stopped one goes on')
    .option('--variant <name>', 'what to call runs with other settings, for their folder and the table')
    .option('--scan <how>', `${SCANS.join(', ')}: order of the tokens`, oneOf(SCANS))
    .option('--convolution', 'the convolution and SiLU of plain Mamba in its blocks')
    .option('--no-convolution', 'blocks without them')
    .option('--permute', 'a random order of variables for each training sample')
    .option('--no-permute', 'the order of the file while training')
    .option('--order <how>', `${ORDERS.join(', ')}: order of the variables`, oneOf(ORDERS))
    .option('--dropout <p>', 'probability', number(0, 0.99))
    .option('--layers <n>', 'blocks', integer(1, 64))
    .option('--width <n>', 'hidden size', integer(1, 4096))
    .option('--batch <n>', 'samples of a step', integer(1))
    .option('--epochs <n>', 'passes over the training windows, at most', integer(1))
    .option('--learning-rate <x>', 'of the first two passes', number(0, 10, { open: true }))
    .action((options: Options) => run(options, new Output(options.json ?? false)));
}
