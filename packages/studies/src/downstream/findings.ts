/** What was found beside what the paper reports: only figures that this run has, with their errors. */

import { formatNumber } from 'krait/report';
import { type Estimate, estimateOf, meanOf } from 'krait/statistics';
import { isLora, isMambaFamily, type Method } from './methods.ts';
import { divergence, type Share, shareOf } from './quantities.ts';
import {
  accuracyDifference,
  groupGains,
  lossDifference,
  resultsOf,
  sharedMethods,
  taskResults,
  type VariantResult,
} from './results.ts';
import type { DownstreamStudy } from './study.ts';

/** A figure of the paper and ours. */
export interface Finding {
  readonly question: string;
  /** As the abstract of its first version has it; what is unconfirmed says so. */
  readonly paper: string;
  readonly here: string;
  /** What to make of it. */
  readonly reading: string;
}

/** `12.3 ± 0.4` */
export function estimateText(estimate: Estimate | null, digits = 3): string {
  if (!estimate || !Number.isFinite(estimate.value)) return '–';
  const { value, error } = estimate;
  return error === null ? formatNumber(value, digits) : `${formatNumber(value, digits)} ± ${formatNumber(error, 2)}`;
}

/** A study with what its cells come to. */
interface Found {
  readonly study: DownstreamStudy;
  readonly results: readonly VariantResult[];
  /** Ways of tuning that every model was measured with. */
  readonly shared: readonly Method[];
}

const isHalf = ({ precision }: VariantResult): boolean => precision !== 'f32';

const find = ({ results }: Found, label: string, method: Method | null, precision: string) =>
  results.find((r) => r.model === label && r.method === method && r.precision === precision);

function shareFinding(
  found: Found,
  result: VariantResult | undefined,
  question: string,
  paper: string,
): Finding | null {
  if (!result?.share || !result.gainShare) return null;
  const { share, gainShare, aipss, gain, method, precision } = result;
  const theirs = find(found, found.study.reference!, method, precision)!;
  const ofAipss = Number.isFinite(aipss.value + theirs.aipss.value)
    ? `AIPSS ${estimateText(aipss)} % against ${estimateText(theirs.aipss)} %`
    : 'AIPSS undefined, a zero-shot score is 0';
  const ofGain = `gain ${estimateText(gain)} against ${estimateText(theirs.gain)} points`;
  const told = (name: string, { isMeaningful, ...estimate }: Share) =>
    isMeaningful ? `${estimateText(estimate)} % of ${name}` : `no share of ${name}`;
  return {
    question,
    paper,
    here: `${told('AIPSS', share)}, ${told('the gain in points', gainShare)} (${ofAipss}; ${ofGain})`,
    reading:
      'errors of gains, AIPSS and shares are over questions and seeds; a Transformer’s gain that is not two errors above 0 has no share that means anything; AIPSS is large where a zero-shot score is small',
  };
}

/** How many variants of a model learn from examples. */
function gainFinding({ results }: Found, label: string): Finding | null {
  const own = results.filter(({ model, gain }) => model === label && gain.error !== null);
  if (own.length === 0) return null;
  const gaining = own.filter(({ gain }) => gain.value > 2 * gain.error! && gain.value > 0);
  return {
    question: `${label}: variants that gain from examples, by two errors`,
    paper: '–',
    here: `${gaining.length === 0 ? 'none' : gaining.length} of ${own.length}`,
    reading: 'two errors are of questions and seeds together, and few seeds tell little of their own error',
  };
}

/** The tasks that a variant does above chance, by name. */
function chanceFinding(found: Found, label: string, method: Method | null): Finding | null {
  const result = find(found, label, method, 'f32');
  const all = result ? taskResults(result, found.study).filter(({ chance }) => chance !== null) : [];
  if (all.length === 0) return null;
  const above = all.filter(({ isAboveChance }) => isAboveChance);
  const named = above.map(
    ({ task, mean, chance }) => `${task} ${estimateText(mean)} % (chance ${formatNumber(100 * chance!)})`,
  );
  return {
    question: `${label}, ${method ?? 'untuned'}, f32: tasks above chance`,
    paper: 'not shown',
    here: above.length === 0 ? `none of ${all.length}` : `${above.length} of ${all.length}: ${named.join(', ')}`,
    reading:
      'above chance is more than two errors, of questions and seeds together; by luck alone one task in forty-four is',
  };
}

/** The tasks in which a variant gains from examples, by name. */
function taskGainFinding(found: Found, label: string, method: Method | null): Finding | null {
  const result = find(found, label, method, 'f32');
  const all = result ? groupGains(result, found.study) : [];
  if (all.length === 0) return null;
  const gaining = all
    .filter(({ gains }) => gains)
    .map(({ tasks, gain }) => `${tasks.join(' with ')} ${estimateText(gain)} points`);
  return {
    question: `${label}, ${method ?? 'untuned'}, f32: tasks that gain from examples`,
    paper: 'not shown',
    here: gaining.length === 0 ? `none of ${all.length}` : `${gaining.length} of ${all.length}: ${gaining.join(', ')}`,
    reading:
      'a task gains where its gain is more than two errors above 0, of questions and seeds together; tasks that ask the same questions count as one',
  };
}

/** Divergence seed by seed, mean over ways of tuning; null without a seed that all have in both precisions. */
function meanDivergence(found: Found, label: string, methods: readonly Method[], precision: string): Estimate | null {
  const pairs = methods.map((method) => ({
    f32: find(found, label, method, 'f32')?.bySeed,
    half: find(found, label, method, precision)?.bySeed,
  }));
  const seeds = [...(pairs[0]?.half?.keys() ?? [])].filter((seed) =>
    pairs.every(({ f32, half }) => f32?.has(seed) && half?.has(seed)),
  );
  if (seeds.length === 0) return null;
  return estimateOf(
    seeds.map((seed) => meanOf(pairs.map(({ f32, half }) => divergence(f32!.get(seed)!, half!.get(seed)!)))),
  );
}

/** Over the ways that all models were tuned in, and what another seed moves. */
function divergenceFindings(found: Found, precision: string): Finding[] {
  const { study } = found;
  const shared = found.shared.filter((method) => method !== 'meta');
  return study.models.flatMap(({ label, family }) => {
    const mean = meanDivergence(found, label, shared, precision);
    if (!mean) return [];
    const noise = shared.flatMap((method) => find(found, label, method, 'f32')?.seedNoise ?? []);
    const beside = noise.length === 0 ? '' : `; another seed ${formatNumber(meanOf(noise))}`;
    const ofF16 = isMambaFamily(family) ? '0.1 (unconfirmed)' : '0.14 (unconfirmed)';
    return [
      {
        question: `${label}: divergence of ${precision} from f32 after tuning, points, mean of ${shared.join(', ')}`,
        paper: precision === 'f16' ? ofF16 : 'Mamba’s is smaller',
        here: `${estimateText(mean)}${beside}`,
        reading: 'a divergence below what another seed moves is not told from noise',
      },
    ];
  });
}

/** The best of LoRA in half precision against full fine-tuning in f32, of one model. */
function costFindings(found: Found, label: string): Finding[] {
  const own = found.results.filter(({ model }) => model === label);
  const full = find(found, label, 'full', 'f32');
  const cheap = own.filter((result) => result.method !== null && isLora(result.method) && isHalf(result));
  if (!full?.peakBytes || cheap.length === 0) return [];
  const findings: Finding[] = [];
  const rates = cheap.flatMap((r) => {
    if (!r.tokensPerSecond || !full.tokensPerSecond) return [];
    const { value, error, count } = shareOf(r.tokensPerSecond, full.tokensPerSecond);
    return [{ r, ratio: { value: value / 100, error: error === null ? null : error / 100, count } }];
  });
  if (rates.length > 0) {
    const best = rates.reduce((a, b) => (b.ratio.value > a.ratio.value ? b : a));
    findings.push({
      question: `${label}: tokens per second of LoRA in half precision against full in f32`,
      paper: 'up to 2.15 times',
      here: `up to ${estimateText(best.ratio)} times (${best.r.method}, ${best.r.precision})`,
      reading:
        'half types save bandwidth everywhere, and arithmetic where the processor multiplies them; timings of a machine that may have done other things too',
    });
  }
  const saved = cheap.map((r) => ({ r, share: 100 * (1 - r.peakBytes!.value / full.peakBytes!.value) }));
  const least = saved.reduce((a, b) => (b.share > a.share ? b : a));
  findings.push({
    question: `${label}: peak memory a token of LoRA in half precision against full in f32`,
    paper: 'up to 65.5 % less',
    here: `up to ${formatNumber(least.share)} % less (${least.r.method}, ${least.r.precision})`,
    reading:
      'memory is weights, gradients, moments and activations of the device; of small models the head’s block weighs much',
  });
  return findings;
}

/** The ablation that the paper lacks. */
function tyingFinding(found: Found, label: string): Finding | null {
  const tied = find(found, label, 'lora-x', 'f32');
  const untied = find(found, label, 'lora-x-untied', 'f32');
  const difference = tied && untied ? accuracyDifference(tied, untied, found.study) : null;
  if (!difference) return null;
  const loss = lossDifference(tied!, untied!);
  const ofLoss = loss ? `; validation loss ${estimateText(loss)} nats` : '';
  return {
    question: `${label}: mean accuracy with one down-projection less that with three, LoRA on x_proj, f32`,
    paper: 'not measured',
    here: `${estimateText(difference)} points${ofLoss}`,
    reading: 'a difference within two errors of 0, of accuracies over questions and seeds, says nothing',
  };
}

/** Everything that can be said with the cells that there are. */
export function findingsOf(study: DownstreamStudy): Finding[] {
  const results = resultsOf(study);
  const found: Found = { study, results, shared: sharedMethods(results, study) };
  const measured = study.models.filter(({ label }) => results.some(({ model }) => model === label));
  const mambas = measured.filter(({ family, label }) => isMambaFamily(family) && label !== study.reference);
  const perModel = mambas.flatMap(({ label }) => [
    shareFinding(
      found,
      find(found, label, null, 'f32'),
      `${label}: in-context gain as pretrained, share of the Transformer’s`,
      '38 %',
    ),
    shareFinding(
      found,
      find(found, label, 'meta', 'f32'),
      `${label}: the same once both are meta-trained to learn from examples`,
      '–',
    ),
    shareFinding(
      found,
      find(found, label, 'lora-all', 'bf16'),
      `${label}: the same after ${study.settings.methods.includes('meta') ? 'meta-training and ' : ''}instruction tuning, LoRA on all linear layers, bf16`,
      '81.5 %',
    ),
  ]);
  return [
    ...perModel,
    ...measured.map(({ label }) => gainFinding(found, label)),
    ...[null, ...found.shared].flatMap((method) => measured.map(({ label }) => taskGainFinding(found, label, method))),
    ...[null, ...found.shared].flatMap((method) => measured.map(({ label }) => chanceFinding(found, label, method))),
    ...mambas.flatMap(({ label }) => costFindings(found, label)),
    ...['bf16', 'f16'].flatMap((precision) => divergenceFindings(found, precision)),
    ...mambas.map(({ label }) => tyingFinding(found, label)),
  ].filter((finding) => finding !== null);
}
