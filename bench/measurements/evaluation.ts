/** Scoring: against lm-evaluation-harness with Hugging Face, and with against without reading shared prefixes once. */
import { existsSync } from 'node:fs';
import { copyFile, link, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { EvaluationOptions } from '../lanes/evaluation.ts';
import { sameSums } from '../suite/checks.ts';
import { figure, programsOf, rateText } from '../suite/figures.ts';
import { type LaneSpec, script } from '../suite/lane.ts';
import type { Check, Context, Figure, Measurement } from '../suite/measurement.ts';
import { type Entry, race, roundsOf } from '../suite/race.ts';
import { median, medianRatio } from '../suite/statistics.ts';
import { modelFolder } from '../suite/weights.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SHARED = process.env['KRAIT_SHARED_DATA'] ?? join(ROOT, '../shared/data');
const BASE = join(ROOT, 'models/base');
/** Sequences in a batch of Hugging Face's model: which is the fastest depends on the lengths, so the fastest counts. */
const BATCHES = [1, 4, 16];

/** The random 130M model with the tokenizer of Mamba and Pythia, whose vocabulary is its own. */
async function shapeModel(context: Context): Promise<string> {
  const weights = await modelFolder(context);
  const folder = join(context.work, 'mamba-130m-neox');
  if (existsSync(join(folder, 'tokenizer_config.json'))) return folder;
  await mkdir(folder, { recursive: true });
  for (const name of ['config.json', 'model.safetensors']) {
    if (!existsSync(join(folder, name))) await link(join(weights, name), join(folder, name));
  }
  await copyFile(join(SHARED, 'tokenizers/gpt-neox-20b/tokenizer.json'), join(folder, 'tokenizer.json'));
  const names = { tokenizer_class: 'PreTrainedTokenizerFast', bos_token: '<|endoftext|>', eos_token: '<|endoftext|>' };
  await writeFile(join(folder, 'tokenizer_config.json'), JSON.stringify(names));
  return folder;
}

type Work = Pick<EvaluationOptions, 'tasks' | 'shots' | 'limit'>;

const kraitLane = (context: Context, model: string, work: Work, reusePrefixes = true) =>
  script('lanes/evaluation.ts', {
    model,
    threads: context.threads,
    dataDir: join(SHARED, 'lm-eval'),
    ...work,
    reusePrefixes,
  } satisfies EvaluationOptions);

/** Tokens of all inputs over a round's time, of an entrant that may not know the tokens. */
const ratesOf = (entry: Entry, tokens: number): number[] =>
  roundsOf(entry, 'seconds').map((seconds) => tokens / seconds);

interface Found {
  readonly figure: Figure;
  readonly check: Check;
  readonly entries: Readonly<Record<string, Entry>>;
}

async function againstHarness(
  context: Context,
  model: string,
  name: string,
  work: Work,
  rounds: number,
): Promise<Found> {
  const what = `${work.tasks.join(', ')}, ${work.shots}-shot, ${work.limit} questions, ${name}`;
  const subject = { row: 'scoring', what, unit: 'x', least: 5 } as const;
  const rivals = BATCHES.map((batch) => {
    const options = { ...work, model, shared: SHARED, batch, threads: context.threads };
    const command = [context.python!, 'bench/rivals/lm_eval_scoring.py'];
    return [`lm-eval, batches of ${batch}`, { command, options }] as const;
  });
  const lanes: Record<string, LaneSpec> = { Krait: kraitLane(context, model, work), ...Object.fromEntries(rivals) };
  const entries = await race(context, lanes, { rounds });
  const found = figure(subject, () => {
    const [tokens] = roundsOf(entries.Krait, 'tokens');
    const times = rivals.map(([rival]) => ({ rival, seconds: median(roundsOf(entries[rival], 'seconds')) }));
    const { rival } = times.reduce((best, one) => (one.seconds < best.seconds ? one : best));
    const [a, b] = [ratesOf(entries.Krait, tokens), ratesOf(entries[rival], tokens)];
    return { value: medianRatio(a, b), from: `Krait ${rateText(a, 'tok/s')}, ${rival} ${rateText(b, 'tok/s')}` };
  });
  return { figure: found, check: sameSums(what, entries), entries };
}

async function againstItself(
  context: Context,
  model: string,
  name: string,
  work: Work,
  rounds: number,
): Promise<Found> {
  const what = `${work.tasks.join(', ')}, ${work.shots}-shot, ${work.limit ?? 'all'} questions, ${name}`;
  const specs = { reused: kraitLane(context, model, work), plain: kraitLane(context, model, work, false) };
  const entries = await race(context, specs, { rounds });
  const found = figure({ row: 'prefixes', what, unit: 'x', least: 2 }, () => {
    const [a, b] = [entries.reused, entries.plain].map((entry) => roundsOf(entry, 'tokensPerSecond'));
    const share = roundsOf(entries.reused, 'computedTokens')[0] / roundsOf(entries.plain, 'computedTokens')[0];
    const from = `with ${rateText(a, 'tok/s')}, without ${rateText(b, 'tok/s')}; ${(100 * share).toFixed(0)} % of the tokens`;
    return { value: medianRatio(a, b), from };
  });
  return { figure: found, check: sameSums(what, entries), entries };
}

const MMLU = { tasks: ['mmlu_anatomy'], shots: 5 };
const PIQA = { tasks: ['piqa'], shots: 0 };

/** What was found, or a figure that says what is missing. */
async function measured(row: 'scoring' | 'prefixes', problem: string | null, find: () => Promise<Found[]>) {
  if (problem !== null) {
    const figures: Figure[] = [{ row, what: 'MMLU', value: null, unit: 'x', problem }];
    return { figures, raw: null };
  }
  const found = await find();
  return {
    figures: found.map((one) => one.figure),
    checks: found.map(({ check }) => check),
    programs: [...new Set(found.flatMap(({ entries }) => programsOf(entries)))],
    raw: found.map(({ entries }) => entries),
  };
}

const noData = (): string | null =>
  existsSync(join(SHARED, 'lm-eval/mmlu')) ? null : `no MMLU in ${SHARED}; set KRAIT_SHARED_DATA`;
const noRival = ({ python }: Context): string | null =>
  noData() ?? (python === null ? 'no Python with torch and lm-eval; give --python PATH' : null);

export const scoring: Measurement = {
  name: 'scoring',
  about: 'tasks against lm-eval with Hugging Face, on the 130M shape',
  measure: (context) =>
    measured('scoring', noRival(context), async () => {
      const model = await shapeModel(context);
      const rounds = context.isQuick ? 1 : 2;
      return [
        await againstHarness(context, model, '130M shape', { ...MMLU, limit: 4 }, rounds),
        await againstHarness(context, model, '130M shape', { ...PIQA, limit: 64 }, rounds),
      ];
    }),
};

export const scoringSmall: Measurement = {
  name: 'scoring-small',
  about: 'tasks against lm-eval with Hugging Face, on the carried model',
  measure: (context) =>
    measured('scoring', noRival(context), async () => {
      const [few, rounds] = context.isQuick ? [0.5, 1] : [1, 3];
      return [
        await againstHarness(context, BASE, 'models/base', { ...MMLU, limit: 40 * few }, rounds),
        await againstHarness(context, BASE, 'models/base', { ...PIQA, limit: 100 * few }, rounds),
      ];
    }),
};

export const prefixes: Measurement = {
  name: 'prefixes',
  about: '5-shot MMLU with and without reading shared beginnings once',
  measure: (context) =>
    measured('prefixes', noData(), async () => {
      const [base, shape] = [BASE, await shapeModel(context)];
      return [
        await againstItself(context, base, 'models/base', { ...MMLU, limit: null }, context.isQuick ? 1 : 3),
        await againstItself(context, shape, '130M shape', { ...MMLU, limit: 12 }, context.isQuick ? 1 : 2),
      ];
    }),
};
