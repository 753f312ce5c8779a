/** `krait study downstream`: how good a downstream learner is a model, and what do precision and LoRA cost it? */
import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import {
  type CommonOptions,
  checkOutputFolder,
  Interrupted,
  integer,
  nodeFiles,
  number,
  Output,
  openDevice,
  type Progress,
  withCommonOptions,
  withInterrupt,
} from 'krait/cli';
import { UsageError } from 'krait/core';
import { table } from 'krait/report';
import { PRECISIONS, type Precision } from 'krait/train';
import {
  checkDownstream,
  type DownstreamSettings,
  type DownstreamStudy,
  downstreamCsv,
  downstreamDocument,
  downstreamPage,
  downstreamSummary,
  METHODS,
  type Method,
  PRESET_NAMES,
  PRESETS,
  STUDY_FOLDERS,
  studyDownstream,
} from '../downstream/index.ts';
import { type SetupOptions, setUp } from './downstream-setup.ts';
import { writeStudy } from './study-files.ts';

interface Options extends Omit<CommonOptions, 'dtype'>, SetupOptions {
  shots?: number[];
  seeds?: number;
  methods?: Method[];
  precisions?: Precision[];
  steps?: number;
  searchSteps?: number;
  metaSteps?: number;
  metaRates?: number[];
  fullRates?: number[];
  loraRates?: number[];
  rank?: number;
  limit?: number;
  cells?: number;
  resume?: boolean;
  force?: boolean;
}

/** The preset's settings with what the options say instead. */
function settingsOf(options: Options): DownstreamSettings {
  const { preset, shots, seeds, methods, precisions, steps, rank, limit, fullRates, loraRates } = options;
  const base = PRESETS[preset];
  // Trials stay as long beside a tuning as the preset's: a rate that wins in few steps is too high for many.
  const ofSteps = steps && Math.max(1, Math.round((steps * base.searchSteps) / base.steps));
  const given = { shots, seeds, methods, precisions, steps, searchSteps: options.searchSteps ?? ofSteps, limit };
  const stated = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  const { metaSteps = base.meta.steps, metaRates } = options;
  const ofMeta = Math.max(1, Math.round((metaSteps * base.meta.searchSteps) / base.meta.steps));
  const meta = { steps: metaSteps, searchSteps: ofMeta };
  const rates = {
    meta: metaRates ?? base.rates.meta,
    full: fullRates ?? base.rates.full,
    lora: loraRates ?? base.rates.lora,
  };
  const ranks = rank === undefined ? {} : { rank, pairRank: 3 * Math.ceil(rank / 3) };
  const settings = { ...base, ...stated, ...ranks, rates, meta };
  if ((options.metaSteps ?? options.metaRates) !== undefined && !settings.methods.includes('meta')) {
    throw new UsageError('--meta-steps, --meta-rates: meta is not among --methods; add it, or leave these out');
  }
  checkDownstream(settings);
  return settings;
}

const writeResults = (study: DownstreamStudy, out: string) =>
  writeStudy(out, 'downstream', {
    document: downstreamDocument(study),
    csv: downstreamCsv(study),
    page: downstreamPage(study),
  });

async function run(options: Options, output: Output): Promise<void> {
  const settings = settingsOf(options);
  const { out, force, resume = false } = options;
  await checkOutputFolder(out, { force, resume }, STUDY_FOLDERS);
  if (force) for (const folder of STUDY_FOLDERS) await nodeFiles.remove(join(out, folder));
  const setup = await setUp(options, settings, output);
  const device = await openDevice(options, output);
  let bar: Progress | null = null;
  const stop = () => {
    (bar as Progress | null)?.stop();
    bar = null;
  };
  const work = (signal: AbortSignal) =>
    studyDownstream({
      ...setup,
      device,
      files: nodeFiles,
      settings,
      out,
      most: options.cells,
      signal,
      onWarning: (line) => output.warn(line),
      onCell(name, isKept, at, of) {
        stop();
        if (!isKept) bar = output.progress(`${at}/${of} ${name}`, 100);
      },
      onProgress: (share, note) => bar?.update(Math.round(100 * share), note),
    });
  let study: DownstreamStudy;
  try {
    study = await withInterrupt(output, 'stopping; cells that are done are kept', work);
  } catch (error) {
    if (!(error instanceof DOMException && error.name === 'AbortError')) throw error;
    stop();
    output.say(`stopped; go on with --resume --out ${out}`);
    throw new Interrupted();
  } finally {
    stop();
    device.close();
  }
  const files = await writeResults(study, out);
  output.result({ ...downstreamDocument(study), files }, () => {
    const tables = downstreamSummary(study).map((rows) => table(rows));
    return [...tables, files.report].join('\n\n');
  });
}

/** Some of a list of names, with commas between, each once; `none` for none. */
const someOf =
  <T extends string>(known: readonly T[]) =>
  (text: string): T[] => {
    const names = text === 'none' ? [] : text.split(',').map((name) => name.trim());
    const unknown = names.find((name) => !(known as readonly string[]).includes(name));
    if (unknown !== undefined)
      throw new InvalidArgumentError(`expected some of ${known.join(',')} or none, got ${unknown}.`);
    return [...new Set(names as T[])];
  };

function shotList(text: string): number[] {
  const counts = text.split(',').map((part) => (/^\d+$/.test(part.trim()) ? Number(part) : Number.NaN));
  if (!counts.every((count) => count <= 1000)) throw new InvalidArgumentError('expected numbers such as 0,1,3,5.');
  return [...new Set(counts)].sort((a, b) => a - b);
}

function rateList(text: string): number[] {
  const rates = text.split(',').map(Number);
  if (!rates.every((rate) => rate > 0 && Number.isFinite(rate))) {
    throw new InvalidArgumentError('expected numbers above 0 such as 1e-3,3e-3.');
  }
  return [...new Set(rates)].sort((a, b) => a - b);
}

const names = (text: string): string[] => text.split(',').map((name) => name.trim());
const collect = (value: string, before: string[]): string[] => [...before, value];

export function defineDownstream(command: Command): Command {
  return withCommonOptions(command, { takesDtype: false })
    .summary('in-context learning, instruction tuning, precision and LoRA of a model')
    .description(
      'Zero- and few-shot scores of models, the same after instruction tuning in every way and precision, divergence of ' +
        'mixed precision, speed and memory; JSON, CSV and an HTML report. Every cell is kept as soon as it is measured.',
    )
    .addOption(
      new Option('--preset <name>', 'micro: the carried pair; paper: from the hub')
        .choices(PRESET_NAMES)
        .default('micro'),
    )
    .option(
      '--model <dir|id>',
      'a model to study, label=folder or id; may be repeated; the preset’s unless given',
      collect,
      [],
    )
    .option('--reference <dir|id>', 'the model that shares are taken of: a Transformer of like size')
    .option('--tasks <names>', 'tasks, with commas between; the preset’s unless given', names)
    .option('--data <file>', 'instructions to tune on: JSON Lines as Alpaca or OpenHermes has them')
    .option('--data-dir <dir>', 'folder with the data of tasks; the hub unless given')
    .option('--shots <list>', 'numbers of examples in front of a question, with 0', shotList)
    .option('--seeds <n>', 'how often all but trials is repeated', integer(1, 100))
    .option('--methods <list>', `ways of tuning, of ${METHODS.join(',')}, or none`, someOf(METHODS))
    .option('--precisions <list>', 'precisions, with f32', someOf(PRECISIONS))
    .option('--steps <n>', 'steps of instruction tuning', integer(1))
    .option(
      '--search-steps <n>',
      'steps of a trial of a learning rate; in proportion to --steps unless given',
      integer(1),
    )
    .option('--full-rates <list>', 'learning rates to try for full fine-tuning', rateList)
    .option('--lora-rates <list>', 'learning rates to try for LoRA', rateList)
    .option('--meta-steps <n>', 'steps of meta-training; its trials are shorter in proportion', integer(1))
    .option('--meta-rates <list>', 'learning rates to try for meta-training', rateList)
    .option('--rank <n>', 'rank of adapters', integer(1, 65536))
    .option('--limit <n>', 'questions of each task: a number, or below 1 a share', number(0, undefined, { open: true }))
    .option('--cells <n>', 'stop after as many cells, and report what there is', integer(1))
    .option('--out <dir>', 'where to write downstream.json, downstream.csv, report.html and keep cells', 'downstream')
    .option('--resume', 'go on with the cells that are there')
    .option('--force', 'measure everything again, over what is in the folder')
    .action((options: Options) => run(options, new Output(options.json ?? false)));
}
