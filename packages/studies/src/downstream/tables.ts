/** The study's figures as rows: for the terminal, the report, CSV and JSON. */

import { type CsvValue, formatCsv } from 'krait/io';
import { formatNumber } from 'krait/report';
import type { Estimate } from 'krait/statistics';
import { cellName } from './cells.ts';
import { estimateText, findingsOf } from './findings.ts';
import type { Share } from './quantities.ts';
import { resultsOf, type VariantResult, variantsOf } from './results.ts';
import { bestTrials, type DownstreamStudy } from './study.ts';

const MIB = 2 ** 20;

/** `mamba, lora-all, bf16` */
export const variantName = ({
  model,
  method,
  precision,
}: Pick<VariantResult, 'model' | 'method' | 'precision'>): string => `${model}, ${method ?? 'untuned'}, ${precision}`;

const shareText = (share: Share | null): string =>
  share === null ? '–' : share.isMeaningful ? estimateText(share) : 'no meaning';

/** A variant's figures, by the heads of their columns. */
const SUMMARY = {
  model: variantName,
  'acc 0-shot %': ({ zeroShot }: VariantResult) => estimateText(zeroShot),
  'acc %': ({ accuracy }: VariantResult) => estimateText(accuracy),
  gain: ({ gain }: VariantResult) => estimateText(gain),
  'AIPSS %': ({ aipss }: VariantResult) => estimateText(aipss),
  'share %': ({ share }: VariantResult) => shareText(share),
  'share of gain %': ({ gainShare }: VariantResult) => shareText(gainShare),
  divergence: (result: VariantResult) => estimateText(result.divergence),
  'loss, nats': ({ loss }: VariantResult) => estimateText(loss),
  'tok/s': ({ tokensPerSecond }: VariantResult) => (tokensPerSecond ? tokensPerSecond.value.toFixed(0) : '–'),
  'peak MiB': ({ peakBytes }: VariantResult) => (peakBytes ? (peakBytes.value / MIB).toFixed(1) : '–'),
};

export type SummaryColumn = keyof typeof SUMMARY;
const SUMMARY_COLUMNS = Object.keys(SUMMARY) as SummaryColumn[];

/** A row for each variant under the heads of these columns. */
export const summaryTable = (
  results: readonly VariantResult[],
  columns: readonly SummaryColumn[] = SUMMARY_COLUMNS,
): { head: readonly string[]; rows: string[][] } => ({
  head: columns,
  rows: results.map((result) => columns.map((column) => SUMMARY[column](result))),
});

/** Tables for the terminal: variants, and the paper's figures beside ours. */
export function downstreamSummary(study: DownstreamStudy): string[][][] {
  const { head, rows } = summaryTable(resultsOf(study));
  const findings = findingsOf(study).map(({ question, paper, here }) => [question, paper, here]);
  return [[[...head], ...rows], ...(findings.length > 0 ? [[['', 'paper', 'here'], ...findings]] : [])];
}

/** Peak memory over the positions of a step's batch, in KiB; the paper's memory per token. */
export const kibPerToken = (bytes: number, { settings }: DownstreamStudy): number =>
  bytes / 1024 / (settings.batchSize * settings.maxLength);

export function costRow(result: VariantResult, study: DownstreamStudy): string[] {
  const { tokensPerSecond, peakBytes, trainable, costs, rate } = result;
  const total = costs[0]?.totalParameters ?? Number.NaN;
  return [
    variantName(result),
    (trainable ?? 0).toLocaleString('en'),
    `${formatNumber((100 * (trainable ?? 0)) / total)} %`,
    rate === null ? '–' : String(rate),
    estimateText(tokensPerSecond, 4),
    peakBytes ? `${(peakBytes.value / MIB).toFixed(1)} MiB` : '–',
    peakBytes ? formatNumber(kibPerToken(peakBytes.value, study)) : '–',
    formatNumber(costs.reduce((sum, { skippedSteps }) => sum + skippedSteps, 0)),
  ];
}

const CSV_HEAD = ['model', 'method', 'precision', 'seed', 'task', 'shots', 'quantity', 'value', 'error'] as const;

/** All raw scores and costs, one figure a row, then what they come to. */
export function downstreamCsv(study: DownstreamStudy): string {
  const raw = study.cells.flatMap(({ spec, result }): CsvValue[][] => {
    if (spec.kind === 'trial') {
      const head = [spec.model, spec.method, 'f32', 0, null, null];
      return [[...head, `validation loss at rate ${spec.rate}`, result.cost?.validationLoss, null]];
    }
    const head =
      spec.kind === 'meta'
        ? [spec.model, 'meta-training', 'f32', spec.seed]
        : [spec.model, spec.kind === 'tuned' ? spec.method : 'untuned', spec.precision, spec.seed];
    const scores = (result.scores?.points ?? []).map(({ task, shots, value, error }) => [
      ...head,
      task,
      shots,
      'acc',
      value,
      error,
    ]);
    const cost = Object.entries(result.cost ?? {}).map(([name, value]) => [
      ...head,
      null,
      null,
      name,
      value as number,
      null,
    ]);
    return [...scores, ...cost];
  });
  const means = resultsOf(study).flatMap((result): CsvValue[][] => {
    const head = [result.model, result.method ?? 'untuned', result.precision, null, null, null];
    const row = (name: string, estimate: Estimate | null) =>
      estimate ? [[...head, name, estimate.value, estimate.error]] : [];
    return [
      ...row('mean accuracy, percent', result.accuracy),
      ...row('zero-shot accuracy, percent', result.zeroShot),
      ...row('validation loss, nats', result.loss),
      ...row('AIPSS, percent', result.aipss),
      ...row('gain, points', result.gain),
      ...row('share of the reference, percent', result.share?.isMeaningful ? result.share : null),
      ...row('share of the reference’s gain, percent', result.gainShare?.isMeaningful ? result.gainShare : null),
      ...row('divergence from f32, points', result.divergence),
      ...row('divergence from full f32, points', result.fromFull),
    ];
  });
  return formatCsv(CSV_HEAD, [...raw, ...means]);
}

/** The document of `downstream.json` (docs/downstream.md). */
export function downstreamDocument(study: DownstreamStudy) {
  const { cells, ...rest } = study;
  const results = resultsOf(study).map(({ bySeed, costs, losses, ...result }) => ({
    ...result,
    seeds: [...bySeed.keys()],
  }));
  return {
    study: 'downstream',
    version: 2,
    ...rest,
    measured: cells.length,
    rates: bestTrials(cells),
    results,
    findings: findingsOf(study),
    failures: variantsOf(cells).flatMap((variant) =>
      variant.failures.map((line) => `${variantName(variant as VariantResult)}, ${line}`),
    ),
    cells: cells.map(({ spec, result }) => ({ name: cellName(spec), ...spec, ...result })),
  };
}
