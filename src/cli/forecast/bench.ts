/** Work of `krait forecast bench`: the papers' protocol on their data sets, figures beside the published ones. */
import { type BenchCell, type BenchPlan, cellsOf, removeCells, runBench } from '../../forecast/bench.ts';
import { type BenchSummary, type SeedMean, summariseCells } from '../../forecast/bench-summary.ts';
import { table } from '../../report/terminal.ts';
import { nodeFiles } from '../files.ts';
import { Interrupted, withInterrupt } from '../interrupt.ts';
import type { Output } from '../output.ts';
import { checkOutputFolder } from '../output-folder.ts';
import { openDevice } from '../session.ts';
import { recipeChanges } from './changes.ts';
import type { BenchFlags } from './options.ts';

function cellText(name: string, cell: BenchCell): string {
  const best = cell.bestEpoch === null ? '' : `, the best after ${cell.bestEpoch}`;
  const time = cell.seconds === null ? '' : `, ${cell.epochs} epochs in ${cell.seconds.toFixed(0)} s${best}`;
  return `${name}: MSE ${cell.mse.toFixed(4)}, MAE ${cell.mae.toFixed(4)}${time}`;
}

const spread = ({ mean, deviation }: SeedMean): string =>
  deviation === null ? mean.toFixed(4) : `${mean.toFixed(4)} ± ${deviation.toFixed(4)}`;

const rowOf = ({ data, model, lookbacks, horizon, seeds, windows, mse, mae, published }: BenchSummary) => [
  data,
  model,
  lookbacks.join('/'),
  horizon,
  seeds,
  windows ?? '',
  spread(mse),
  spread(mae),
  published?.map((value) => value.toFixed(3)).join(' / ') ?? '',
];

const tableText = (cells: readonly BenchCell[]): string =>
  table([
    ['data', 'model', 'look-back', 'horizon', 'seeds', 'windows', 'MSE', 'MAE', 'published MSE / MAE'],
    ...summariseCells(cells).map(rowOf),
  ]);

export async function bench(flags: BenchFlags, output: Output): Promise<void> {
  const { out, resume = false, force, data, model: models, horizon: horizons, seeds } = flags;
  const plan: BenchPlan = { data, models, horizons, seeds };
  if (out !== undefined) {
    const names = data.flatMap((own) => cellsOf(plan, own.name).map(({ name }) => name));
    await checkOutputFolder(out, { force, resume }, names);
    if (force) await removeCells(nodeFiles, out);
  }
  const device = await openDevice(flags, output);
  const work = (signal: AbortSignal) =>
    runBench({
      ...plan,
      device,
      files: nodeFiles,
      dataFolder: flags.dataDir ?? process.env['KRAIT_SHARED_DATA'] ?? 'data',
      changes: (frequency) => recipeChanges(flags, frequency),
      lookback: flags.lookback,
      out,
      signal,
      onWarning: (line) => output.warn(line),
      onTraining(name, epochs) {
        const bar = output.progress(name, epochs);
        return { onEpoch: (epoch, loss) => bar.update(epoch, `validation ${loss.toFixed(4)}`), end: () => bar.stop() };
      },
      onCell: (name, cell) => output.say(cellText(name, cell)),
    });
  try {
    const ending = out === undefined ? 'stopping' : 'stopping after this step; --resume goes on';
    let isCut = false;
    const cells = await withInterrupt(output, ending, async (signal) => {
      const found = await work(signal);
      isCut = signal.aborted;
      return found;
    });
    if (cells.length > 0) output.result({ cells }, () => tableText(cells));
    if (isCut) throw new Interrupted();
  } finally {
    device.close();
  }
}
