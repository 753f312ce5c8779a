/** What was found beside what the paper reports: only figures that this run has, with their errors. */
import { formatNumber } from '../report/index.ts';
import { type Estimate, meanOf } from '../statistics.ts';
import { isMambaFamily } from './methods.ts';
import { resultsOf, type VariantResult } from './results.ts';
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

const isHalf = ({ precision }: VariantResult): boolean => precision !== 'f32';
const isLora = ({ method }: VariantResult): boolean => method !== null && method !== 'full';

function shareFinding(result: VariantResult | undefined, question: string, paper: string): Finding | null {
  if (!result?.share) return null;
  const { share, aipss } = result;
  const own = Number.isFinite(aipss.value)
    ? `AIPSS ${estimateText(aipss)} %`
    : 'AIPSS undefined, a zero-shot score is 0';
  const here = share.isMeaningful ? `${estimateText(share)} %` : `no share: ${own}`;
  const reading = share.isMeaningful
    ? 'a share of two small gains of small models'
    : 'the Transformer’s own gain is not told from 0, so a share of it means nothing';
  return { question, paper, here, reading };
}

/** Mean divergence over the ways of tuning, and what another seed moves. */
function divergenceFindings(study: DownstreamStudy, results: readonly VariantResult[], precision: string): Finding[] {
  return study.models.flatMap(({ label, family }) => {
    const tuned = results.filter((result) => result.model === label && result.method !== null);
    const found = tuned.flatMap((r) => (r.precision === precision && r.divergence ? [r.divergence.value] : []));
    const noise = tuned.flatMap(({ seedNoise }) => seedNoise ?? []);
    if (found.length === 0) return [];
    const beside = noise.length === 0 ? '' : `; another seed ${formatNumber(meanOf(noise))}`;
    return [
      {
        question: `${label}: divergence of ${precision} from f32 after tuning, points, mean over ways of tuning`,
        paper:
          precision === 'f16'
            ? isMambaFamily(family)
              ? '0.1 (unconfirmed)'
              : '0.14 (unconfirmed)'
            : 'Mamba’s is smaller',
        here: `${formatNumber(meanOf(found))}${beside}`,
        reading: 'a divergence below what another seed moves is not told from noise',
      },
    ];
  });
}

/** The best of LoRA in half precision against full fine-tuning in f32, of one model. */
function costFindings(label: string, results: readonly VariantResult[]): Finding[] {
  const own = results.filter(({ model }) => model === label);
  const full = own.find(({ method, precision }) => method === 'full' && precision === 'f32');
  const cheap = own.filter((result) => isLora(result) && isHalf(result));
  if (!full?.peakBytes || cheap.length === 0) return [];
  const findings: Finding[] = [];
  const rates = cheap.flatMap((r) =>
    r.tokensPerSecond ? [{ r, ratio: r.tokensPerSecond.value / full.tokensPerSecond!.value }] : [],
  );
  if (full.tokensPerSecond && rates.length > 0) {
    const best = rates.reduce((a, b) => (b.ratio > a.ratio ? b : a));
    findings.push({
      question: `${label}: tokens per second of LoRA in half precision against full in f32`,
      paper: 'up to 2.15 times',
      here: `up to ${formatNumber(best.ratio)} times (${best.r.method}, ${best.r.precision})`,
      reading:
        'on a CPU half types save bandwidth more than arithmetic; timings of a machine that did other things too',
    });
  }
  const saved = cheap.map((r) => ({ r, share: 100 * (1 - r.peakBytes!.value / full.peakBytes!.value) }));
  const least = saved.reduce((a, b) => (b.share > a.share ? b : a));
  findings.push({
    question: `${label}: peak memory a token of LoRA in half precision against full in f32`,
    paper: 'up to 65.5 % less',
    here: `up to ${formatNumber(least.share)} % less (${least.r.method}, ${least.r.precision})`,
    reading: 'weights, gradients, moments and activations of the device; at this size the head’s block weighs much',
  });
  return findings;
}

/** Everything that can be said with the cells that there are. */
export function findingsOf(study: DownstreamStudy): Finding[] {
  const results = resultsOf(study);
  const mambas = study.models.filter(({ family, label }) => isMambaFamily(family) && label !== study.reference);
  const of = (label: string, method: VariantResult['method'], precision: string) =>
    results.find((r) => r.model === label && r.method === method && r.precision === precision);
  const perModel = mambas.flatMap(({ label }) => [
    shareFinding(of(label, null, 'f32'), `${label}: in-context gain as pretrained, share of the Transformer’s`, '38 %'),
    shareFinding(
      of(label, 'lora-all', 'bf16'),
      `${label}: the same after instruction tuning, LoRA on all linear layers, bf16`,
      '81.5 %',
    ),
    ...costFindings(label, results),
  ]);
  const divergences = ['bf16', 'f16'].flatMap((precision) => divergenceFindings(study, results, precision));
  return [...perModel, ...divergences].filter((finding) => finding !== null);
}
