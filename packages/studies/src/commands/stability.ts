/** `krait study stability`: do deviations of a model's state grow or fade along real text? */
import { join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { NpmDataSource } from 'krait';
import {
  type CommonOptions,
  checkOutputFolder,
  Interrupted,
  integer,
  modelFolder,
  nodeFiles,
  number,
  Output,
  openDevice,
  type Progress,
  withCommonOptions,
  withInterrupt,
} from 'krait/cli';
import { EnvironmentError, UsageError } from 'krait/core';
import { loadCorpus } from 'krait/data';
import { ADAPTER_CONFIG_FILE, baseName, parseAdapterConfig } from 'krait/io';
import { readModelConfig } from 'krait/models';
import { table } from 'krait/report';
import {
  CELLS_FOLDER,
  cellText,
  checkSettings,
  complaint,
  cutText,
  HALF_TYPES,
  type HalfType,
  STABILITY_SETTINGS,
  type StabilityModel,
  type StabilitySettings,
  type StabilityStudy,
  stabilityCsv,
  stabilityPage,
  studyStability,
  summaryHead,
  summaryNote,
  summaryRow,
} from '../stability/index.ts';
import { type StudyFiles, writeStudy } from './study-files.ts';

interface Options extends Omit<CommonOptions, 'dtype'> {
  model: string;
  revision?: string;
  adapter: string[];
  compare: string[];
  out: string;
  file?: string;
  texts: number;
  warmup: number;
  tokens: number;
  window?: number;
  directions: number;
  epsilon: number;
  precisions: HalfType[];
  seed: number;
  resume?: boolean;
  force?: boolean;
}

/** `label=path`, or a path that is its own label. */
function labelled(text: string): { label: string | null; path: string } {
  const [, label, path] = /^([^/\\=]+)=(.+)$/.exec(text) ?? [];
  return label === undefined ? { label: null, path: text } : { label: label.trim(), path };
}

/** The requested models: the model, the model with each adapter, and the models to compare with. */
async function modelsOf(options: Options, output: Output): Promise<StabilityModel[]> {
  const { model, revision, adapter, compare } = options;
  const first = labelled(model);
  const folder = await modelFolder({ model: first.path, revision }, output);
  const base = { label: first.label ?? baseName(first.path), folder, adapter: null };
  for (const { path } of adapter.map(labelled)) {
    const file = join(path, ADAPTER_CONFIG_FILE);
    parseAdapterConfig(file, await nodeFiles.readText(file)); // before anything is measured
  }
  const tuned = adapter.map(labelled).map(({ label, path }) => ({
    label: label ?? `${base.label} + ${baseName(path)}`,
    folder,
    adapter: path,
  }));
  const others: StabilityModel[] = [];
  for (const { label, path } of compare.map(labelled)) {
    others.push({ label: label ?? baseName(path), folder: await modelFolder({ model: path }, output), adapter: null });
  }
  const all = [base, ...tuned, ...others];
  const twice = all.find(({ label }, i) => all.findIndex((other) => other.label === label) !== i);
  if (twice) throw new UsageError(`two models are called ${twice.label}; name them: --compare name=${twice.folder}`);
  return all;
}

/** Held-out documents of the corpora that npm carries, of both in turn; or parts of a file. */
async function documentsOf({ file, texts }: Options): Promise<{ documents: string[]; source: string }> {
  if (file !== undefined) return { documents: cutText(await nodeFiles.readText(file), texts), source: file };
  const packages = new NpmDataSource();
  try {
    const [speeches, chapters] = [await loadCorpus(packages, 'sotu'), await loadCorpus(packages, 'moby-dick')].map(
      (corpus) => corpus.filter(({ split }) => split === 'held-out').map(({ text }) => text),
    );
    const documents = speeches.flatMap((text, i) => (i < chapters.length ? [text, chapters[i]] : [text]));
    return { documents, source: 'held-out texts (State of the Union, Moby-Dick)' };
  } catch (error) {
    if (!(error instanceof EnvironmentError)) throw error;
    throw new EnvironmentError(error.message, ['give a text of your own with --file']);
  }
}

function settingsOf({
  texts,
  warmup,
  tokens,
  window,
  directions,
  epsilon,
  precisions,
  seed,
}: Options): StabilitySettings {
  const eighth = tokens % 8 === 0 ? tokens / 8 : tokens;
  const settings = { texts, warmup, horizon: tokens, window: window ?? eighth, directions, epsilon, precisions, seed };
  checkSettings(settings);
  return settings;
}

/** Warns of models that are measured on more positions than they were made for. */
async function warnOfLength(models: readonly StabilityModel[], length: number, output: Output): Promise<void> {
  for (const { label, folder } of models) {
    const config = await readModelConfig(nodeFiles, folder);
    const most = 'maxPositionEmbeddings' in config ? config.maxPositionEmbeddings : Number.POSITIVE_INFINITY;
    if (length > most) output.warn(`${label}: made for ${most} positions, and read for ${length}; give fewer --tokens`);
  }
}

const writeResults = (study: StabilityStudy, out: string): Promise<StudyFiles> =>
  writeStudy(out, 'stability', { document: documentOf(study), csv: stabilityCsv(study), page: stabilityPage(study) });

/** The document of `stability.json` (docs/stability.md). */
function documentOf({ cells, ...rest }: StabilityStudy) {
  const models = cells.map(({ result, ...cell }) => ({
    ...cell,
    verdict: result.recurrence?.verdict ?? null,
    complaint: complaint({ ...cell, result }),
    ...result,
  }));
  return { study: 'stability', version: 1, ...rest, models };
}

function summary(study: StabilityStudy, { report }: StudyFiles): string {
  const rows = [summaryHead(study), ...study.cells.map((cell) => summaryRow(study, cell).map(cellText))];
  return [table(rows), summaryNote(study), report].join('\n\n');
}

async function run(options: Options, output: Output): Promise<void> {
  const settings = settingsOf(options);
  await checkOutputFolder(options.out, { force: options.force, resume: options.resume ?? false }, [CELLS_FOLDER]);
  const models = await modelsOf(options, output);
  const { documents, source } = await documentsOf(options);
  await warnOfLength(models, settings.warmup + settings.horizon, output);
  if (options.force) await nodeFiles.remove(join(options.out, CELLS_FOLDER));
  const device = await openDevice(options, output);
  let bar: Progress | null = null;
  const work = (signal: AbortSignal) =>
    studyStability({
      device,
      files: nodeFiles,
      models,
      settings,
      documents,
      source,
      out: options.out,
      signal,
      onWarning: (line) => output.warn(line),
      onModel: (label, isKept) => {
        bar?.stop();
        bar = isKept ? null : output.progress(label, 100);
        if (isKept) output.say(`${label}: measured before`);
      },
      onProgress: (share, note) => bar?.update(Math.round(100 * share), note),
    });
  let study: StabilityStudy;
  try {
    study = await withInterrupt(output, 'stopping; models that are done are kept', work);
  } catch (error) {
    if (!(error instanceof DOMException && error.name === 'AbortError')) throw error;
    output.say(`stopped; go on with --resume --out ${options.out}`);
    throw new Interrupted();
  } finally {
    (bar as Progress | null)?.stop();
    device.close();
  }
  const written = await writeResults(study, options.out);
  output.result({ ...documentOf(study), files: written }, () => summary(study, written));
  for (const line of study.cells.flatMap((cell) => complaint(cell) ?? [])) output.warn(line);
}

/** A list of half types with commas between, or `none`. */
function halfTypes(text: string): HalfType[] {
  const names = text === 'none' ? [] : text.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !(HALF_TYPES as readonly string[]).includes(name));
  if (unknown !== undefined)
    throw new InvalidArgumentError(`expected some of ${HALF_TYPES.join(',')} or none, got ${unknown}.`);
  return [...new Set(names as HalfType[])];
}

const collect = (value: string, before: string[]): string[] => [...before, value];

export function defineStability(command: Command): Command {
  const { texts, warmup, horizon, directions, epsilon, precisions, seed } = STABILITY_SETTINGS;
  return withCommonOptions(command, { takesDtype: false })
    .summary('do deviations of a state grow or fade along real text?')
    .description(
      'Lyapunov exponents of each layer along real text, the fate of planted perturbations, of rounding to half types, and ' +
        'of a perturbed residual stream; JSON, CSV and an HTML report. Names may be given: label=folder.',
    )
    .requiredOption('--model <dir|id>', 'folder of a model, or its id on the hub')
    .option('--revision <name>', 'branch, tag or commit on the hub')
    .option('--adapter <dir>', 'measure the model with this LoRA adapter too; may be repeated', collect, [])
    .option('--compare <dir|id>', 'another model to measure; may be repeated', collect, [])
    .option('--out <dir>', 'where to write stability.json, stability.csv, report.html', 'stability')
    .option('--resume', 'keep the models that an earlier run has measured')
    .option('--force', 'write over what is in the folder')
    .option('--file <path>', 'text to read, cut into parts; held-out corpora unless given')
    .option('--texts <n>', 'texts, over which errors are taken', integer(1, 64), texts)
    .option('--warmup <n>', 'tokens of a text before anything is measured', integer(1), warmup)
    .option('--tokens <n>', 'tokens after them, along which is measured', integer(4), horizon)
    .option('--window <n>', 'tokens of a window of exponents; an eighth of --tokens unless given', integer(1))
    .option('--directions <n>', 'random directions of a perturbation in each text', integer(1, 256), directions)
    .option('--epsilon <x>', 'norm of a perturbation, relative', number(0, 0.999, { open: true }), epsilon)
    .option('--precisions <list>', 'half types to compare with f32, such as bf16,f16 or none', halfTypes, [
      ...precisions,
    ])
    .option('--seed <n>', 'seed of the directions', integer(0, 2 ** 32 - 1), seed)
    .action((options: Options) => run(options, new Output(options.json ?? false)));
}
