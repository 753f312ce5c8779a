/** `krait quickstart`, what `npm start` runs: the carried model learns to tell spam from ham on real mail. */
import { join } from 'node:path';
import type { Command } from 'commander';
import { NpmDataSource } from 'krait';
import {
  baseModel,
  type CommonOptions,
  nodeFiles,
  Output,
  openDevice,
  type Progress,
  withCommonOptions,
  withInterrupt,
} from 'krait/cli';
import { EnvironmentError, UsageError } from 'krait/core';
import { loadSpamCorpus } from 'krait/data';
import { linePlot } from 'krait/plots';
import {
  confusionMatrices,
  dataTable,
  examples,
  formatBytes,
  type Html,
  note,
  renderPage,
  section,
  table,
} from 'krait/report';
import { LABELS, type SpamRow, type SpamStudy, studySpam } from '../spam.ts';

interface Options extends CommonOptions {
  model: string;
  out: string;
}

const HEAD = ['model', 'accuracy', 'train s', 'eval s', 'tok/s', 'peak memory', 'trainable'];
const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

function cells({
  name,
  report,
  trainSeconds,
  evalSeconds,
  tokensPerSecond,
  peakBytes,
  trainableParameters,
}: SpamRow): string[] {
  return [
    name,
    percent(report.accuracy),
    trainSeconds?.toFixed(0) ?? '-',
    evalSeconds.toFixed(0),
    tokensPerSecond?.toFixed(0) ?? '-',
    formatBytes(peakBytes),
    trainableParameters?.toLocaleString('en') ?? '-',
  ];
}

function rowsOf({ rows, majority }: SpamStudy): string[][] {
  return [[`always ${majority.label}`, percent(majority.accuracy), '-', '-', '-', '-', '-'], ...rows.map(cells)];
}

function sections(study: SpamStudy): Html[] {
  const { rows, mails, examples: shown } = study;
  const trained = rows.filter(({ losses }) => losses.length > 0);
  const steps = trained.map(({ name, losses }) => `${name}: ${losses.length} steps`).join('; ');
  return [
    section(
      'Held-out accuracy',
      dataTable({ head: HEAD, rows: rowsOf(study) }),
      note(`${mails.test} mails that no model was trained on; ${mails.train} to train on. ${steps}.`),
    ),
    section(
      'Training loss',
      linePlot({
        description: 'Cross-entropy of the answer at each step of training.',
        x: { label: 'step' },
        y: { label: 'nats' },
        lines: trained.map(({ name, losses }) => ({ label: name, points: losses })),
      }),
    ),
    section(
      'Confusion',
      confusionMatrices(rows.map(({ name, report }) => ({ title: name, labels: LABELS, counts: report.confusion }))),
    ),
    section(
      'Two held-out mails, after LoRA',
      examples(
        shown.map(({ text, actual, predicted, probability }) => ({
          head: `${predicted} (${percent(probability)}); it is ${actual}`,
          body: text,
        })),
      ),
    ),
  ];
}

async function run(options: Options, output: Output): Promise<void> {
  if (!(await nodeFiles.exists(join(options.model, 'model.safetensors')))) {
    throw new EnvironmentError(`${options.model} holds no pretrained model`, [
      'make it with `npx krait pretrain -c models/base/recipe.yaml --out models/base --force` in a clone',
      'give the folder of a model with --model',
    ]);
  }
  if ((await nodeFiles.status(options.out))?.isFolder) {
    throw new UsageError(`--out: ${options.out} is a folder; give a file, such as report.html`);
  }
  const startedMs = performance.now();
  const device = await openDevice(options, output);
  output.say('reading the SpamAssassin corpus');
  const corpus = await loadSpamCorpus(new NpmDataSource());
  let bar: Progress | null = null;
  const work = (signal: AbortSignal) =>
    studySpam({
      device,
      files: nodeFiles,
      base: options.model,
      corpus,
      signal,
      onStage: (name, total) => {
        bar?.stop();
        bar = output.progress(name, total);
      },
      onProgress: (done, note) => bar?.update(done, note),
    });
  const study = await withInterrupt(output, 'stopping after this step', work).finally(() => bar?.stop());
  device.close();
  const seconds = (performance.now() - startedMs) / 1000;
  const lead = `A Mamba of ${study.parameters.toLocaleString('en')} parameters asked whether mail is spam or ham; ${seconds.toFixed(0)} seconds on ${device.name} ${device.backend.variant}, ${device.backend.threads} threads.`;
  await nodeFiles.writeAtomic(
    options.out,
    renderPage({ title: 'Krait: spam or ham', lead, sections: sections(study) }),
  );
  for (const { text, actual, predicted, probability } of study.examples) {
    output.say(`\n${text.split('\n')[0]}\n  -> ${predicted} (${percent(probability)}); it is ${actual}`);
  }
  output.say();
  output.result(
    { ...study, seconds, report: options.out },
    () => `${table([HEAD, ...rowsOf(study)])}\n\n${seconds.toFixed(0)} s in all; ${options.out}`,
  );
}

export function define(command: Command): Command {
  return withCommonOptions(command)
    .option('--model <dir>', 'pretrained model to start from', baseModel())
    .option('--out <file>', 'where to write the report', 'report.html')
    .action((options: Options) => run(options, new Output(options.json ?? false)));
}
