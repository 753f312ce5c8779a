/** Scoring: against lm-evaluation-harness with Hugging Face, and with against without reading shared prefixes once. */
import { existsSync } from 'node:fs';
import { copyFile, link, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { EvaluationOptions } from '../lanes/evaluation.ts';
import { figure, programsOf, rateText } from '../suite/figures.ts';
import { script } from '../suite/lane.ts';
import type { Context, Figure, Measurement } from '../suite/measurement.ts';
import { type Entry, race, roundsOf } from '../suite/race.ts';
import { median, medianRatio } from '../suite/statistics.ts';
import { modelFolder } from '../suite/weights.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SHARED = process.env['KRAIT_SHARED_DATA'] ?? join(ROOT, '../shared/data');
const BASE = join(ROOT, 'models/base');
/** Sequences in a batch of Hugging Face's model: of 1 to 64 the fastest for PIQA on the 130M shape. */
const BATCH = 4;

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

/** The sum of all log-likelihoods: both score the same, or the figures mean nothing. */
const sumsRemark = (what: string, entries: Readonly<Record<string, Entry>>): string => {
  const sums = Object.entries(entries).map(
    ([name, entry]) => `${name} ${median(roundsOf(entry, 'logprob')).toFixed(2)}`,
  );
  return `${what}: sum of all log-likelihoods ${sums.join(', ')}`;
};

interface Found {
  readonly figure: Figure;
  readonly remark: string | null;
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
  const options = { ...work, model, shared: SHARED, batch: BATCH, threads: context.threads };
  const entries = await race(
    context,
    {
      Krait: kraitLane(context, model, work),
      harness: { command: [context.python!, 'bench/rivals/lm_eval_scoring.py'], options },
    },
    { rounds },
  );
  const found = figure(subject, () => {
    const [tokens] = roundsOf(entries.Krait, 'tokens');
    const [a, b] = [ratesOf(entries.Krait, tokens), ratesOf(entries.harness, tokens)];
    return { value: medianRatio(a, b), from: `Krait ${rateText(a, 'tok/s')}, lm-eval ${rateText(b, 'tok/s')}` };
  });
  return { figure: found, remark: found.value === null ? null : sumsRemark(what, entries), entries };
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
  return { figure: found, remark: found.value === null ? null : sumsRemark(what, entries), entries };
}

export const evaluation: Measurement = {
  name: 'evaluation',
  about: 'scoring tasks against lm-eval, and with against without shared prefixes',
  async measure(context) {
    const { isQuick } = context;
    if (!existsSync(join(SHARED, 'lm-eval/mmlu'))) {
      const problem = `no MMLU in ${SHARED}; set KRAIT_SHARED_DATA`;
      const missing = (row: 'scoring' | 'prefixes'): Figure => ({ row, what: 'MMLU', value: null, unit: 'x', problem });
      return { figures: [missing('scoring'), missing('prefixes')], raw: null };
    }
    const shape = await shapeModel(context);
    const mmlu = { tasks: ['mmlu_anatomy'], shots: 5 };
    const piqa = { tasks: ['piqa'], shots: 0 };
    const rounds = isQuick ? 1 : 3;
    const found: Found[] = [
      await againstItself(context, BASE, 'models/base', { ...mmlu, limit: isQuick ? 40 : null }, rounds),
      await againstItself(context, shape, '130M shape', { ...mmlu, limit: 12 }, isQuick ? 1 : 2),
    ];
    const figures: Figure[] = [];
    if (context.python === null) {
      const problem = 'no Python with torch and lm-eval; give --python PATH';
      figures.push({ row: 'scoring', what: 'MMLU, PIQA', value: null, unit: 'x', least: 5, problem });
    } else {
      found.unshift(
        await againstHarness(context, shape, '130M shape', { ...mmlu, limit: 4 }, 1),
        await againstHarness(context, shape, '130M shape', { ...piqa, limit: 16 }, 1),
        await againstHarness(context, BASE, 'models/base', { ...mmlu, limit: 40 }, rounds),
        await againstHarness(context, BASE, 'models/base', { ...piqa, limit: 100 }, rounds),
      );
    }
    return {
      figures: [...found.map((one) => one.figure), ...figures],
      remarks: found.flatMap(({ remark }) => remark ?? []),
      programs: [...new Set(found.flatMap(({ entries }) => programsOf(entries)))],
      raw: found.map(({ entries }) => entries),
    };
  },
};
