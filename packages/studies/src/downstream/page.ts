/** The study as a page: raw scores beside differences, errors over seeds, and what it can and cannot say. */

import { type Interval, intervalPlot, type Line, linePlot } from 'krait/plots';
import {
  type Cell,
  callout,
  dataTable,
  formatNumber,
  type Html,
  html,
  note,
  paragraphs,
  renderPage,
  section,
  subsection,
} from 'krait/report';
import type { Estimate } from 'krait/statistics';
import { estimateText, findingsOf } from './findings.ts';
import { kindOf } from './methods.ts';
import {
  accuracyDifference,
  accuracyWith,
  lossDifference,
  methodTitle,
  resultsOf,
  taskResults,
  type VariantResult,
  variantsOf,
} from './results.ts';
import { bestTrials, type DownstreamStudy } from './study.ts';
import { costRow, summaryTable, variantName } from './tables.ts';

interface Found {
  readonly study: DownstreamStudy;
  readonly results: readonly VariantResult[];
}

const inF32 = ({ results }: Found): VariantResult[] => results.filter(({ precision }) => precision === 'f32');

/** An estimate with a bar of one standard error to either side. */
function bar({ value, error }: Estimate): Pick<Interval, 'value' | 'low' | 'high'> {
  return error === null ? { value } : { value, low: value - error, high: value + error };
}

function state({ study, results }: Found): Html | null {
  const missing = study.planned - study.cells.length;
  const failures = variantsOf(study.cells).flatMap((variant) =>
    variant.failures.map((line) => `${variant.model}, ${variant.method}, ${variant.precision}, ${line}`),
  );
  const cut = results.reduce((sum, { truncated }) => sum + truncated, 0);
  const lines = [
    ...(missing > 0
      ? [
          `${study.cells.length} of ${study.planned} cells are measured: figures are of those that there are, some over fewer seeds.`,
        ]
      : []),
    ...failures.map((line) => `Diverged: ${line}`),
    ...(cut > 0 ? [`${cut} inputs were longer than a model takes and were cut on the left.`] : []),
  ];
  return lines.length === 0
    ? null
    : callout(
        lines.map((line) => paragraphs(line)),
        'alert',
      );
}

function findings({ study }: Found): Html {
  const all = findingsOf(study);
  if (all.length === 0) return paragraphs('There are too few cells yet to put figures beside those of the paper.');
  const readings = [...new Set(all.map(({ reading }) => reading))];
  const table = dataTable({
    head: ['', 'paper', 'here'],
    rows: all.map(({ question, paper, here }) => [question, paper, here]),
    isStacked: true,
    caption:
      'What Halloran, Gulati and Roysdon report (arXiv 2406.00209, abstract of version 1, models of 130M parameters and more on GPUs; unconfirmed: second-hand), and what this run found.',
  });
  return html`${table}${note(`To be read with care: ${readings.join('; ')}.`)}`;
}

/** Tasks down, numbers of examples across, for one variant. */
function taskTable(result: VariantResult, study: DownstreamStudy): Html {
  const head = ['task', 'chance', ...study.settings.shots.map((shots) => `${shots}-shot`), 'errors above chance'];
  const all = taskResults(result, study);
  const rows = all.map(({ task, chance, byShots, errorsAboveChance }): Cell[] => [
    task,
    chance === null ? '–' : formatNumber(100 * chance),
    ...study.settings.shots.map((shots) => estimateText(byShots.get(shots)!)),
    errorsAboveChance === null ? '–' : errorsAboveChance.toFixed(1),
  ]);
  const above = all.filter(({ isAboveChance }) => isAboveChance).map(({ task }) => task);
  const isKnown = all.some(({ chance }) => chance !== null);
  const said = isKnown ? ` Above chance: ${above.length === 0 ? 'none' : above.join(', ')}.` : '';
  return dataTable({
    head,
    rows,
    caption: `${variantName(result)}: accuracy in percent, ± standard error over seeds.${said}`,
  });
}

function scores(found: Found): Html {
  const { study } = found;
  const shown = inF32(found);
  const lines = shown
    .filter(({ method }) => method === null || method === 'meta' || method === 'full' || method === 'lora-all')
    .map((result): Line => {
      const points = study.settings.shots.map((x) => {
        const { value, low, high } = bar(accuracyWith(x, result));
        return { x, y: value, low, high };
      });
      return { label: `${result.model}, ${methodTitle(result.method)}`, points };
    });
  return section(
    'Raw scores',
    linePlot({
      description:
        'Mean accuracy over the tasks by the number of examples in front of a question, f32; the band is a standard error over seeds to either side.',
      x: { label: 'examples', ticks: study.settings.shots },
      y: { label: 'accuracy, %' },
      lines,
    }),
    shown.map((result) => subsection(`${result.model}, ${methodTitle(result.method)}`, taskTable(result, study))),
    note(
      'Errors above chance: by how many standard errors, of as many questions and of the seeds together, the mean over numbers of examples is above a guess; more than two count as above chance. Scores in half precision are in downstream.csv.',
    ),
  );
}

function learning(found: Found): Html {
  const intervals = inF32(found).map(
    (result): Interval => ({
      row: result.method ?? 'untuned',
      series: result.model,
      ...bar(result.aipss),
    }),
  );
  return section(
    'Learning from examples in the context',
    paragraphs(
      'AIPSS is the mean over tasks and numbers of examples s > 0 of 100 (acc_s − acc_0)/acc_0. A relative gain is large where the zero-shot score is small, so the gain in points stands beside it. A share is told only where the Transformer’s figure is more than two of its errors above 0, of questions and seeds together: ± of a gain, of AIPSS and of a share holds both.',
    ),
    intervalPlot({
      description:
        'AIPSS in f32; bars are a standard error, of questions and seeds, to either side. Left of the dashed line examples make it worse.',
      x: { label: 'AIPSS, %' },
      intervals,
      reference: 0,
    }),
    dataTable({
      ...summaryTable(found.results, ['model', 'acc 0-shot %', 'gain', 'share of gain %', 'AIPSS %', 'share %']),
      caption: 'Gain in points; shares are of the Transformer’s gain and of its AIPSS.',
    }),
  );
}

function precision({ study, results }: Found): Html | null {
  const half = results.filter((result) => result.divergence !== null);
  if (half.length === 0) return null;
  const intervals = half.map(
    (result): Interval => ({
      row: `${result.method ?? 'untuned'}, ${result.precision}`,
      series: result.model,
      ...bar(result.divergence!),
    }),
  );
  const noiseOf = (result: VariantResult) =>
    results.find((r) => r.model === result.model && r.method === result.method && r.precision === 'f32')?.seedNoise ??
    null;
  const rows = half.map((result) => [
    variantName(result),
    estimateText(result.divergence),
    formatNumber(noiseOf(result)),
    estimateText(result.fromFull),
    estimateText(
      accuracyDifference(
        result,
        results.find((r) => r.model === result.model && r.method === result.method && r.precision === 'f32')!,
        study,
      ),
    ),
  ]);
  return section(
    'What mixed precision changes',
    paragraphs(
      'Divergence is the mean over tasks and numbers of examples of |acc in f32 − acc in half precision|, with the same seed. It cannot be 0 where scores are noisy, so what another seed alone moves stands beside it: only what is above that can be blamed on precision. A model tuned in half precision is asked in it too; weights that are trained are f32 throughout.',
    ),
    intervalPlot({
      description: 'Divergence from f32 in points; bars are a standard error over seeds.',
      x: { label: 'divergence, points' },
      intervals,
    }),
    dataTable({
      head: ['', 'from f32, points', 'another seed', 'from full fine-tuning in f32', 'mean accuracy less f32’s'],
      rows,
      caption: `Points of accuracy, of ${study.settings.seeds} seeds or those that are measured.`,
    }),
  );
}

function costs({ study, results }: Found): Html | null {
  const tuned = results.filter(({ costs: own }) => own.length > 0);
  if (tuned.length === 0) return null;
  return section(
    'Speed and memory',
    paragraphs(
      `Instruction tuning of ${study.settings.steps} steps of ${study.settings.batchSize} rows of ${study.settings.maxLength} tokens, on ${study.device}. Memory is the device’s peak while tuning: weights, gradients, moments and activations. A token’s is the peak over the positions of a batch. Speeds are of a machine that may have done other things too.`,
    ),
    dataTable({
      head: ['', 'trainable', 'share', 'rate', 'tokens/s', 'peak', 'KiB a token', 'skipped steps'],
      rows: tuned.map((result) => costRow(result, study)),
    }),
  );
}

/** The ablation: one shared down-projection against three of a third of its rank. */
function tying({ study, results }: Found): Html | null {
  const rows = results
    .filter(({ method }) => method === 'lora-x')
    .flatMap((tied) => {
      const untied = results.find(
        (r) => r.model === tied.model && r.precision === tied.precision && r.method === 'lora-x-untied',
      );
      if (!untied) return [];
      return [
        [
          `${tied.model}, ${tied.precision}`,
          `${(tied.trainable ?? 0).toLocaleString('en')} / ${(untied.trainable ?? 0).toLocaleString('en')}`,
          estimateText(tied.accuracy),
          estimateText(untied.accuracy),
          estimateText(accuracyDifference(tied, untied, study)),
          estimateText(lossDifference(tied, untied)),
        ],
      ];
    });
  if (rows.length === 0) return null;
  return section(
    'One down-projection for the step, B and C, or three',
    paragraphs(
      'LoRA on x_proj shares one down-projection among the step’s input, B and C, which the paper calls a regularisation and does not ablate. Untied, each has its own of a third of the rank: as many numbers down, a third as many up. A difference within two errors of 0 says nothing.',
    ),
    dataTable({
      head: [
        '',
        'trained, tied / untied',
        'accuracy, tied %',
        'untied %',
        'tied less untied',
        'validation loss, likewise',
      ],
      rows,
    }),
  );
}

function rates({ study }: Found): Html | null {
  const best = bestTrials(study.cells);
  const rows = study.cells.flatMap(({ spec, result }) => {
    if (spec.kind !== 'trial') return [];
    const isBest = best.some((b) => b.model === spec.model && b.method === spec.method && b.rate === spec.rate);
    const tried = study.settings.rates[kindOf(spec.method)];
    const edge = Math.max(...tried) === spec.rate ? 'highest' : Math.min(...tried) === spec.rate ? 'lowest' : null;
    const taken = edge === null || tried.length === 1 ? 'taken' : `taken, the ${edge}`;
    const loss = result.cost?.validationLoss;
    return [
      [
        `${spec.model}, ${spec.method}`,
        String(spec.rate),
        result.failure ? 'diverged' : formatNumber(loss),
        isBest ? taken : '',
      ],
    ];
  });
  if (rows.length === 0) return null;
  const hasMeta = study.settings.methods.includes('meta');
  return section(
    'Learning rates',
    paragraphs(
      `Every model had the same search: ${study.settings.searchSteps} steps in f32 at each rate of each method${hasMeta ? `, ${study.settings.meta.searchSteps} of meta-training` : ''}; the rate with the lowest loss on a validation part that is in no test was taken for all cells of that method. Where that is the highest or the lowest rate, one beyond it may be better.`,
    ),
    dataTable({ head: ['', 'rate', 'validation loss, nats', ''], rows }),
  );
}

function limits({ study }: Found): Html {
  const questions = study.cells.flatMap(({ result }) => result.scores?.points.map((p) => p.questions) ?? [])[0] ?? 0;
  const sizes = study.models.map(({ label, parameters }) => `${label} ${(parameters / 1e6).toFixed(1)}M`).join(', ');
  const worst = questions > 0 ? formatNumber(100 * Math.sqrt(0.25 / questions), 2) : '–';
  const { seeds } = study.settings;
  const ofError =
    seeds > 1
      ? ` An error over ${seeds} seeds is itself uncertain by ${formatNumber(100 / Math.sqrt(2 * (seeds - 1)), 2)} %.`
      : '';
  return section(
    'What this can and cannot say',
    paragraphs(
      `Models of ${sizes} parameters, ${study.settings.seeds} seeds, ${questions} questions a task. The questions are the same with every seed: errors over seeds tell what training and the choice of examples move, not what other questions would (gains, AIPSS, shares and differences of accuracies hold both); one accuracy of ${questions} questions has an error of up to ${worst} points from them.${ofError}`,
      ...(study.settings.methods.includes('meta')
        ? [
            `Each seed has a meta-training of its own, on the same episodes in another order${seeds > 1 ? '' : '; one seed does not tell what another would give'}. Tests ask in the forms of meta-training, and what it taught is tied to them.`,
          ]
        : []),
      'One training of each architecture stands for it. A difference between the two is one between these two checkpoints, and nothing here says how it changes with size.',
      'Mean divergence and AIPSS are averages over tasks; tasks that no model does above chance add noise to both, so each task’s scores and whether they are above chance stand above.',
    ),
  );
}

/** How each model was meta-trained. */
function metaLines({ study }: Found): string[] {
  const { meta, batchSize, maxLength } = study.settings;
  const all = study.cells.flatMap(({ spec, result }) => {
    if (spec.kind !== 'meta') return [];
    const loss = result.cost?.validationLoss ?? null;
    const said = result.failure ?? `${formatNumber(loss)} nats of validation loss`;
    return [`${spec.model}, seed ${spec.seed}, at rate ${result.rate}: ${said}`];
  });
  if (all.length === 0) return [];
  return [
    `Meta-trained, all weights but embeddings and output head, on ${study.metaInstructions}: ${meta.steps} steps of ${batchSize} rows of ${maxLength} tokens in f32; ${all.join('; ')}. Every way of tuning starts from that of its seed, trials from the first.`,
  ];
}

function conditions(found: Found): Html {
  const { study } = found;
  const rows = study.models.map(({ label, folder, family, parameters }) => [
    label,
    folder,
    family,
    parameters.toLocaleString('en'),
  ]);
  const tasks = study.tasks.map(({ name, summary, chance }) => [
    name,
    summary,
    chance === null ? '–' : formatNumber(100 * chance),
  ]);
  const seconds = study.cells.reduce((sum, { result }) => sum + result.seconds, 0);
  return section(
    'How it was measured',
    paragraphs(
      ...metaLines(found),
      `Tuned on ${study.instructions}. ${study.cells.length} cells in ${(seconds / 60).toFixed(0)} minutes on ${study.device}.`,
    ),
    dataTable({ head: ['model', 'from', 'family', 'parameters'], rows }),
    dataTable({ head: ['task', 'what is asked', 'chance, %'], rows: tasks, isStacked: true }),
  );
}

/** The study as one HTML file. */
export function downstreamPage(study: DownstreamStudy): string {
  const found = { study, results: resultsOf(study) };
  const all = dataTable({
    ...summaryTable(found.results, ['model', 'acc 0-shot %', 'acc %', 'gain', 'divergence', 'loss, nats', 'tok/s']),
    caption:
      'Every variant: accuracy without examples, and mean over all numbers of them; what examples gain, and how far half precision diverges from f32, in points; loss is that of the validation part after tuning; ± is a standard error over seeds, of the gain over questions too.',
  });
  const parts = [
    section('In short', state(found), findings(found), all),
    scores(found),
    learning(found),
    precision(found),
    costs(found),
    tying(found),
    rates(found),
    limits(found),
    conditions(found),
  ];
  return renderPage({
    title: 'Krait: downstream learning',
    lead: `Learning from examples, instruction tuning, precision and LoRA of ${study.models.map(({ label }) => label).join(' and ')}.`,
    sections: parts.filter((part) => part !== null),
  });
}
